-- The customers' keys. The secret is shown once and never stored: key_hash is its SHA-256, key_start its first
-- twelve characters, for people to recognise it by.

create table api_keys (
  id uuid constraint api_keys_pkey primary key,
  account_id uuid not null constraint api_keys_account_fkey references accounts (id),
  name text not null constraint api_keys_name_length check (length(name) between 1 and 100),
  key_start text not null constraint api_keys_key_start_length check (length(key_start) between 1 and 12),
  key_hash bytea not null constraint api_keys_key_hash_unique unique
    constraint api_keys_key_hash_length check (length(key_hash) = 32),
  environment text not null constraint api_keys_environment_known check (environment in ('live', 'test')),
  scopes text[] not null constraint api_keys_scopes_count check (cardinality(scopes) between 1 and 64),
  rate_limit_per_minute integer not null default 60
    constraint api_keys_rate_limit_range check (rate_limit_per_minute between 1 and 10000),
  -- NULL: from anywhere.
  allowed_ips cidr[] constraint api_keys_allowed_ips_count check (cardinality(allowed_ips) between 1 and 64),
  expires_at timestamptz,
  disabled_at timestamptz,
  revoked_at timestamptz,
  -- Set when a successor was made; until it expires, the key is in its grace and does not count towards the cap.
  rolled_at timestamptz,
  created_at timestamptz not null default now(),
  rate_limit_mode text not null default 'fast'
    constraint api_keys_rate_limit_mode_known check (rate_limit_mode in ('fast', 'consistent')),
  -- The named limits, one place of each array a limit.
  limit_names text[] not null default '{}'
    constraint api_keys_limit_names_count check (cardinality(limit_names) <= 8),
  limit_values integer[] not null default '{}'
    constraint api_keys_limit_values_range check (0 < all (limit_values)),
  limit_window_seconds integer[] not null default '{}'
    constraint api_keys_limit_windows_range
      check (0 < all (limit_window_seconds) and 86400 >= all (limit_window_seconds)),
  -- Moves with every change of the row: what a client's If-Match is held against.
  revision bigint not null default 1,
  description text constraint api_keys_description_length check (length(description) <= 500),
  tags text[] not null default '{}' constraint api_keys_tags_count check (cardinality(tags) <= 16),
  -- A JSON object, in the customer's order and with the customer's digits, which jsonb would not keep.
  metadata text
    constraint api_keys_metadata_size check (octet_length(metadata) <= 4096)
    constraint api_keys_metadata_object check (json_typeof(metadata::json) = 'object'),
  -- Who made it, as of then: it stays when that person has left. NULL: unknown.
  created_by_kind text
    constraint api_keys_created_by_kind_known check (created_by_kind in ('user', 'staff', 'command', 'token')),
  created_by_id uuid,
  created_by_name text,
  -- NULL: it was never disabled.
  enabled_at timestamptz,
  constraint api_keys_limits_paired check (
    cardinality(limit_names) = cardinality(limit_values)
    and cardinality(limit_names) = cardinality(limit_window_seconds)),
  constraint api_keys_created_by_whole check ((created_by_kind is null) = (created_by_name is null))
);

-- The list, newest first (ids are UUID version 7, so they sort by time), and the count of live keys.
--
-- No index on tags or for substrings: under row-level security only operators that cannot leak reach an index, and
-- neither @> nor ilike is one; a GIN index on tags leaves the plan as it is. An account's keys are read through
-- api_keys_account_idx and looked through: 10,000 of them, as many as a plan may allow, take about 25 ms.
create index api_keys_account_idx on api_keys (account_id, id desc);
-- Support looks keys up by what a customer reads out.
create index api_keys_key_start_idx on api_keys (key_start text_pattern_ops);
-- Those whose owners are told that they expire.
create index api_keys_expires_at_idx on api_keys (expires_at)
  where expires_at is not null and revoked_at is null and rolled_at is null;

-- Here and not in a statement, so that a change by whomever is one that a client's If-Match notices.
create function count_key_revision() returns trigger language plpgsql as $$
begin
  new.revision := old.revision + 1;
  return new;
end $$;

create trigger api_keys_revision before update on api_keys
  for each row when (old.* is distinct from new.*) execute function count_key_revision();

-- What an account asks of its own keys. An account without a row asks for nothing.
create table key_policies (
  account_id uuid constraint key_policies_pkey primary key
    constraint key_policies_account_fkey references accounts (id),
  expiry_required boolean not null,
  max_lifetime_days integer
    constraint key_policies_max_lifetime_range check (max_lifetime_days between 1 and 36500),
  allowlist_required boolean not null,
  -- Patterns, as those of a plan. NULL: any.
  allowed_scopes text[]
    constraint key_policies_allowed_scopes_count check (cardinality(allowed_scopes) between 1 and 64),
  disable_after_idle_days integer
    constraint key_policies_idle_range check (disable_after_idle_days between 1 and 3650)
);

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
  -- The secret, encrypted with what the session's token and the Idempotency-Key give, neither of which is stored.
  -- Removed after ten minutes.
  sealed_secret bytea,
  created_at timestamptz not null default now(),
  constraint idempotent_requests_pkey primary key (account_id, key_hash)
);

-- What is over, for the job.
create index idempotent_requests_created_at_idx on idempotent_requests (created_at);
create index idempotent_requests_sealed_secret_idx on idempotent_requests (created_at) where sealed_secret is not null;
