-- Endpoint names: whoever brings new ones waits for others who bring new ones of the same accounts, no longer for all.
-- Accounts share 128 locks, because each lock takes shared memory and a flush may bring names of thousands of accounts. An
-- account that has all its names takes none.
create or replace function remember_endpoints(accounts uuid[], endpoints text[], name_count_max integer) returns void
  language plpgsql set enable_seqscan = off as $$
declare
  place integer;
  newcomers uuid[] := array(
    select distinct account_id from unnest(accounts, endpoints) as batch (account_id, endpoint)
    where endpoint <> 'other'
      and not exists (
        select from account_endpoints known
        where known.account_id = batch.account_id and known.endpoint = batch.endpoint)
      and not exists (
        select from account_endpoints last
        where last.account_id = batch.account_id and last.number >= name_count_max));
begin
  if newcomers = '{}' then return; end if;
  -- In one order for all.
  for place in select distinct hashtext(account_id::text) & 127 from unnest(newcomers) account_id order by 1 loop
    perform pg_advisory_xact_lock(hashtext('remember_endpoints'), place);
  end loop;
  insert into account_endpoints (account_id, endpoint, number)
  select account_id, endpoint, number from (
    select account_id, endpoint, row_number() over (partition by account_id order by endpoint)
      + (select coalesce(max(known.number), 0) from account_endpoints known where known.account_id = new.account_id)
      as number
    from (
      select distinct account_id, endpoint from unnest(accounts, endpoints) as batch (account_id, endpoint)
      where endpoint <> 'other' and account_id = any (newcomers) and not exists (
        select from account_endpoints known
        where known.account_id = batch.account_id and known.endpoint = batch.endpoint)
    ) as new
  ) as numbered
  where number <= name_count_max;
end $$;
