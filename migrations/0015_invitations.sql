-- Invitations of people into accounts, by e-mail address.

create table invitations (
  id uuid constraint invitations_pkey primary key,
  account_id uuid not null constraint invitations_account_fkey references accounts (id),
  email text not null constraint invitations_email_lower check (email = lower(email) and length(email) between 3 and 254),
  role text not null constraint invitations_role_known check (role in ('owner', 'admin', 'developer', 'viewer')),
  inviter_name text not null,
  -- Whether its token went out by mail: only then does using it show who reads mail to the address.
  is_mailed boolean not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  accepted_at timestamptz,
  revoked_at timestamptz
);

create index invitations_account_idx on invitations (account_id, id desc);
-- One at a time for an address; a second takes back the first.
create unique index invitations_open_unique on invitations (account_id, email)
  where accepted_at is null and revoked_at is null;

select isolate_accounts('invitations'), open_to('invitations', 'latchkey_identity');
grant select, insert, update (revoked_at) on invitations to latchkey_portal;
grant select, update (accepted_at) on invitations to latchkey_identity;
-- Where no mail is sent, whoever invites passes the token on; and what is taken back is not to be used.
grant select (account_id, subject_id, used_at), insert, update (used_at) on one_time_tokens to latchkey_portal;
grant delete on mails to latchkey_portal;
