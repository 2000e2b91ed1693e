-- Standalone limits: what the company counts beside keys, for identifiers of its own. A namespace is made when it is
-- first used. An override replaces a caller's numbers for some of its identifiers. The counts are where those of keys
-- are.
--
-- A server without this file has no routes for them. It does not know the kind 'limit_namespace' of the log, and drops
-- everything that it has cached.
-- compatible-from: 0019

create table limit_namespaces (
  id uuid constraint limit_namespaces_pkey primary key,
  -- Compared by bytes.
  name text collate "C" not null
    constraint limit_namespaces_name_length check (length(name) between 1 and 512),
  -- Caches look namespaces up by it.
  name_hash bytea not null constraint limit_namespaces_name_hash_unique unique
    constraint limit_namespaces_name_hash_length check (length(name_hash) = 32)
    constraint limit_namespaces_name_hash_right check (name_hash = sha256(convert_to(name, 'UTF8'))),
  created_at timestamptz not null default now()
    constraint limit_namespaces_created_at_finite check (isfinite(created_at))
);

create table limit_overrides (
  id uuid constraint limit_overrides_pkey primary key,
  namespace_id uuid not null
    constraint limit_overrides_namespace_fkey references limit_namespaces (id) on delete cascade,
  -- An identifier, or a pattern of identifiers, in which * stands for any characters. Compared by bytes.
  identifier text collate "C" not null
    constraint limit_overrides_identifier_length check (length(identifier) between 1 and 512),
  -- 0 refuses whatever costs something.
  limit_value bigint not null constraint limit_overrides_limit_range check (limit_value between 0 and 1000000000),
  window_milliseconds bigint not null
    constraint limit_overrides_window_range check (window_milliseconds between 1000 and 86400000),
  created_at timestamptz not null default now()
    constraint limit_overrides_created_at_finite check (isfinite(created_at)),
  constraint limit_overrides_identifier_unique unique (namespace_id, identifier)
);

-- The pages of a namespace.
create index limit_overrides_namespace_idx on limit_overrides (namespace_id, id);

-- MARK: Service tokens

alter table service_tokens
  drop constraint service_tokens_permissions_known,
  add constraint service_tokens_permissions_known check (
    cardinality(permissions) > 0
    and permissions <@ array[
      'keys.verify', 'usage.write', 'keys.read', 'keys.write', 'analytics.read', 'catalog.read', 'catalog.write',
      'keys.grant', 'accounts.read', 'accounts.write', 'limits.use', 'limits.write'
    ]
  ),
  -- Standalone limits are of the deployment.
  add constraint service_tokens_limits_unrestricted
    check (environment is null and api_ids is null or not permissions && array['limits.use', 'limits.write']);

-- MARK: Invalidation

alter table invalidation_log
  -- Of the kind 'limit_namespace'.
  add column namespace_id uuid,
  drop constraint invalidation_log_kind_known,
  add constraint invalidation_log_kind_known
    check (kind in ('key', 'account', 'service_token', 'catalog', 'credits', 'limit_namespace', 'everything'));

-- New namespaces are in the log as well, as new keys are.
create function invalidate_limit_namespaces() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into invalidation_log (kind, namespace_id) select 'limit_namespace', id from new_namespaces limit 1;
  else
    insert into invalidation_log (kind, namespace_id) select 'limit_namespace', id from old_namespaces;
  end if;
  return null;
end $$;

create trigger limit_namespaces_log_insert after insert on limit_namespaces
  referencing new table as new_namespaces for each statement execute function invalidate_limit_namespaces();
create trigger limit_namespaces_invalidate_update after update on limit_namespaces
  referencing old table as old_namespaces for each statement execute function invalidate_limit_namespaces();
create trigger limit_namespaces_invalidate_delete after delete on limit_namespaces
  referencing old table as old_namespaces for each statement execute function invalidate_limit_namespaces();
create trigger limit_namespaces_invalidate_truncate after truncate on limit_namespaces
  for each statement execute function invalidate_everything();

-- One row for each namespace whose overrides a statement changed. An update by hand may move one to another namespace.
create function invalidate_overridden_namespaces() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into invalidation_log (kind, namespace_id)
    select distinct 'limit_namespace', namespace_id from new_overrides;
  elsif tg_op = 'DELETE' then
    insert into invalidation_log (kind, namespace_id)
    select distinct 'limit_namespace', namespace_id from old_overrides;
  else
    insert into invalidation_log (kind, namespace_id)
    select 'limit_namespace', namespace_id from (
      select namespace_id from old_overrides union select namespace_id from new_overrides
    ) changed;
  end if;
  return null;
end $$;

create trigger limit_overrides_invalidate_insert after insert on limit_overrides
  referencing new table as new_overrides for each statement execute function invalidate_overridden_namespaces();
create trigger limit_overrides_invalidate_update after update on limit_overrides
  referencing old table as old_overrides new table as new_overrides
  for each statement execute function invalidate_overridden_namespaces();
create trigger limit_overrides_invalidate_delete after delete on limit_overrides
  referencing old table as old_overrides for each statement execute function invalidate_overridden_namespaces();
create trigger limit_overrides_invalidate_truncate after truncate on limit_overrides
  for each statement execute function invalidate_everything();

do $$
declare
  signature regprocedure;
begin
  foreach signature in array
    array['invalidate_limit_namespaces()', 'invalidate_overridden_namespaces()']::regprocedure[]
  loop
    execute format('alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
  end loop;
end $$;

-- MARK: Privileges

grant select on limit_namespaces, limit_overrides to latchkey_gateway, latchkey_staff;
-- The company's backend and staff change them; both act as latchkey_staff. So does whoever uses a namespace first.
grant insert, delete on limit_namespaces, limit_overrides to latchkey_staff;
-- A row that is locked has to be one that might be changed.
grant update (name) on limit_namespaces to latchkey_staff;
grant update (limit_value, window_milliseconds) on limit_overrides to latchkey_staff;
