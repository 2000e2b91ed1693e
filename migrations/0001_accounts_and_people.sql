-- Who there is: tenants with their plans, the people in them, staff, and the tokens of gateways and analysts.
-- Secrets are stored as SHA-256 (random ones) or scrypt (passwords); nothing in here opens a door.

create table plans (
  name text constraint plans_pkey primary key,
  key_cap integer not null constraint plans_key_cap_range check (key_cap between 1 and 10000),
  -- Patterns of what keys may carry: `a:b` itself, `a:*` for all below a, `*` for any.
  scopes text[] not null constraint plans_scopes_present check (cardinality(scopes) > 0),
  rate_limit_per_minute_max integer not null
    constraint plans_rate_limit_range check (rate_limit_per_minute_max between 1 and 10000),
  created_at timestamptz not null default now(),
  -- How long a key lives at most, from when it was made. NULL: as long as it likes.
  max_key_lifetime_days integer
    constraint plans_max_key_lifetime_range check (max_key_lifetime_days between 1 and 36500)
);

insert into plans (name, key_cap, scopes, rate_limit_per_minute_max) values ('default', 25, '{*}', 10000);

create table accounts (
  id uuid constraint accounts_pkey primary key,
  name text not null constraint accounts_name_length check (length(name) between 1 and 100),
  plan text not null default 'default' constraint accounts_plan_fkey references plans (name) on update cascade,
  suspended_at timestamptz,
  suspension_reason text,
  created_at timestamptz not null default now(),
  -- Shared by the account's keys. NULL: none.
  shared_limit_per_minute integer
    constraint accounts_shared_limit_range check (shared_limit_per_minute between 1 and 1000000),
  rate_limit_mode text not null default 'fast'
    constraint accounts_rate_limit_mode_known check (rate_limit_mode in ('fast', 'consistent')),
  -- Its keys are revoked, nobody can log in to it, and nobody finds it; what it did stays.
  deleted_at timestamptz
    constraint accounts_deleted_suspended check (deleted_at is null or suspended_at is not null)
);

create table users (
  id uuid constraint users_pkey primary key,
  -- Lower case, so that the constraint sees the same address once.
  email text not null constraint users_email_unique unique
    constraint users_email_lower check (email = lower(email) and length(email) between 3 and 254),
  password_hash text not null,
  created_at timestamptz not null default now(),
  -- When somebody showed that mail to this address reaches them. NULL: not yet.
  email_verified_at timestamptz
);

-- Nothing here keeps an account's last owner: that takes a look at other rows, which the verbs take behind the lock of
-- the account.
create table memberships (
  account_id uuid not null constraint memberships_account_fkey references accounts (id),
  user_id uuid not null constraint memberships_user_fkey references users (id),
  role text not null constraint memberships_role_known check (role in ('owner', 'admin', 'developer', 'viewer')),
  created_at timestamptz not null default now(),
  -- By user first: login asks for a person's accounts.
  constraint memberships_pkey primary key (user_id, account_id)
);

create index memberships_account_idx on memberships (account_id);

-- Invitations of people into accounts, by e-mail address.
create table invitations (
  id uuid constraint invitations_pkey primary key,
  account_id uuid not null constraint invitations_account_fkey references accounts (id),
  email text not null
    constraint invitations_email_lower check (email = lower(email) and length(email) between 3 and 254),
  role text not null constraint invitations_role_known check (role in ('owner', 'admin', 'developer', 'viewer')),
  inviter_name text not null,
  -- Whether its token went out by mail: only then does using it show who reads mail to the address.
  is_mailed boolean not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  accepted_at timestamptz,
  revoked_at timestamptz,
  -- Whose invitations end with their rights. NULL: unknown.
  inviter_id uuid
);

create index invitations_account_idx on invitations (account_id, id desc);
-- One at a time for an address; a second takes back the first.
create unique index invitations_open_unique on invitations (account_id, email)
  where accepted_at is null and revoked_at is null;

create table sessions (
  token_hash bytea constraint sessions_pkey primary key
    constraint sessions_token_hash_length check (length(token_hash) = 32),
  account_id uuid not null,
  user_id uuid not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  -- What may be shown, and what it is ended by; the token's hash is not.
  id uuid not null default gen_random_uuid() constraint sessions_id_unique unique,
  last_seen_at timestamptz not null default now(),
  ip inet,
  user_agent text constraint sessions_user_agent_length check (length(user_agent) <= 256),
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
  expires_at timestamptz not null,
  id uuid not null default gen_random_uuid() constraint staff_sessions_id_unique unique,
  last_seen_at timestamptz not null default now(),
  ip inet,
  user_agent text constraint staff_sessions_user_agent_length check (length(user_agent) <= 256)
);

create index staff_sessions_staff_idx on staff_sessions (staff_id);
create index staff_sessions_expires_at_idx on staff_sessions (expires_at);

-- A person's second factor by time (TOTP, RFC 6238); without confirmed_at it is only being set up.
create table second_factors (
  person_id uuid constraint second_factors_pkey primary key generated always as (coalesce(user_id, staff_id)) stored,
  user_id uuid constraint second_factors_user_id_unique unique
    constraint second_factors_user_fkey references users (id) on delete cascade,
  staff_id uuid constraint second_factors_staff_id_unique unique
    constraint second_factors_staff_fkey references staff (id) on delete cascade,
  -- Twenty bytes, encrypted under the deployment's SECRET_KEY (AES-256-GCM: nonce, ciphertext, tag).
  sealed_secret bytea not null constraint second_factors_sealed_secret_length check (length(sealed_secret) = 48),
  -- The step of time whose code was used last; none up to it is taken again.
  last_step bigint not null default 0,
  confirmed_at timestamptz,
  -- SHA-256 of the codes that are left; each goes with its use.
  recovery_code_hashes bytea[] not null default '{}'
    constraint second_factors_recovery_codes_count check (cardinality(recovery_code_hashes) <= 10),
  created_at timestamptz not null default now(),
  constraint second_factors_one_person check (num_nonnulls(user_id, staff_id) = 1)
);

-- What one member of staff asked for and another has to confirm: that all keys of an account are revoked, where they
-- are many. It waits here for at most a day. What was confirmed or withdrawn is deleted; the audit trail has it.
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
  created_at timestamptz not null default now(),
  -- The only one whose keys it knows of. NULL: all.
  environment text constraint service_tokens_environment_known check (environment in ('live', 'test')),
  -- When another took its place: it lives on until its grace is over, and is not rolled again.
  rolled_at timestamptz,
  -- The one whose place it took.
  replaces_id uuid constraint service_tokens_replaces_unique unique
    constraint service_tokens_replaces_fkey references service_tokens (id),
  -- What is summed up over accounts is not kept by environment.
  constraint service_tokens_analytics_unrestricted
    check (environment is null or not 'analytics.read' = any (permissions))
);

-- Apart, because each change of a token drops it from the instances' caches.
create table service_token_activity (
  token_id uuid constraint service_token_activity_pkey primary key
    constraint service_token_activity_token_fkey references service_tokens (id) on delete cascade,
  -- A moment at which it was used; it may have been used again up to a minute later.
  last_used_at timestamptz not null
) with (fillfactor = 50);
