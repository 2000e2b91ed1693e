-- What the company grants to keys: apis, permissions, and roles, which are sets of permissions. They belong to the
-- deployment. A key is for one api or for all of them, and has permissions, directly or by its roles.
--
-- A server that does not know them verifies keys without them. It refuses requests that name an api or permissions, as
-- it refuses all members that it does not know; and it does not apply what a service token is bound to.
-- compatible-from: 0019

create table apis (
  id uuid constraint apis_pkey primary key,
  slug text not null constraint apis_slug_unique unique
    constraint apis_slug_form check (slug ~ '^[A-Za-z0-9_:.*-]{1,128}$'),
  name text not null constraint apis_name_length check (length(name) between 1 and 100),
  -- What new keys for it begin with. NULL: the deployment's prefix.
  key_prefix text constraint apis_key_prefix_form check (key_prefix ~ '^[a-z][a-z0-9]{1,15}$'),
  -- The random bytes of new keys for it.
  key_bytes integer not null default 32 constraint apis_key_bytes_range check (key_bytes between 16 and 255),
  is_protected boolean not null default false,
  created_at timestamptz not null default now() constraint apis_created_at_finite check (isfinite(created_at))
);

create table permissions (
  id uuid constraint permissions_pkey primary key,
  slug text not null constraint permissions_slug_unique unique
    constraint permissions_slug_form check (slug ~ '^[A-Za-z0-9_:.*-]{1,128}$'),
  description text constraint permissions_description_length check (length(description) <= 500),
  created_at timestamptz not null default now()
    constraint permissions_created_at_finite check (isfinite(created_at))
);

create table roles (
  id uuid constraint roles_pkey primary key,
  name text not null constraint roles_name_unique unique
    constraint roles_name_form check (name ~ '^[A-Za-z0-9_:.*-]{1,128}$'),
  description text constraint roles_description_length check (length(description) <= 500),
  created_at timestamptz not null default now() constraint roles_created_at_finite check (isfinite(created_at))
);

create table role_permissions (
  role_id uuid not null constraint role_permissions_role_fkey references roles (id) on delete cascade,
  permission_id uuid not null constraint role_permissions_permission_fkey references permissions (id),
  constraint role_permissions_pkey primary key (role_id, permission_id)
);

-- The roles that have a permission.
create index role_permissions_permission_idx on role_permissions (permission_id);

-- If an api is deleted, only revoked keys are left that were for it.
alter table api_keys
  add column api_id uuid constraint api_keys_api_fkey references apis (id) on delete set null,
  -- Whether the key has a role or a permission. A trigger keeps it, so that the others are read without looking for any.
  add column has_grants boolean not null default false;

create index api_keys_api_idx on api_keys (api_id) where api_id is not null;

-- What an account's keys were granted. If a role or a permission is deleted, only revoked keys are left that have it.
create table key_roles (
  account_id uuid not null constraint key_roles_account_fkey references accounts (id),
  key_id uuid not null constraint key_roles_key_fkey references api_keys (id) on delete cascade,
  role_id uuid not null constraint key_roles_role_fkey references roles (id) on delete cascade,
  constraint key_roles_pkey primary key (key_id, role_id)
);

create index key_roles_role_idx on key_roles (role_id);

create table key_permissions (
  account_id uuid not null constraint key_permissions_account_fkey references accounts (id),
  key_id uuid not null constraint key_permissions_key_fkey references api_keys (id) on delete cascade,
  permission_id uuid not null constraint key_permissions_permission_fkey references permissions (id) on delete cascade,
  constraint key_permissions_pkey primary key (key_id, permission_id)
);

create index key_permissions_permission_idx on key_permissions (permission_id);

-- The permissions of each key that has any, directly or by its roles.
create view key_effective_permissions with (security_invoker = true) as
  select account_id, key_id, permission_id from key_permissions
  union
  select held.account_id, held.key_id, included.permission_id
  from key_roles held join role_permissions included on included.role_id = held.role_id;

-- MARK: Service tokens

alter table service_tokens
  -- The apis whose keys it can access, besides the keys for all apis. NULL: all. A deleted api's id means nothing.
  add column api_ids uuid[] constraint service_tokens_api_ids_count check (cardinality(api_ids) between 1 and 64),
  drop constraint service_tokens_permissions_known,
  add constraint service_tokens_permissions_known check (
    cardinality(permissions) > 0
    and permissions <@ array[
      'keys.verify', 'usage.write', 'keys.read', 'keys.write', 'analytics.read', 'catalog.read', 'catalog.write',
      'keys.grant'
    ]),
  drop constraint service_tokens_analytics_unrestricted,
  -- Neither usage nor the catalog is kept by environment or by api.
  add constraint service_tokens_unrestricted check (
    environment is null and api_ids is null
    or not permissions && array['analytics.read', 'catalog.read', 'catalog.write']);

-- MARK: Invalidation

-- One row for a change of the catalog, whatever it concerns: caches drop the keys that depend on the catalog. A server
-- that does not know this kind drops everything.
alter table invalidation_log
  drop constraint invalidation_log_kind_known,
  add constraint invalidation_log_kind_known
    check (kind in ('key', 'account', 'service_token', 'catalog', 'everything'));

-- A change of a role and of its permissions is one row: what a transaction has logged already has no number yet.
create function invalidate_catalog() returns trigger language plpgsql as $$
begin
  insert into invalidation_log (kind)
  select 'catalog' where not exists (select from invalidation_log where seq is null and kind = 'catalog');
  return null;
end $$;

create trigger apis_invalidate after update or delete or truncate on apis
  for each statement execute function invalidate_catalog();
create trigger permissions_invalidate after update or delete or truncate on permissions
  for each statement execute function invalidate_catalog();
create trigger roles_invalidate after update or delete or truncate on roles
  for each statement execute function invalidate_catalog();
create trigger role_permissions_invalidate after insert or update or delete or truncate on role_permissions
  for each statement execute function invalidate_catalog();

-- What a key was granted is part of the key: a change of it is a new revision of the key, which invalidates it.
create function touch_granted_keys() returns trigger language plpgsql as $$
begin
  -- Then the update sees what was granted by whom this waits for.
  perform from api_keys where id in (select key_id from changed_grants) order by id for update;
  update api_keys key set
    revision = revision + 1,
    has_grants = exists (select from key_roles where key_id = key.id)
      or exists (select from key_permissions where key_id = key.id)
  where id in (select key_id from changed_grants);
  return null;
end $$;

create trigger key_roles_touch_insert after insert on key_roles
  referencing new table as changed_grants for each statement execute function touch_granted_keys();
create trigger key_roles_touch_delete after delete on key_roles
  referencing old table as changed_grants for each statement execute function touch_granted_keys();
create trigger key_permissions_touch_insert after insert on key_permissions
  referencing new table as changed_grants for each statement execute function touch_granted_keys();
create trigger key_permissions_touch_delete after delete on key_permissions
  referencing old table as changed_grants for each statement execute function touch_granted_keys();

-- Grants are inserted and deleted. An update by hand may move one to another key.
create trigger key_roles_invalidate after update or truncate on key_roles
  for each statement execute function invalidate_everything();
create trigger key_permissions_invalidate after update or truncate on key_permissions
  for each statement execute function invalidate_everything();

do $$
declare
  signature regprocedure;
begin
  foreach signature in array array['invalidate_catalog()', 'touch_granted_keys()']::regprocedure[] loop
    execute format(
      'alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
  end loop;
end $$;

-- MARK: Privileges

select isolate_accounts('key_roles'), isolate_accounts('key_permissions'), open_to_staff('key_roles'),
  open_to_staff('key_permissions'), open_to('key_roles', 'latchkey_gateway'),
  open_to('key_permissions', 'latchkey_gateway');

grant select on apis, permissions, roles, role_permissions, key_roles, key_permissions, key_effective_permissions
  to latchkey_portal, latchkey_gateway, latchkey_staff;
grant select (api_id, has_grants) on api_keys to latchkey_portal, latchkey_gateway;
grant select (api_ids) on service_tokens to latchkey_staff;
-- The catalog is changed by the company's backend and by staff; both act as latchkey_staff.
grant insert, delete, update (slug, name, key_prefix, key_bytes, is_protected) on apis to latchkey_staff;
grant insert, delete, update (slug, description) on permissions to latchkey_staff;
grant insert, delete, update (name, description) on roles to latchkey_staff;
grant insert, delete on role_permissions, key_roles, key_permissions to latchkey_staff;
-- A key's successor has what the key was granted. Nothing else is granted as latchkey_portal.
grant insert on key_roles, key_permissions to latchkey_portal;
