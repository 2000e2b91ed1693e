-- The holder of a key acts with the key itself: such events have an actor of the kind `key`. The next file checks the
-- events that were there before. Collectors read the trails with a service token. Staff revoke lists of keys, and are
-- told why a key was refused, also at a time in the past.
--
-- A server without this file answers an error to whoever confirms or withdraws a list of keys.
-- compatible-from: 0019

alter table audit_events
  drop constraint audit_events_actor_kind_known,
  -- No row can fail, because the constraint before it was narrower.
  add constraint audit_events_actor_kind_known
    check (actor_kind in ('user', 'staff', 'command', 'job', 'token', 'key')) not valid;

alter table service_tokens
  drop constraint service_tokens_permissions_known,
  add constraint service_tokens_permissions_known check (
    cardinality(permissions) > 0
    and permissions <@ array[
      'keys.verify', 'usage.write', 'keys.read', 'keys.write', 'analytics.read', 'catalog.read', 'catalog.write',
      'keys.grant', 'accounts.read', 'accounts.write', 'limits.use', 'limits.write', 'audit.read'
    ]
  ),
  -- The trails are not kept by environment or by api.
  add constraint service_tokens_audit_unrestricted
    check (environment is null and api_ids is null or not 'audit.read' = any (permissions));

-- A request of staff may also name keys, of whatever accounts. Then it belongs to no account.
alter table staff_confirmations
  alter column account_id drop not null,
  add column key_ids uuid[]
    constraint staff_confirmations_key_ids_count check (cardinality(key_ids) between 1 and 1000),
  add constraint staff_confirmations_subject check ((account_id is null) = (key_ids is not null));

create policy staff_lists on staff_confirmations to latchkey_staff using (account_id is null);

-- MARK: What verification judged by, as it was

-- One row for each version that is over, of what decides about a request: the settings of keys, accounts, plans and
-- apis, the slugs of permissions, the names of roles, and which roles and permissions a key and a role had. It has no
-- hash, and nothing that people have written. Triggers write it, whoever changes a row.
create table settings_history (
  -- Ascending in the order of the changes of one subject, because these wait for each other.
  id bigint generated always as identity constraint settings_history_pkey primary key,
  kind text not null constraint settings_history_kind_known check (kind in (
    -- The one row of this kind says since when the others are complete.
    'beginning',
    'key', 'account', 'plan', 'api', 'permission', 'role', 'key_roles', 'key_permissions', 'role_permissions')),
  -- An id, or the name of a plan.
  subject text not null constraint settings_history_subject_length check (length(subject) between 1 and 100),
  -- Of a key, or the account itself.
  account_id uuid,
  -- When it was replaced: what was true at a moment is in the first row after that moment, or in the table itself.
  until timestamptz not null default clock_timestamp()
    constraint settings_history_until_finite check (isfinite(until)),
  settings jsonb not null
);

create index settings_history_subject_idx on settings_history (kind, subject, id);
create index settings_history_until_idx on settings_history (until);

insert into settings_history (kind, subject, settings) values ('beginning', 'history', '{}');

-- What of a row is judged by. What is added to a table and is judged by belongs here, too.
create function judged_key(key api_keys) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', key.id, 'lineage_id', key.lineage_id, 'account_id', key.account_id, 'environment', key.environment,
    'scopes', key.scopes, 'rate_limit_per_minute', key.rate_limit_per_minute, 'limit_names', key.limit_names,
    'limit_values', key.limit_values, 'limit_window_seconds', key.limit_window_seconds,
    'rate_limit_mode', key.rate_limit_mode, 'allowed_ips', key.allowed_ips, 'expires_at', key.expires_at,
    'named_limits', key.named_limits, 'disabled_at', key.disabled_at, 'revoked_at', key.revoked_at,
    'created_at', key.created_at, 'api_id', key.api_id)
$$;

create function judged_account(account accounts) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', account.id, 'plan', account.plan, 'suspended_at', account.suspended_at,
    'shared_limit_per_minute', account.shared_limit_per_minute, 'named_limits', account.named_limits,
    'rate_limit_mode', account.rate_limit_mode)
$$;

create function judged_plan(plan plans) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'name', plan.name, 'scopes', plan.scopes, 'rate_limit_per_minute_max', plan.rate_limit_per_minute_max,
    'max_key_lifetime_days', plan.max_key_lifetime_days)
$$;

create function judged_api(api apis) returns jsonb language sql stable as $$
  select jsonb_build_object('id', api.id, 'slug', api.slug, 'endpoint_limits', api.endpoint_limits)
$$;

create function judged_permission(permission permissions) returns jsonb language sql stable as $$
  select jsonb_build_object('id', permission.id, 'slug', permission.slug)
$$;

create function judged_role(role roles) returns jsonb language sql stable as $$
  select jsonb_build_object('id', role.id, 'name', role.name)
$$;

-- A trigger function for each table, so that PostgreSQL keeps the plans of its statements: one that builds its
-- statement takes a millisecond and a half. An update keeps what the rows were if they are judged differently now.
do $do$
declare
  kind text;
  changed_table name;
  subject name;
  account text;
begin
  for kind, changed_table, subject, account in values
    ('key', 'api_keys', 'id', 'before.account_id'), ('account', 'accounts', 'id', 'before.id'),
    ('plan', 'plans', 'name', 'null'), ('api', 'apis', 'id', 'null'), ('permission', 'permissions', 'id', 'null'),
    ('role', 'roles', 'id', 'null')
  loop
    execute format($sql$
create function keep_%2$s() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' then
    insert into settings_history (kind, subject, account_id, settings)
    select '%1$s', before.%3$I::text, %4$s, judged_%1$s(before)
    from old_rows before left join new_rows after on after.%3$I = before.%3$I
    where judged_%1$s(before) is distinct from judged_%1$s(after);
  else
    insert into settings_history (kind, subject, account_id, settings)
    select '%1$s', before.%3$I::text, %4$s, judged_%1$s(before) from old_rows before;
  end if;
  return null;
end $$;
create trigger %2$s_keep_update after update on %2$I referencing old table as old_rows new table as new_rows
  for each statement execute function keep_%2$s();
create trigger %2$s_keep_delete after delete on %2$I referencing old table as old_rows
  for each statement execute function keep_%2$s();
$sql$, kind, changed_table, subject, account);
  end loop;
end $do$;

-- The same for sets: what members each set had of which some were added or taken.
do $do$
declare
  changed_table name;
  subject name;
  member name;
begin
  for changed_table, subject, member in values
    ('key_roles', 'key_id', 'role_id'), ('key_permissions', 'key_id', 'permission_id'),
    ('role_permissions', 'role_id', 'permission_id')
  loop
    execute format($sql$
create function keep_%1$s() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into settings_history (kind, subject, settings)
    select '%1$s', changed.subject::text, (
      select coalesce(jsonb_agg(before.member), '[]') from (
        select %3$I from %1$I present where present.%2$I = changed.subject
        except select %3$I from changed_rows other where other.%2$I = changed.subject) before (member))
    from (select distinct %2$I from changed_rows) changed (subject);
  else
    insert into settings_history (kind, subject, settings)
    select '%1$s', changed.subject::text, (
      select jsonb_agg(before.member) from (
        select %3$I from %1$I present where present.%2$I = changed.subject
        union select %3$I from changed_rows other where other.%2$I = changed.subject) before (member))
    from (select distinct %2$I from changed_rows) changed (subject);
  end if;
  return null;
end $$;
create trigger %1$s_keep_insert after insert on %1$I referencing new table as changed_rows
  for each statement execute function keep_%1$s();
create trigger %1$s_keep_delete after delete on %1$I referencing old table as changed_rows
  for each statement execute function keep_%1$s();
$sql$, changed_table, subject, member);
  end loop;
end $do$;

-- What something was at a moment; null if there is and was no such thing.
create function settings_at(wanted_kind text, wanted_subject text, moment timestamptz) returns jsonb
  language plpgsql stable as $$
declare
  found jsonb;
begin
  select settings into found from settings_history
  where kind = wanted_kind and subject = wanted_subject and until > moment
  order by id limit 1;
  if found is not null then return found; end if;
  case wanted_kind
    when 'key' then select judged_key(one) into found from api_keys one where id = wanted_subject::uuid;
    when 'account' then select judged_account(one) into found from accounts one where id = wanted_subject::uuid;
    when 'plan' then select judged_plan(one) into found from plans one where name = wanted_subject;
    when 'api' then select judged_api(one) into found from apis one where id = wanted_subject::uuid;
    when 'permission' then
      select judged_permission(one) into found from permissions one where id = wanted_subject::uuid;
    when 'role' then select judged_role(one) into found from roles one where id = wanted_subject::uuid;
    when 'key_roles' then
      select jsonb_agg(role_id) into found from key_roles where key_id = wanted_subject::uuid;
    when 'key_permissions' then
      select jsonb_agg(permission_id) into found from key_permissions where key_id = wanted_subject::uuid;
    when 'role_permissions' then
      select jsonb_agg(permission_id) into found from role_permissions where role_id = wanted_subject::uuid;
  end case;
  return found;
end $$;

-- Since when the history is complete.
create function settings_kept_since() returns timestamptz language sql stable as $$
  select until from settings_history where kind = 'beginning'
$$;

do $$
declare
  signature regprocedure;
begin
  foreach signature in array array[
    'keep_api_keys()', 'keep_accounts()', 'keep_plans()', 'keep_apis()', 'keep_permissions()', 'keep_roles()',
    'keep_key_roles()', 'keep_key_permissions()', 'keep_role_permissions()',
    'settings_at(text, text, timestamptz)', 'settings_kept_since()'
  ]::regprocedure[] loop
    execute format(
      'alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
  end loop;
end $$;

select isolate_accounts('settings_history'), open_to('settings_history', 'latchkey_jobs');
grant execute on function settings_at(text, text, timestamptz), settings_kept_since() to latchkey_staff;
grant select, update (until), delete on settings_history to latchkey_jobs;

-- MARK: Usage by what keys are, and by the company's own id of the customer

grant select (api_id) on api_keys to latchkey_analyst;
grant select (id, slug) on apis to latchkey_analyst;
grant select (external_id) on accounts to latchkey_analyst;
