-- What keys look like, by key and not only by api; house accounts, for keys that belong to no customer; and moving keys
-- to another account.
--
-- A server that does not know this gives all keys the api's or the deployment's prefix, locks house accounts like all
-- others and lists them among the customers', and cannot read keys without a start, which only a server that knows this
-- makes.
-- compatible-from: 0019

alter table api_keys
  -- What the key, and the keys that succeed it, begin with. NULL: as its api or the deployment says.
  add column key_prefix text constraint api_keys_key_prefix_form check (key_prefix ~ '^[a-z][a-z0-9]{1,15}$'),
  -- The random bytes of the key, and of those that succeed it. NULL: as its api or the default says.
  add column key_bytes integer constraint api_keys_key_bytes_range check (key_bytes between 16 and 255),
  -- All before the secret part, and four characters of it. NULL: only the hash is known.
  alter column key_start drop not null,
  drop constraint api_keys_key_start_length,
  add constraint api_keys_key_start_length check (length(key_start) between 1 and 32);

grant select (key_prefix, key_bytes) on api_keys to latchkey_portal;

comment on column keys_v1.start is
  'Its first characters, to recognise it by: four of its secret part, and all before. NULL: only its hash is known.';

-- MARK: House accounts

alter table accounts
  drop constraint accounts_kind_known,
  -- `house`: for the keys of an api that belong to no customer. Nobody logs in to it, it is in no list of customers, and
  -- it has no cap.
  add constraint accounts_kind_known check (kind in ('customer', 'external', 'house')),
  -- The api of a house account. NULL: no house account, or that of a deleted api.
  add column house_api_id uuid constraint accounts_house_api_fkey references apis (id) on delete set null,
  add constraint accounts_house_kind check (house_api_id is null or kind = 'house');

create unique index accounts_house_api_unique on accounts (house_api_id) where deleted_at is null;

-- Analysts see the customers' accounts.
create or replace view accounts_v1 as
select id, name, plan, suspended_at, created_at from accounts where kind <> 'house';

-- MARK: Moving keys

-- Moves keys to another account, with what they were granted and their own credits. Runs with its owner's rights, because no role changes two
-- accounts; it takes keys of the current account only. Both accounts and the keys are to be locked before. Usage stays
-- with the account that it was counted for.
create function move_keys(target uuid, moved uuid[]) returns bigint language plpgsql as $$
declare
  source constant uuid := current_account();
  role_keys uuid[];
  held_roles uuid[];
  permission_keys uuid[];
  held_permissions uuid[];
  moved_buckets uuid[];
  moved_count bigint;
begin
  select array_agg(key_id order by key_id, role_id), array_agg(role_id order by key_id, role_id)
  into role_keys, held_roles from key_roles where account_id = source and key_id = any (moved);
  select array_agg(key_id order by key_id, permission_id), array_agg(permission_id order by key_id, permission_id)
  into permission_keys, held_permissions from key_permissions where account_id = source and key_id = any (moved);
  delete from key_roles where account_id = source and key_id = any (moved);
  delete from key_permissions where account_id = source and key_id = any (moved);
  -- Nobody there has been told that they expire.
  delete from key_expiry_notices where account_id = source and key_id = any (moved);
  -- Enabled now: an account that disables idle keys gives them all of their time.
  update api_keys set account_id = target, enabled_at = now() where account_id = source and id = any (moved);
  get diagnostics moved_count = row_count;
  -- A bucket and its leases move with the keys that have it. Their lock is that of the bucket: whoever leases waits, and
  -- leases in the new account. Keys of the lineage that stay are over, and have no more credits.
  moved_buckets := array(
    select id from credits where account_id = source
      and id in (select credits_id from api_keys where account_id = target and id = any (moved))
    order by id for update);
  if moved_buckets <> '{}' then
    perform from credit_leases where credits_id = any (moved_buckets) order by credits_id, holder_id for update;
    update credits set account_id = target where id = any (moved_buckets);
    update credit_leases set account_id = target where credits_id = any (moved_buckets);
    update api_keys set credits_id = null where account_id = source and credits_id = any (moved_buckets);
  end if;
  insert into key_roles (account_id, key_id, role_id)
    select target, key_id, role_id from unnest(role_keys, held_roles) held (key_id, role_id);
  insert into key_permissions (account_id, key_id, permission_id)
    select target, key_id, permission_id from unnest(permission_keys, held_permissions) held (key_id, permission_id);
  return moved_count;
end $$;

do $$ begin
  execute format(
    'alter function move_keys(uuid, uuid[]) security definer set search_path = %I, pg_temp', current_schema());
end $$;
revoke execute on function move_keys(uuid, uuid[]) from public;
grant execute on function move_keys(uuid, uuid[]) to latchkey_staff;
