-- Who there is: tenants with their plans, the people in them, staff, and the tokens of gateways and analysts.
-- Secrets are stored as SHA-256 (random ones) or scrypt (passwords); nothing in here opens a door.

create table plans (
  name text constraint plans_pkey primary key,
  key_cap integer not null constraint plans_key_cap_range check (key_cap between 1 and 10000),
  -- Patterns of what keys may carry: `a:b` itself, `a:*` for all below a, `*` for any.
  scopes text[] not null constraint plans_scopes_present check (cardinality(scopes) > 0),
  rate_limit_per_minute_max integer not null
    constraint plans_rate_limit_range check (rate_limit_per_minute_max between 1 and 10000),
  created_at timestamptz not null default now()
);

insert into plans (name, key_cap, scopes, rate_limit_per_minute_max) values ('default', 25, '{*}', 10000);

create table accounts (
  id uuid constraint accounts_pkey primary key,
  name text not null constraint accounts_name_length check (length(name) between 1 and 100),
  plan text not null default 'default' constraint accounts_plan_fkey references plans (name) on update cascade,
  suspended_at timestamptz,
  suspension_reason text,
  created_at timestamptz not null default now()
);

create table users (
  id uuid constraint users_pkey primary key,
  -- Lower case, so that the constraint sees the same address once.
  email text not null constraint users_email_unique unique
    constraint users_email_lower check (email = lower(email) and length(email) between 3 and 254),
  password_hash text not null,
  created_at timestamptz not null default now()
);

create table memberships (
  account_id uuid not null constraint memberships_account_fkey references accounts (id),
  user_id uuid not null constraint memberships_user_fkey references users (id),
  role text not null constraint memberships_role_known check (role in ('owner', 'admin', 'developer', 'viewer')),
  created_at timestamptz not null default now(),
  -- By user first: login asks for a person's accounts.
  constraint memberships_pkey primary key (user_id, account_id)
);

create index memberships_account_idx on memberships (account_id);

create table sessions (
  token_hash bytea constraint sessions_pkey primary key
    constraint sessions_token_hash_length check (length(token_hash) = 32),
  account_id uuid not null,
  user_id uuid not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  constraint sessions_membership_fkey foreign key (user_id, account_id)
    references memberships (user_id, account_id) on delete cascade
);

create index sessions_membership_idx on sessions (user_id, account_id);
create index sessions_expires_at_idx on sessions (expires_at);

create table staff (
  id uuid constraint staff_pkey primary key,
  email text not null constraint staff_email_unique unique
    constraint staff_email_lower check (email = lower(email) and length(email) between 3 and 254),
  name text not null constraint staff_name_length check (length(name) between 1 and 100),
  role text not null constraint staff_role_known check (role in ('support', 'admin')),
  password_hash text not null,
  disabled_at timestamptz,
  created_at timestamptz not null default now()
);

create table staff_sessions (
  token_hash bytea constraint staff_sessions_pkey primary key
    constraint staff_sessions_token_hash_length check (length(token_hash) = 32),
  staff_id uuid not null constraint staff_sessions_staff_fkey references staff (id) on delete cascade,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);

create index staff_sessions_staff_idx on staff_sessions (staff_id);
create index staff_sessions_expires_at_idx on staff_sessions (expires_at);

create table service_tokens (
  id uuid constraint service_tokens_pkey primary key,
  name text not null constraint service_tokens_name_length check (length(name) between 1 and 100),
  token_hash bytea not null constraint service_tokens_token_hash_unique unique
    constraint service_tokens_token_hash_length check (length(token_hash) = 32),
  permissions text[] not null constraint service_tokens_permissions_known check (
    cardinality(permissions) > 0
    and permissions <@ array['keys.verify', 'usage.write', 'keys.read', 'keys.write', 'analytics.read']
  ),
  expires_at timestamptz,
  revoked_at timestamptz,
  created_at timestamptz not null default now()
);
