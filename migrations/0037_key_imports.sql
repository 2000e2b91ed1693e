-- Keys of another system go on: their hashes are imported, and the keys are found by them until they are used.
--
-- A server that does not know this finds imported keys only once they have been used, and cannot list keys without a
-- start. It ignores what the head of the invalidation log says of imports.
-- compatible-from: 0019

alter table api_keys
  -- NULL: only another system's hash is known; the key has not been used yet.
  alter column key_hash drop not null,
  -- What the other system has hashed, and how. NULL: the key was made here.
  add column import_form text constraint api_keys_import_form_known check (import_form in (
    'sha256', 'sha512', 'sha256-long', 'sha512-long', 'sha256-salted', 'sha512-salted', 'sha256-long-salted',
    'sha512-long-salted')),
  add column import_hash bytea,
  add constraint api_keys_import_hash_length
    check (length(import_hash) = case when import_form like 'sha512%' then 64 else 32 end),
  add constraint api_keys_import_whole check ((import_form is null) = (import_hash is null)),
  add constraint api_keys_hash_present check (key_hash is not null or import_hash is not null);

create unique index api_keys_import_hash_unique on api_keys (import_form, import_hash) where import_hash is not null;

grant select (import_form, import_hash, key_start) on api_keys to latchkey_gateway;

-- MARK: What servers need to know

-- The forms of which there are imported keys: all look-ups and all syncs of the caches read it in their snapshot, and
-- look for keys of no other form.
alter table invalidation_head add column import_forms text[] not null default '{}';

create table import_forms (
  form text constraint import_forms_pkey primary key,
  since timestamptz not null default now() constraint import_forms_since_finite check (isfinite(since))
);

create function note_import_forms() returns trigger language plpgsql as $$
begin
  insert into import_forms (form)
  select distinct import_form from new_keys
  where import_form is not null and import_form not in (select form from import_forms)
  order by import_form
  on conflict do nothing;
  return null;
end $$;

create trigger api_keys_note_imports after insert on api_keys
  referencing new table as new_keys for each statement execute function note_import_forms();

-- At the commit, because the head is locked last.
create function announce_import_form() returns trigger language plpgsql as $$
begin
  update invalidation_head set import_forms = array_append(import_forms, new.form)
  where new.form <> all (import_forms);
  return null;
end $$;

create constraint trigger import_forms_announce after insert on import_forms
  deferrable initially deferred for each row execute function announce_import_form();

-- MARK: Importing

-- Locks the accounts that keys are imported into, so that the cap holds. A house account has none.
create function lock_accounts(ids uuid[]) returns void language sql as $$
  select from accounts where id = any (ids) and kind <> 'house' and deleted_at is null order by id for update
$$;

-- Makes external accounts for external ids that have none, with an event each. Returns the ids of those that were made.
create function make_external_accounts(
  ids uuid[], names text[], external_ids text[], event_ids uuid[], by_kind text, by_id uuid, by_name text, by_ip inet,
  detail text
) returns setof uuid language plpgsql as $$
declare
  made uuid[];
begin
  with inserted as (
    insert into accounts (id, name, external_id, plan, kind)
    select new.id, new.name, new.external_id, 'external', 'external'
    from unnest(ids, names, external_ids) new (id, name, external_id)
    order by new.external_id collate "C"
    on conflict (external_id) where deleted_at is null do nothing
    returning id
  )
  select coalesce(array_agg(id order by id), '{}') into made from inserted;
  insert into audit_events (
    id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, ip, detail)
  select event.id, event.account_id, by_kind, by_id, by_name, 'account.created', 'account', event.account_id, by_ip,
    make_external_accounts.detail
  from unnest(event_ids, ids) event (id, account_id) where event.account_id = any (made)
  order by event.account_id;
  return query select unnest(made);
end $$;

-- Adds imported keys, and leaves out those that are there already. Returns the ids of those that were added.
create function import_keys(imported json) returns setof uuid language sql as $$
  insert into api_keys (
    id, account_id, name, key_start, key_hash, import_form, import_hash, environment, scopes, rate_limit_per_minute,
    limit_names, limit_values, limit_window_seconds, named_limits, rate_limit_mode, allowed_ips, expires_at,
    disabled_at, description, tags, metadata, created_by_kind, created_by_id, created_by_name, api_id, key_prefix, key_bytes)
  select id, account_id, name, key_start, case when form = 'sha256' then decode(hash, 'hex') end, form,
    decode(hash, 'hex'), environment, scopes, rate_limit_per_minute, limit_names, limit_values, limit_window_seconds,
    named_limits, rate_limit_mode, allowed_ips::cidr[], expires_at, case when not enabled then now() end, description, tags,
    metadata, by_kind, by_id, by_name, api_id, key_prefix, key_bytes
  from json_to_recordset(imported) new (
    id uuid, account_id uuid, name text, key_start text, form text, hash text, environment text, scopes text[],
    rate_limit_per_minute integer, limit_names text[], limit_values integer[], limit_window_seconds integer[],
    named_limits jsonb, rate_limit_mode text, allowed_ips text[], expires_at timestamptz, enabled boolean, description text, tags text[],
    metadata text, by_kind text, by_id uuid, by_name text, api_id uuid, key_prefix text, key_bytes integer)
  where form is not null and hash is not null
  order by hash
  on conflict do nothing
  returning id
$$;

-- MARK: First use

-- Gives imported keys the hash of the text that was presented, and its start. The first text that fits becomes the key.
-- Keys that have both stay as they are.
create function use_imported_keys(ids uuid[], hashes bytea[], starts text[]) returns bigint language plpgsql as $$
declare
  used_count bigint;
begin
  perform from api_keys where id = any (ids) order by id for update;
  update api_keys key set
    key_hash = used.hash, key_start = coalesce(key.key_start, used.start)
  from unnest(ids, hashes, starts) used (id, hash, start)
  where key.id = used.id and key.import_form is not null
    and (key.key_hash is null or key.key_hash = used.hash and key.key_start is null);
  get diagnostics used_count = row_count;
  return used_count;
end $$;

-- MARK: Privileges

do $$
declare
  signature regprocedure;
  grantee name;
begin
  for signature, grantee in values
    ('note_import_forms()'::regprocedure, null::name), ('announce_import_form()', null),
    ('lock_accounts(uuid[])', 'latchkey_staff'),
    ('make_external_accounts(uuid[], text[], text[], uuid[], text, uuid, text, inet, text)', 'latchkey_staff'),
    ('import_keys(json)', 'latchkey_staff'),
    ('use_imported_keys(uuid[], bytea[], text[])', 'latchkey_gateway')
  loop
    execute format('alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
    if grantee is not null then
      execute format('grant execute on function %s to %I', signature, grantee);
    end if;
  end loop;
end $$;

alter table service_tokens
  drop constraint service_tokens_permissions_known,
  add constraint service_tokens_permissions_known check (
    cardinality(permissions) > 0
    and permissions <@ array[
      'keys.verify', 'usage.write', 'keys.read', 'keys.write', 'analytics.read', 'catalog.read', 'catalog.write',
      'keys.grant', 'accounts.read', 'accounts.write', 'limits.use', 'limits.write', 'audit.read', 'keys.import',
      'keys.export'
    ]
  ),
  -- Both concern all keys.
  add constraint service_tokens_imports_unrestricted
    check (environment is null and api_ids is null or not permissions && array['keys.import', 'keys.export']);
