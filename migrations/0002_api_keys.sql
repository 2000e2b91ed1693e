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
  created_at timestamptz not null default now()
);

-- The list, newest first (ids are UUID version 7, so they sort by time), and the count of live keys.
create index api_keys_account_idx on api_keys (account_id, id desc);
-- Support looks keys up by what a customer reads out.
create index api_keys_key_start_idx on api_keys (key_start text_pattern_ops);
