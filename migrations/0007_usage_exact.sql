-- Usage by the hour, endpoint names bounded for all instances together, and flushes as one statement.

-- What this database is known by: servers keep their counters in a folder of this name, so that none writes them into
-- another database.
create table installation (
  is_only boolean constraint installation_pkey primary key default true
    constraint installation_is_only_one check (is_only),
  id uuid not null default gen_random_uuid()
);

insert into installation default values;

-- What the keys of an account were used for, by the hour.
create table account_usage_hours (
  account_id uuid not null,
  -- Its beginning.
  hour timestamptz not null
    constraint account_usage_hours_hour_whole check (extract(epoch from hour)::bigint % 3600 = 0),
  verified_count bigint not null default 0,
  denied_count bigint not null default 0,
  reported_count bigint not null default 0,
  error_count bigint not null default 0,
  total_latency_ms double precision not null default 0,
  latency_count bigint not null default 0,
  latency_buckets bigint[],
  success_count bigint not null generated always as (greatest(verified_count, reported_count) - error_count) stored,
  constraint account_usage_hours_pkey primary key (account_id, hour)
) with (fillfactor = 50);

-- The names that an account's usage is counted under: at most 500. What comes beyond is counted under 'other'.
create table account_endpoints (
  account_id uuid not null,
  endpoint text not null constraint account_endpoints_endpoint_length check (length(endpoint) between 1 and 200),
  constraint account_endpoints_pkey primary key (account_id, endpoint)
);

insert into account_endpoints select distinct account_id, endpoint from key_usage where endpoint <> 'other';

-- What questions are asked of, wherever the counters stand. Several rows may have the same key, day and endpoint: they are
-- to be summed.
create view usage_by_endpoint as
select account_id, key_id, day, endpoint, verified_count, denied_count, reported_count, success_count, error_count,
  total_latency_ms, latency_count, latency_buckets
from key_usage;

create view usage_by_key as
select account_id, key_id, day, verified_count, denied_count, reported_count, success_count, error_count,
  total_latency_ms, latency_count, latency_buckets
from key_usage;

-- Makes room for those names of a batch that are new. Whoever brings new ones waits for others who do.
create function remember_endpoints(accounts uuid[], endpoints text[]) returns void
  language plpgsql set enable_seqscan = off as $$
begin
  if not exists (
    select from unnest(accounts, endpoints) as batch (account_id, endpoint)
    where endpoint <> 'other' and not exists (
      select from account_endpoints known
      where known.account_id = batch.account_id and known.endpoint = batch.endpoint)
  ) then
    return;
  end if;
  perform pg_advisory_xact_lock(hashtext('remember_endpoints'));
  insert into account_endpoints
  select account_id, endpoint from (
    select account_id, endpoint, row_number() over (partition by account_id order by endpoint)
      + (select count(*) from account_endpoints known where known.account_id = new.account_id) as number
    from (
      select distinct account_id, endpoint from unnest(accounts, endpoints) as batch (account_id, endpoint)
      where endpoint <> 'other' and not exists (
        select from account_endpoints known
        where known.account_id = batch.account_id and known.endpoint = batch.endpoint)
    ) as new
  ) as numbered
  where number <= 500;
end $$;

-- Adds counters. One place of each array is one counter; those of what was reported may be empty where nothing was.
-- Everybody locks in the same order: table by table, by primary key.
create function count_usage(
  accounts uuid[], keys uuid[], hours timestamptz[], endpoints text[], verified bigint[], denied bigint[],
  used_at timestamptz[], reported bigint[], errors bigint[], latency_sums double precision[], latency_counts bigint[],
  buckets text[]
) returns void language plpgsql set enable_seqscan = off as $$
begin
  perform remember_endpoints(accounts, endpoints);

  insert into key_usage as usage (account_id, key_id, day, endpoint, verified_count, denied_count, reported_count,
    error_count, total_latency_ms, latency_count, latency_buckets)
  select account_id, key_id, (hour at time zone 'UTC')::date, coalesce(known.endpoint, 'other'), sum(batch.verified),
    sum(batch.denied), coalesce(sum(batch.reported), 0), coalesce(sum(batch.errors), 0),
    coalesce(sum(latency_sum), 0), coalesce(sum(latency_count), 0),
    sum_latency_buckets(histogram::bigint[]) filter (where histogram <> '')
  from unnest(accounts, keys, hours, endpoints, verified, denied, reported, errors, latency_sums, latency_counts, buckets)
    as batch (account_id, key_id, hour, endpoint, verified, denied, reported, errors, latency_sum, latency_count,
      histogram)
    left join account_endpoints known using (account_id, endpoint)
  group by 1, 2, 3, 4 order by 1, 2, 3, 4
  on conflict (account_id, key_id, day, endpoint) do update set
    verified_count = usage.verified_count + excluded.verified_count,
    denied_count = usage.denied_count + excluded.denied_count,
    reported_count = usage.reported_count + excluded.reported_count,
    error_count = usage.error_count + excluded.error_count,
    total_latency_ms = usage.total_latency_ms + excluded.total_latency_ms,
    latency_count = usage.latency_count + excluded.latency_count,
    latency_buckets = add_latency_buckets(usage.latency_buckets, excluded.latency_buckets);

  insert into key_activity as activity
    (account_id, key_id, last_used_at, verified_count, denied_count, reported_count)
  select account_id, key_id, max(used), sum(batch.verified), sum(batch.denied), coalesce(sum(batch.reported), 0)
  from unnest(accounts, keys, used_at, verified, denied, reported)
    as batch (account_id, key_id, used, verified, denied, reported)
  group by 1, 2 order by 1, 2
  on conflict (account_id, key_id) do update set
    last_used_at = greatest(activity.last_used_at, excluded.last_used_at),
    verified_count = activity.verified_count + excluded.verified_count,
    denied_count = activity.denied_count + excluded.denied_count,
    reported_count = activity.reported_count + excluded.reported_count;

  insert into account_usage_hours as usage (account_id, hour, verified_count, denied_count, reported_count,
    error_count, total_latency_ms, latency_count, latency_buckets)
  select account_id, batch.hour, sum(batch.verified), sum(batch.denied), coalesce(sum(batch.reported), 0),
    coalesce(sum(batch.errors), 0), coalesce(sum(latency_sum), 0), coalesce(sum(latency_count), 0),
    sum_latency_buckets(histogram::bigint[]) filter (where histogram <> '')
  from unnest(accounts, hours, verified, denied, reported, errors, latency_sums, latency_counts, buckets)
    as batch (account_id, hour, verified, denied, reported, errors, latency_sum, latency_count, histogram)
  group by 1, 2 order by 1, 2
  on conflict (account_id, hour) do update set
    verified_count = usage.verified_count + excluded.verified_count,
    denied_count = usage.denied_count + excluded.denied_count,
    reported_count = usage.reported_count + excluded.reported_count,
    error_count = usage.error_count + excluded.error_count,
    total_latency_ms = usage.total_latency_ms + excluded.total_latency_ms,
    latency_count = usage.latency_count + excluded.latency_count,
    latency_buckets = add_latency_buckets(usage.latency_buckets, excluded.latency_buckets);
end $$;

-- Adds the verdicts that an instance has counted under a number. False, and nothing, if that number, or a later one, has
-- been added already.
create function flush_verdicts(
  source_id uuid, number bigint, accounts uuid[], keys uuid[], hours timestamptz[], endpoints text[], verified bigint[],
  denied bigint[], used_at timestamptz[]
) returns boolean language plpgsql as $$
begin
  insert into usage_sources as source (id, flushed_number) values (source_id, number)
  on conflict (id) do update set flushed_number = excluded.flushed_number, updated_at = now()
    where source.flushed_number < excluded.flushed_number;
  if not found then return false; end if;
  perform count_usage(accounts, keys, hours, endpoints, verified, denied, used_at, '{}', '{}', '{}', '{}', '{}');
  return true;
end $$;
