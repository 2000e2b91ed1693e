-- Mail: what is to be sent, and the tokens that were sent. A mail waits without its token: whoever sends it makes one,
-- and the SHA-256 of that is committed before the mail goes out. So no token stands anywhere in the database.

-- The outbox. Written in the transaction of the change that it tells of, and read by whichever instance comes first.
create table mails (
  id uuid constraint mails_pkey primary key,
  -- An instance leaves alone what it does not know: a newer one has written it.
  kind text not null constraint mails_kind_form check (kind ~ '^[a-z_]{1,64}$'),
  recipient text not null constraint mails_recipient_length check (length(recipient) between 3 and 254),
  -- NULL where it is about a person, or about nobody that is known.
  account_id uuid,
  user_id uuid,
  -- What else it is about: a key, a sign-up, an invitation.
  subject_id uuid,
  parameters jsonb not null default '{}' constraint mails_parameters_size
    check (jsonb_typeof(parameters) = 'object' and octet_length(parameters::text) <= 8192),
  -- dropped: there was nobody to send it to.
  state text not null default 'waiting'
    constraint mails_state_known check (state in ('waiting', 'sent', 'failed', 'dropped')),
  attempt_count integer not null default 0,
  -- When to try it next. Whoever takes it to send it moves this ahead: that is the lease.
  due_at timestamptz not null default now(),
  last_error text constraint mails_last_error_length check (length(last_error) <= 500),
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  constraint mails_finished check ((state = 'waiting') = (finished_at is null))
);

create index mails_due_at_idx on mails (due_at) where state = 'waiting';
-- How many an address was sent lately.
create index mails_recipient_idx on mails (recipient, kind, created_at);
create index mails_finished_at_idx on mails (finished_at) where finished_at is not null;

create table one_time_tokens (
  token_hash bytea constraint one_time_tokens_pkey primary key
    constraint one_time_tokens_token_hash_length check (length(token_hash) = 32),
  -- An address is changed to the one that is confirmed.
  purpose text not null constraint one_time_tokens_purpose_known
    check (purpose in ('password_reset', 'email_verification', 'email_change', 'sign_up', 'invitation')),
  -- Where it was sent. It proves that somebody reads mail to this address, and nothing of any other.
  email text not null,
  -- NULL where there is no user yet.
  user_id uuid constraint one_time_tokens_user_fkey references users (id) on delete cascade,
  -- For an invitation.
  account_id uuid constraint one_time_tokens_account_fkey references accounts (id) on delete cascade,
  -- As that of the mail.
  subject_id uuid,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  used_at timestamptz
);

-- When one is used, the others of its kind are over.
create index one_time_tokens_email_idx on one_time_tokens (email, purpose);
create index one_time_tokens_user_idx on one_time_tokens (user_id) where user_id is not null;
create index one_time_tokens_account_idx on one_time_tokens (account_id) where account_id is not null;
create index one_time_tokens_expires_at_idx on one_time_tokens (expires_at);

-- Sign-ups that wait until their address is confirmed: only then is there an account.
create table signups (
  id uuid constraint signups_pkey primary key,
  email text not null constraint signups_email_lower check (email = lower(email) and length(email) between 3 and 254),
  password_hash text not null,
  account_name text not null constraint signups_account_name_length check (length(account_name) between 1 and 100),
  created_at timestamptz not null default now()
);

create index signups_email_idx on signups (email);
create index signups_created_at_idx on signups (created_at);

-- Which keys' owners were told that they expire, how many days ahead; so that each is told once. A key whose expiry is
-- moved is told of anew. No foreign key: a row is deleted when what it is of is over.
create table key_expiry_notices (
  account_id uuid not null,
  key_id uuid not null,
  expires_at timestamptz not null,
  days integer not null,
  created_at timestamptz not null default now(),
  constraint key_expiry_notices_pkey primary key (key_id, expires_at, days)
);
