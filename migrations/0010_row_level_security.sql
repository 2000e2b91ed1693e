-- Walls under the walls: the portal's statements run under roles of their own, which see the rows of one account, or those
-- columns of all accounts that their one purpose needs. A statement that forgets its `where account_id` finds nothing.
--
-- The tables stay with the role that migrates. The login of `latchkey serve` takes on latchkey_portal and latchkey_gateway
-- for its connections, and the others for one transaction each; it must be a member of all of them. Making roles needs a
-- right that not every login has: where they are there already, nothing is made.

do $$
declare
  name text;
begin
  foreach name in array array[
    'latchkey_portal', 'latchkey_identity', 'latchkey_gateway', 'latchkey_staff', 'latchkey_analyst', 'latchkey_jobs'
  ] loop
    begin
      if not exists (select from pg_roles where rolname = name) then
        execute format('create role %I nologin', name);
      end if;
    exception when duplicate_object or unique_violation then
      -- Roles are those of the whole server: another database of it may have made them at this moment.
      null;
    end;
    if not pg_has_role(current_user, name, 'member') then
      execute format('grant %I to current_user', name);
    end if;
    execute format('grant usage on schema %I to %I', current_schema(), name);
  end loop;
end $$;

-- Lets a login take on all of the roles; see `latchkey migrate --serve-role`.
create function grant_portal(role_name name) returns void language plpgsql as $$
begin
  execute format(
    'grant latchkey_portal, latchkey_identity, latchkey_gateway, latchkey_staff, latchkey_analyst, latchkey_jobs to %I',
    role_name);
end $$;

revoke execute on function grant_portal(name) from public;

-- The account that the transaction is about; null: none. What was set for a transaction is an empty text after it.
create function current_account() returns uuid language sql stable parallel safe as $$
  select nullif(current_setting('latchkey.account_id', true), '')::uuid
$$;

-- Hides the rows of a table from every role but its owner, and shows latchkey_portal those of the current account, to do
-- with them what it was granted. Each table with an account_id goes through here.
create function isolate_accounts(tenant_table regclass, account_column name default 'account_id') returns void
  language plpgsql as $$
begin
  execute format('alter table %s enable row level security', tenant_table);
  execute format(
    'create policy current_account on %s to latchkey_portal using (%I = (select current_account()))',
    tenant_table, account_column);
end $$;

-- Shows a role all rows of such a table, to do with them what it was granted.
create function open_to(tenant_table regclass, variadic role_names name[]) returns void language plpgsql as $$
declare
  name name;
begin
  foreach name in array role_names loop
    execute format('create policy %I on %s to %I using (true)', name, tenant_table, name);
  end loop;
end $$;

-- Shows staff all rows, and lets them change those of the account that they have named.
create function open_to_staff(tenant_table regclass, account_column name default 'account_id') returns void
  language plpgsql as $$
begin
  execute format('create policy staff_look on %s for select to latchkey_staff using (true)', tenant_table);
  execute format(
    'create policy staff_act on %s to latchkey_staff using (%I = (select current_account()))', tenant_table,
    account_column);
end $$;

revoke execute on function isolate_accounts(regclass, name), open_to(regclass, name[]), open_to_staff(regclass, name)
  from public;

select isolate_accounts('accounts', 'id'), isolate_accounts('memberships'), isolate_accounts('sessions'),
  isolate_accounts('api_keys'), isolate_accounts('audit_events'), isolate_accounts('key_usage'),
  isolate_accounts('packed_usage'), isolate_accounts('key_activity'), isolate_accounts('account_usage_hours'),
  isolate_accounts('account_endpoints');

-- A person may belong to several accounts: each of these sees them.
alter table users enable row level security;
create policy current_account on users to latchkey_portal using (exists (
  select from memberships membership
  where membership.user_id = users.id and membership.account_id = (select current_account())));
create policy newcomers on users for insert to latchkey_portal with check (true);

-- What questions about usage are asked of answers with the rights of whoever asks. The views for other tools, usage_daily_v1
-- and the like, stay with what answers with its owner's: all rows.
alter view usage_by_key rename to all_usage_by_key;
alter view usage_by_endpoint rename to all_usage_by_endpoint;
do $$
declare
  name text;
begin
  foreach name in array array['usage_by_key', 'usage_by_endpoint'] loop
    execute format(
      'create view %I with (security_invoker) as %s', name, pg_get_viewdef(('all_' || name)::regclass));
  end loop;
end $$;

-- What an account's members, and those who act for it, may do.
grant select on plans, instances, invalidation_head, usage_complete_v1 to latchkey_portal;
grant select, insert, update (name, shared_limit_per_minute, rate_limit_mode) on accounts to latchkey_portal;
grant select (id, email, created_at), insert on users to latchkey_portal;
grant select, insert, update (role), delete on memberships to latchkey_portal;
grant select (account_id, user_id), delete on sessions to latchkey_portal;
grant select (
  id, account_id, name, key_start, environment, scopes, rate_limit_per_minute, limit_names, limit_values,
  limit_window_seconds, rate_limit_mode, allowed_ips, expires_at, disabled_at, rolled_at, revoked_at, created_at),
  insert, update on api_keys to latchkey_portal;
grant select, insert on audit_events to latchkey_portal;
grant select on key_usage, packed_usage, usage_by_key, usage_by_endpoint, key_activity, account_usage_hours,
  account_endpoints to latchkey_portal;

-- Finding out who is logged in.
select open_to('accounts', 'latchkey_identity'), open_to('memberships', 'latchkey_identity'),
  open_to('sessions', 'latchkey_identity'), open_to('users', 'latchkey_identity');
grant select on plans, accounts, memberships to latchkey_identity;
grant select, update (password_hash) on users, staff to latchkey_identity;
grant select, insert, update, delete on sessions, staff_sessions to latchkey_identity;

-- Verification, limits and counting: what a verdict needs to know of a key, and where counters stand.
select open_to('accounts', 'latchkey_gateway'), open_to('api_keys', 'latchkey_gateway'),
  open_to('key_usage', 'latchkey_gateway'), open_to('key_activity', 'latchkey_gateway'),
  open_to('account_usage_hours', 'latchkey_gateway'), open_to('account_endpoints', 'latchkey_gateway');
grant select on plans, service_tokens, invalidation_head, invalidation_log, installation, schema_migrations
  to latchkey_gateway;
grant select (id, plan, suspended_at, shared_limit_per_minute, rate_limit_mode) on accounts to latchkey_gateway;
grant select (
  id, account_id, name, key_hash, environment, scopes, rate_limit_per_minute, limit_names, limit_values,
  limit_window_seconds, rate_limit_mode, allowed_ips, expires_at, disabled_at, revoked_at) on api_keys to latchkey_gateway;
grant select, insert, update on key_usage, key_activity, account_usage_hours, usage_sources, rate_limit_counts,
  rate_limit_windows to latchkey_gateway;
grant select, insert on account_endpoints, usage_batches to latchkey_gateway;
grant select, insert, update, delete on instances to latchkey_gateway;

-- Staff look at everything that is no secret, and change what is in the account that they named.
select open_to_staff('accounts', 'id'), open_to_staff('memberships'), open_to_staff('api_keys'),
  open_to_staff('audit_events'), open_to_staff('key_activity');
select open_to('users', 'latchkey_staff');
grant select on plans, accounts, memberships, api_keys, key_activity, audit_events, instances, invalidation_head, jobs
  to latchkey_staff;
grant select (id, email, created_at) on users to latchkey_staff;
grant update (suspended_at, suspension_reason) on accounts to latchkey_staff;
grant insert on audit_events to latchkey_staff;
grant select (id, email, name, role, disabled_at, created_at), insert on staff to latchkey_staff;
grant select (id, name, permissions, expires_at, revoked_at, created_at), insert, update (revoked_at) on service_tokens
  to latchkey_staff;

-- Questions across accounts.
select open_to('accounts', 'latchkey_analyst'), open_to('api_keys', 'latchkey_analyst'),
  open_to('key_usage', 'latchkey_analyst'), open_to('packed_usage', 'latchkey_analyst'),
  open_to('key_activity', 'latchkey_analyst'), open_to('account_usage_hours', 'latchkey_analyst'),
  open_to('account_endpoints', 'latchkey_analyst');
grant select on key_usage, packed_usage, usage_by_key, usage_by_endpoint, key_activity, account_usage_hours,
  account_endpoints, usage_complete_v1 to latchkey_analyst;
grant select (id, name, plan, suspended_at, created_at) on accounts to latchkey_analyst;
grant select (id, account_id, name, key_start, environment, expires_at, disabled_at, rolled_at, revoked_at, created_at)
  on api_keys to latchkey_analyst;

-- What is done now and then. Jobs that make, empty or drop tables, or move counters, are functions with their owner's rights.
select open_to('sessions', 'latchkey_jobs'), open_to('account_usage_hours', 'latchkey_jobs');
grant select, insert, update on jobs to latchkey_jobs;
-- A row that is locked before it is deleted has to be one that might be changed.
grant select, update, delete on sessions, staff_sessions, account_usage_hours, usage_batches, usage_sources to latchkey_jobs;
grant select, delete on instances, invalidation_log to latchkey_jobs;

do $$
declare
  signature regprocedure;
begin
  foreach signature in array array[
    'ensure_usage_partitions(date, integer)', 'place_usage()', 'drop_usage_partition(date)', 'unplaced_usage_count()',
    'pack_usage(date, integer, uuid, uuid, date)', 'expire_rate_limit_counts()', 'expire_rate_limit_windows()'
  ]::regprocedure[] loop
    execute format(
      'alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
    execute format('grant execute on function %s to latchkey_jobs', signature);
  end loop;

  -- Whoever changes a key tells the instances of it, and nobody writes to the log in another way.
  foreach signature in array array[
    'number_invalidation()', 'invalidate_keys()', 'invalidate_accounts()', 'invalidate_service_tokens()',
    'invalidate_everything()'
  ]::regprocedure[] loop
    execute format(
      'alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
  end loop;
end $$;
