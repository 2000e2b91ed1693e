-- How long the keys of a plan live at most, and what an account asks of its own keys.

alter table plans
  -- NULL: as long as they like. Counted from when the key was made; it holds for keys that there are, too.
  add column max_key_lifetime_days integer
    constraint plans_max_key_lifetime_range check (max_key_lifetime_days between 1 and 36500);

-- An account without a row asks for nothing.
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

select isolate_accounts('key_policies'), open_to_staff('key_policies'), open_to('key_policies', 'latchkey_jobs');
grant select, insert, update on key_policies to latchkey_portal;
grant select on key_policies to latchkey_staff, latchkey_jobs;

grant insert, update (key_cap, scopes, rate_limit_per_minute_max, max_key_lifetime_days) on plans to latchkey_staff;
grant update (plan) on accounts to latchkey_staff;
-- Which keys are over.
grant select on plans to latchkey_analyst;
-- A plan's lifetime counts from here.
grant select (created_at) on api_keys to latchkey_gateway;
