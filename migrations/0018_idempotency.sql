-- Requests with an Idempotency-Key that made something, and what they were answered, so that a repeat makes nothing.

create table idempotent_requests (
  account_id uuid not null constraint idempotent_requests_account_fkey references accounts (id),
  -- SHA-256 of what the client sent as Idempotency-Key.
  key_hash bytea not null constraint idempotent_requests_key_hash_length check (length(key_hash) = 32),
  -- SHA-256 of the route and the body.
  request_hash bytea not null constraint idempotent_requests_request_hash_length check (length(request_hash) = 32),
  new_key_id uuid not null,
  -- The API keys in the answer, as they were shown, without the secret.
  shown_keys text[] not null constraint idempotent_requests_shown_keys_count check (cardinality(shown_keys) in (1, 2)),
  -- The secret, encrypted with what the session's token and the Idempotency-Key give, neither of which is stored. Removed
  -- after ten minutes.
  sealed_secret bytea,
  created_at timestamptz not null default now(),
  constraint idempotent_requests_pkey primary key (account_id, key_hash)
);

-- What is over, for the job.
create index idempotent_requests_created_at_idx on idempotent_requests (created_at);
create index idempotent_requests_sealed_secret_idx on idempotent_requests (created_at) where sealed_secret is not null;

select isolate_accounts('idempotent_requests'), open_to('idempotent_requests', 'latchkey_jobs');
grant select, insert, update on idempotent_requests to latchkey_portal;
grant select, update (sealed_secret), delete on idempotent_requests to latchkey_jobs;
