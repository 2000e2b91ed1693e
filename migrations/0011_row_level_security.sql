-- Walls under the walls: the portal's statements run under roles of their own, which see the rows of one account, or
-- those columns of all accounts that their one purpose needs. A statement that forgets its `where account_id` finds
-- nothing.
--
-- The tables stay with the role that migrates. The login of `latchkey serve` takes on latchkey_portal and
-- latchkey_gateway for its connections, and the others for one transaction each; it must be a member of all of them.
-- Making roles needs a right that not every login has: where they are there already, nothing is made.

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

-- Hides the rows of a table from every role but its owner, and shows latchkey_portal those of the current account, to
-- do with them what it was granted. Each table with an account_id goes through here.
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

-- MARK: What an account's members, and those who act for it, may do

select isolate_accounts('accounts', 'id'), isolate_accounts('memberships'), isolate_accounts('invitations'),
  isolate_accounts('sessions'), isolate_accounts('staff_confirmations'), isolate_accounts('api_keys'),
  isolate_accounts('key_policies'), isolate_accounts('idempotent_requests'), isolate_accounts('key_usage'),
  isolate_accounts('packed_usage'), isolate_accounts('packed_account_usage'), isolate_accounts('key_activity'),
  isolate_accounts('account_usage_hours'), isolate_accounts('account_endpoints'), isolate_accounts('audit_events'),
  isolate_accounts('audit_heads'), isolate_accounts('mails'), isolate_accounts('one_time_tokens'),
  isolate_accounts('key_expiry_notices');

-- A person may belong to several accounts: each of these sees them.
alter table users enable row level security;
create policy current_account on users to latchkey_portal using (exists (
  select from memberships membership
  where membership.user_id = users.id and membership.account_id = (select current_account())));
create policy newcomers on users for insert to latchkey_portal with check (true);

grant select on plans, instances, invalidation_head, usage_complete_v1 to latchkey_portal;
grant select, insert, update (name, shared_limit_per_minute, rate_limit_mode) on accounts to latchkey_portal;
grant select (id, email, created_at), insert on users to latchkey_portal;
grant select, insert, update (role), delete on memberships to latchkey_portal;
grant select, insert, update (revoked_at) on invitations to latchkey_portal;
-- Where no mail is sent, whoever invites passes the token on; and what is taken back is not to be used.
grant select (account_id, subject_id, used_at), insert, update (used_at) on one_time_tokens to latchkey_portal;
grant select (account_id, user_id), delete on sessions to latchkey_portal;
grant select (
  id, account_id, name, key_start, environment, scopes, rate_limit_per_minute, limit_names, limit_values,
  limit_window_seconds, rate_limit_mode, allowed_ips, expires_at, disabled_at, rolled_at, revoked_at, created_at,
  revision, description, tags, metadata, created_by_kind, created_by_id, created_by_name, enabled_at),
  insert, update on api_keys to latchkey_portal;
grant select, insert, update on key_policies, idempotent_requests to latchkey_portal;
grant select, insert on audit_events to latchkey_portal;
grant select on audit_heads to latchkey_portal;
grant select on key_usage, packed_usage, packed_account_usage, usage_by_key, usage_by_endpoint, usage_by_account,
  key_activity, account_usage_hours, account_endpoints to latchkey_portal;
grant select, insert, delete on mails to latchkey_portal;

-- MARK: Finding out who is logged in

select open_to('accounts', 'latchkey_identity'), open_to('memberships', 'latchkey_identity'),
  open_to('invitations', 'latchkey_identity'), open_to('sessions', 'latchkey_identity'),
  open_to('users', 'latchkey_identity'), open_to('mails', 'latchkey_identity'),
  open_to('one_time_tokens', 'latchkey_identity');
-- It tells of logins, wherever they are.
create policy logins on audit_events for insert to latchkey_identity with check (target_kind in ('user', 'staff'));

grant select on plans, accounts, memberships to latchkey_identity;
-- A session for another of one's accounts is opened here; whoever is in none of them any more leaves no session behind,
-- by a foreign key that wants to see its target.
grant update on memberships to latchkey_identity;
grant select, update (accepted_at) on invitations to latchkey_identity;
grant select, update (password_hash) on users, staff to latchkey_identity;
-- A changed address is to be confirmed anew.
grant update (email, email_verified_at) on users to latchkey_identity;
grant select (email_verified_at) on users to latchkey_identity;
grant select, insert, update, delete on sessions, staff_sessions to latchkey_identity;
-- Second factors are a person's, of no account: nobody else sees them.
grant select, insert, update, delete on second_factors to latchkey_identity;
grant select, insert, update on attempt_counts to latchkey_identity;
-- What proves an address is sent, and taken back, here. Mail about an account is put in by whoever acts there.
grant select, insert, update, delete on mails, one_time_tokens, signups to latchkey_identity;
grant insert on audit_events to latchkey_identity;

-- MARK: Verification, limits and counting: what a verdict needs to know of a key, and where counters stand

select open_to('accounts', 'latchkey_gateway'), open_to('api_keys', 'latchkey_gateway'),
  open_to('key_usage', 'latchkey_gateway'), open_to('key_activity', 'latchkey_gateway'),
  open_to('account_usage_hours', 'latchkey_gateway'), open_to('account_endpoints', 'latchkey_gateway');

grant select on plans, service_tokens, invalidation_head, invalidation_log, installation, schema_migrations
  to latchkey_gateway;
grant select (id, plan, suspended_at, shared_limit_per_minute, rate_limit_mode) on accounts to latchkey_gateway;
-- created_at, because a plan's lifetime counts from there.
grant select (
  id, account_id, name, key_hash, environment, scopes, rate_limit_per_minute, limit_names, limit_values,
  limit_window_seconds, rate_limit_mode, allowed_ips, expires_at, disabled_at, revoked_at, created_at)
  on api_keys to latchkey_gateway;
grant select, insert, update on key_usage, key_activity, account_usage_hours, usage_sources, rate_limit_counts,
  rate_limit_windows, service_token_activity to latchkey_gateway;
grant select, insert on account_endpoints, usage_batches to latchkey_gateway;
grant select, insert, update, delete on instances to latchkey_gateway;

-- MARK: Staff look at everything that is no secret, and change what is in the account that they named

select open_to_staff('accounts', 'id'), open_to_staff('memberships'), open_to_staff('api_keys'),
  open_to_staff('key_policies'), open_to_staff('audit_events'), open_to_staff('key_activity'),
  open_to_staff('staff_confirmations');
select open_to('users', 'latchkey_staff');
create policy staff_look on audit_heads for select to latchkey_staff using (true);
create policy staff_act on mails for insert to latchkey_staff with check (account_id = (select current_account()));

grant select on plans, accounts, memberships, api_keys, key_policies, key_activity, audit_events, audit_heads,
  instances, invalidation_head, jobs, service_token_activity to latchkey_staff;
grant select (id, email, created_at) on users to latchkey_staff;
grant update (suspended_at, suspension_reason, plan) on accounts to latchkey_staff;
grant insert, update (key_cap, scopes, rate_limit_per_minute_max, max_key_lifetime_days) on plans to latchkey_staff;
-- In one transaction with the confirmation.
grant update (revoked_at) on api_keys to latchkey_staff;
-- Nothing of a confirmation is the account's own.
grant select, insert, delete on staff_confirmations to latchkey_staff;
grant insert on audit_events, mails to latchkey_staff;
grant select (id, email, name, role, disabled_at, created_at), insert on staff to latchkey_staff;
grant select (id, name, permissions, environment, expires_at, rolled_at, replaces_id, revoked_at, created_at), insert,
  update (expires_at, rolled_at, revoked_at) on service_tokens to latchkey_staff;

-- MARK: Questions across accounts

select open_to('accounts', 'latchkey_analyst'), open_to('api_keys', 'latchkey_analyst'),
  open_to('key_usage', 'latchkey_analyst'), open_to('packed_usage', 'latchkey_analyst'),
  open_to('packed_account_usage', 'latchkey_analyst'), open_to('key_activity', 'latchkey_analyst'),
  open_to('account_usage_hours', 'latchkey_analyst'), open_to('account_endpoints', 'latchkey_analyst');

-- plans, because they say which keys are over.
grant select on plans, key_usage, packed_usage, packed_account_usage, usage_by_key, usage_by_endpoint, usage_by_account,
  key_activity, account_usage_hours, account_endpoints, usage_complete_v1 to latchkey_analyst;
grant select (id, name, plan, suspended_at, created_at) on accounts to latchkey_analyst;
grant select (id, account_id, name, key_start, environment, expires_at, disabled_at, rolled_at, revoked_at, created_at)
  on api_keys to latchkey_analyst;

-- MARK: What is done now and then

select open_to('sessions', 'latchkey_jobs'), open_to('account_usage_hours', 'latchkey_jobs'),
  open_to('mails', 'latchkey_jobs'), open_to('one_time_tokens', 'latchkey_jobs'),
  open_to('key_expiry_notices', 'latchkey_jobs'), open_to('key_policies', 'latchkey_jobs'),
  open_to('idempotent_requests', 'latchkey_jobs'), open_to('staff_confirmations', 'latchkey_jobs');
grant select, insert, update on jobs to latchkey_jobs;
-- A row that is locked before it is deleted has to be one that might be changed.
grant select, update, delete on sessions, staff_sessions, account_usage_hours, usage_batches, usage_sources
  to latchkey_jobs;
grant select, delete on instances, invalidation_log, one_time_tokens, signups, attempt_counts, staff_confirmations
  to latchkey_jobs;
grant select, update (sealed_secret), delete on idempotent_requests to latchkey_jobs;
grant select on key_policies to latchkey_jobs;

-- Telling of keys that expire, by themselves or by their plan.
select open_to('api_keys', 'latchkey_jobs'), open_to('accounts', 'latchkey_jobs'),
  open_to('memberships', 'latchkey_jobs'), open_to('users', 'latchkey_jobs');
grant select on plans to latchkey_jobs;
grant select (id, account_id, name, key_start, expires_at, rolled_at, revoked_at, created_at)
  on api_keys to latchkey_jobs;
grant select (id, name, plan, suspended_at) on accounts to latchkey_jobs;
grant select (account_id, user_id, role) on memberships to latchkey_jobs;
grant select (id, email) on users to latchkey_jobs;
grant select, insert, delete on mails, key_expiry_notices to latchkey_jobs;

grant insert on audit_events to latchkey_jobs;
-- What belongs to no account is told by whoever does it.
create policy system_events on audit_events for insert to latchkey_staff, latchkey_identity, latchkey_jobs
  with check (account_id is null);

-- MARK: What acts with its owner's rights

-- Takes address, password and second factor from those of some people who are in no account any more, so that the
-- address can sign up again; their rows stay, because others name them. With its owner's rights: nobody else needs to
-- be able to change a stranger. Their rows are to be locked before, so that of two accounts that end, or are left, at
-- the same time the second sees the first.
create function forget_people(people uuid[]) returns void language sql as $$
  with forgotten as (
    update users person set
      email = 'deleted+' || person.id || '@deleted.invalid', password_hash = '', email_verified_at = null
    where person.id = any (people) and not exists (
      select from memberships membership join accounts account on account.id = membership.account_id
      where membership.user_id = person.id and account.deleted_at is null)
    returning person.id
  ), factors as (
    delete from second_factors using forgotten where second_factors.user_id = forgotten.id
  )
  delete from one_time_tokens using forgotten where one_time_tokens.user_id = forgotten.id
$$;

-- Ends the current account, all of it but what happened there. With its owner's rights, as above.
create function delete_current_account() returns timestamptz language plpgsql as $$
declare
  ended constant uuid := current_account();
begin
  delete from sessions where account_id = ended;
  delete from one_time_tokens where account_id = ended;
  update invitations set revoked_at = now() where account_id = ended and accepted_at is null and revoked_at is null;
  update accounts set deleted_at = now(), suspended_at = coalesce(suspended_at, now()) where id = ended;
  perform forget_people(array(select user_id from memberships where account_id = ended));
  return now();
end $$;

do $$
declare
  signature regprocedure;
  grantee name;
begin
  for signature, grantee in values
    -- Ending an account.
    ('forget_people(uuid[])'::regprocedure, 'latchkey_portal'),
    ('delete_current_account()', 'latchkey_portal'),
    -- Jobs that make, empty or drop tables, or move counters.
    ('ensure_usage_partitions(date, integer)', 'latchkey_jobs'),
    ('place_usage()', 'latchkey_jobs'),
    ('drop_usage_partition(date)', 'latchkey_jobs'),
    ('unplaced_usage_count()', 'latchkey_jobs'),
    ('pack_usage(date, integer, uuid, uuid, date)', 'latchkey_jobs'),
    ('expire_rate_limit_counts()', 'latchkey_jobs'),
    ('expire_rate_limit_windows()', 'latchkey_jobs'),
    -- Whoever changes a key tells the instances of it, and nobody writes to the log in another way.
    ('number_invalidation()', null),
    ('invalidate_keys()', null),
    ('invalidate_accounts()', null),
    ('invalidate_service_tokens()', null),
    ('invalidate_everything()', null),
    -- Nobody else needs a right to the heads of the audit trail.
    ('chain_audit_event()', null),
    ('check_audit_head()', null)
  loop
    -- It finds the tables of this schema, whatever its caller searches first.
    execute format('alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
    if grantee is not null then
      execute format('grant execute on function %s to %I', signature, grantee);
    end if;
  end loop;
end $$;
