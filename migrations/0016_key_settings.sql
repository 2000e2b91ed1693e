-- What customers say of a key beside what it may do, who made it, and which version of it a client has seen.

alter table api_keys
  -- Moves with every change of the row: what a client's If-Match is held against.
  add column revision bigint not null default 1,
  add column description text constraint api_keys_description_length check (length(description) <= 500),
  add column tags text[] not null default '{}' constraint api_keys_tags_count check (cardinality(tags) <= 16),
  -- A JSON object, in the customer's order and with the customer's digits, which jsonb would not keep.
  add column metadata text
    constraint api_keys_metadata_size check (octet_length(metadata) <= 4096)
    constraint api_keys_metadata_object check (json_typeof(metadata::json) = 'object'),
  -- Who made it, as of then: it stays when that person has left. NULL: made before this was written down.
  add column created_by_kind text
    constraint api_keys_created_by_kind_known check (created_by_kind in ('user', 'staff', 'command')),
  add column created_by_id uuid,
  add column created_by_name text,
  -- NULL: it was never disabled.
  add column enabled_at timestamptz,
  add constraint api_keys_created_by_whole check ((created_by_kind is null) = (created_by_name is null));

-- Here and not in a statement, so that a change by whomever is one that a client's If-Match notices.
create function count_key_revision() returns trigger language plpgsql as $$
begin
  new.revision := old.revision + 1;
  return new;
end $$;

create trigger api_keys_revision before update on api_keys
  for each row when (old.* is distinct from new.*) execute function count_key_revision();

-- No index on tags or for substrings: under row-level security only operators that cannot leak reach an index, and neither
-- @> nor ilike is one; a GIN index on tags leaves the plan as it is. An account's keys are read through
-- api_keys_account_idx and looked through: 10,000 of them, as many as a plan may allow, take about 25 ms.

grant select (revision, description, tags, metadata, created_by_kind, created_by_id, created_by_name, enabled_at)
  on api_keys to latchkey_portal;
