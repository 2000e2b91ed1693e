-- Rolling a key again and again makes neither more keys that work nor more requests. A key and those that it was rolled
-- from are a lineage: they use the same windows of their limits, count as one towards the cap, and a roll ends what of
-- the lineage is still in the grace of an earlier roll.
--
-- A server that does not know the column leaves it empty: the successors that it makes begin windows of their own, and
-- what it rolls lives to the end of its grace.
-- compatible-from: 0019

alter table api_keys
  -- The key that the lineage began with. NULL: one that is no successor, and was not rolled since there is this column.
  -- Windows are found by this id, whatever has become of that key: so it is no foreign key.
  add column lineage_id uuid;

grant select (lineage_id) on api_keys to latchkey_portal, latchkey_gateway;

-- The answer to a roll shows the keys that it ended, too.
alter table idempotent_requests
  drop constraint idempotent_requests_shown_keys_count,
  add constraint idempotent_requests_shown_keys_count check (cardinality(shown_keys) >= 1);
