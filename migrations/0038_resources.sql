-- Scopes that a key has for single resources, and plans that carry apis and roles for the keys of their accounts.
-- compatible-from: 0019
--
-- A server without this file verifies keys without them: it refuses requests that name a resource, as it refuses all
-- members that it does not know, and what a plan carries does not matter to it. If it rolls a key, the successor has no
-- resources.

alter table api_keys
  -- A JSON object of lists of scopes, such as {"project:123": ["read"]}, written without spaces. NULL: none.
  add column resources text
    constraint api_keys_resources_size check (octet_length(resources) <= 8192)
    constraint api_keys_resources_object check (json_typeof(resources::json) = 'object');

-- A change of a plan is a single row of the invalidation log, with what it carries: that is in the plan's own row. The
-- catalog refuses to delete what a plan names. Should it be deleted by hand, its id means nothing.
alter table plans
  -- The apis that keys may be for. NULL: all.
  add column api_ids uuid[] constraint plans_api_ids_count check (cardinality(api_ids) between 1 and 64),
  -- The roles that keys have besides their own.
  add column role_ids uuid[] not null default '{}'
    constraint plans_role_ids_count check (cardinality(role_ids) <= 64);

grant select (resources) on api_keys to latchkey_portal, latchkey_gateway;
grant update (resources) on api_keys to latchkey_staff;
grant update (api_ids, role_ids) on plans to latchkey_staff;

-- They are judged by, so the history keeps them.

create or replace function judged_key(key api_keys) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', key.id, 'lineage_id', key.lineage_id, 'account_id', key.account_id, 'environment', key.environment,
    'scopes', key.scopes, 'rate_limit_per_minute', key.rate_limit_per_minute, 'limit_names', key.limit_names,
    'limit_values', key.limit_values, 'limit_window_seconds', key.limit_window_seconds,
    'rate_limit_mode', key.rate_limit_mode, 'allowed_ips', key.allowed_ips, 'expires_at', key.expires_at,
    'named_limits', key.named_limits, 'disabled_at', key.disabled_at, 'revoked_at', key.revoked_at,
    'created_at', key.created_at, 'api_id', key.api_id,
    'resources', key.resources)
$$;

create or replace function judged_plan(plan plans) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'name', plan.name, 'scopes', plan.scopes, 'rate_limit_per_minute_max', plan.rate_limit_per_minute_max,
    'max_key_lifetime_days', plan.max_key_lifetime_days,
    'api_ids', plan.api_ids, 'role_ids', plan.role_ids)
$$;
