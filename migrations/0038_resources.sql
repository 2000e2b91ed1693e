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
