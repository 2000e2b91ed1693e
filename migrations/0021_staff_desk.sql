-- What one member of staff asked for and another has to confirm: that all keys of an account are revoked, where they are
-- many. It waits here for at most a day. What was confirmed or withdrawn is deleted; the audit trail has it.

create table staff_confirmations (
  id uuid constraint staff_confirmations_pkey primary key,
  -- One at a time.
  account_id uuid not null constraint staff_confirmations_account_unique unique
    constraint staff_confirmations_account_fkey references accounts (id),
  -- As of when it was asked for.
  key_count integer not null constraint staff_confirmations_key_count_positive check (key_count > 0),
  -- Who asked. As in the audit trail, the name is that of then.
  requester_id uuid not null,
  requester_name text not null
    constraint staff_confirmations_requester_name_length check (length(requester_name) between 1 and 100),
  reason text not null constraint staff_confirmations_reason_length check (length(reason) between 3 and 500),
  ticket text constraint staff_confirmations_ticket_length check (length(ticket) between 1 and 100),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);

create index staff_confirmations_expires_at_idx on staff_confirmations (expires_at);

-- Nothing of it is the account's own.
select isolate_accounts('staff_confirmations'), open_to_staff('staff_confirmations'),
  open_to('staff_confirmations', 'latchkey_jobs');
grant select, insert, delete on staff_confirmations to latchkey_staff;
grant select, delete on staff_confirmations to latchkey_jobs;

-- In the account that they named, and in one transaction with the confirmation.
grant update (revoked_at) on api_keys to latchkey_staff;
