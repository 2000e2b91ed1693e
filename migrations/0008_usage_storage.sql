-- Closed days of usage in one row per key and day, partitions that are made without keeping anybody waiting, and what the
-- jobs in the background have done.

-- Names are stored once: a packed day names an endpoint by its account's number for it. 0 is 'other'.
alter table account_endpoints add number smallint;
update account_endpoints known set number = numbered.number
from (
  select account_id, endpoint, row_number() over (partition by account_id order by endpoint) as number
  from account_endpoints
) numbered
where known.account_id = numbered.account_id and known.endpoint = numbered.endpoint;
alter table account_endpoints alter number set not null,
  add constraint account_endpoints_number_range check (number > 0),
  add constraint account_endpoints_number_unique unique (account_id, number);

-- As before, and numbers the new names. `name_count_max` is more than 500 only for names that counters have already.
create function remember_endpoints(accounts uuid[], endpoints text[], name_count_max integer) returns void
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
  insert into account_endpoints (account_id, endpoint, number)
  select account_id, endpoint, number from (
    select account_id, endpoint, row_number() over (partition by account_id order by endpoint)
      + (select coalesce(max(known.number), 0) from account_endpoints known where known.account_id = new.account_id)
      as number
    from (
      select distinct account_id, endpoint from unnest(accounts, endpoints) as batch (account_id, endpoint)
      where endpoint <> 'other' and not exists (
        select from account_endpoints known
        where known.account_id = batch.account_id and known.endpoint = batch.endpoint)
    ) as new
  ) as numbered
  where number <= name_count_max;
end $$;

create or replace function remember_endpoints(accounts uuid[], endpoints text[]) returns void language sql as $$
  select remember_endpoints(accounts, endpoints, 500)
$$;

-- One row for each key and closed day. The totals stand first, so that who wants no endpoints reads none.
create table packed_usage (
  account_id uuid not null,
  key_id uuid not null,
  day date not null,
  verified_count bigint not null,
  denied_count bigint not null,
  reported_count bigint not null,
  error_count bigint not null,
  -- The sum over the endpoints: a request that was verified under one name and reported under another is two.
  success_count bigint not null,
  total_latency_ms double precision not null,
  latency_count bigint not null,
  -- See pack_latency_buckets.
  latency text,
  -- The endpoints, one place of each array each; an array of zeros alone is null.
  endpoints smallint[] not null,
  verified integer[],
  denied integer[],
  reported integer[],
  errors integer[],
  latency_sums double precision[],
  latency_counts integer[],
  latencies text[],
  constraint packed_usage_pkey primary key (account_id, key_id, day)
) partition by range (day);

create table packed_usage_default partition of packed_usage default;

-- A histogram as text: how many zeros it begins with, then its other counts. A tenth of the bytes of the array.
create function pack_latency_buckets(buckets bigint[]) returns text language sql immutable parallel safe as $$
  select min(position) - 1 || ' ' || array_to_string(buckets[min(position):], ' ')
  from unnest(buckets) with ordinality as places (count, position) where count <> 0
$$;

create function unpack_latency_buckets(packed text) returns bigint[] language sql immutable parallel safe as $$
  select case
    when packed is not null then
      array_fill(0::bigint, array[split_part(packed, ' ', 1)::integer]) || (string_to_array(packed, ' ')::bigint[])[2:]
  end
$$;

-- A third of the time that SQL takes for it, because the sum is changed in place.
create function add_present_latency_buckets(one bigint[], other bigint[]) returns bigint[]
  language plpgsql immutable strict parallel safe as $$
begin
  if cardinality(other) > cardinality(one) then
    one := one || array_fill(0::bigint, array[cardinality(other) - cardinality(one)]);
  end if;
  for place in 1..cardinality(other) loop
    if other[place] <> 0 then one[place] := one[place] + other[place]; end if;
  end loop;
  return one;
end $$;

create or replace function add_latency_buckets(one bigint[], other bigint[]) returns bigint[]
  language sql immutable parallel safe as $$
  select case
    when one is null then other
    when other is null then one
    else add_present_latency_buckets(one, other)
  end
$$;

create or replace aggregate sum_latency_buckets(bigint[]) (
  sfunc = add_present_latency_buckets, stype = bigint[], parallel = safe, combinefunc = add_present_latency_buckets
);

-- Both places where counters stand.
create or replace view usage_by_endpoint as
select account_id, key_id, day, endpoint, verified_count, denied_count, reported_count, success_count, error_count,
  total_latency_ms, latency_count, latency_buckets
from key_usage
union all
select packed.account_id, key_id, day, coalesce(known.endpoint, 'other'), coalesce(verified, 0)::bigint,
  coalesce(denied, 0)::bigint, coalesce(reported, 0)::bigint,
  greatest(coalesce(verified, 0), coalesce(reported, 0))::bigint - coalesce(errors, 0), coalesce(errors, 0)::bigint,
  coalesce(latency_sum, 0), coalesce(latency_count, 0)::bigint, unpack_latency_buckets(latency)
from (
    -- Next to each other in a select list these are several times as fast as one unnest of all in a from clause.
    select account_id, key_id, day, unnest(endpoints) as number, unnest(verified) as verified, unnest(denied) as denied,
      unnest(reported) as reported, unnest(errors) as errors, unnest(latency_sums) as latency_sum,
      unnest(latency_counts) as latency_count, unnest(latencies) as latency
    from packed_usage
  ) as packed
  left join account_endpoints known on known.account_id = packed.account_id and known.number = packed.number;

create or replace view usage_by_key as
select account_id, key_id, day, verified_count, denied_count, reported_count, success_count, error_count,
  total_latency_ms, latency_count, latency_buckets
from key_usage
union all
select account_id, key_id, day, verified_count, denied_count, reported_count, success_count, error_count,
  total_latency_ms, latency_count, unpack_latency_buckets(latency)
from packed_usage;

-- The sums of an account's endpoints, or one key's if `key` is not null, from `first` to `last`: what usage_by_endpoint
-- gives, in less than half the time where there are many keys, because packed days are summed by number, and names are
-- looked up for sums only. An endpoint may have two rows. What of it is not asked for is not summed.
create function usage_of_endpoints(
  account uuid, key uuid, first date, last date, with_latency_buckets boolean default true
) returns table (
  endpoint text, verified_count bigint, denied_count bigint, reported_count bigint, success_count bigint,
  error_count bigint, total_latency_ms double precision, latency_count bigint, latency_buckets bigint[]
) language sql stable parallel safe rows 50 as $$
  select usage.endpoint, sum(usage.verified_count)::bigint, sum(usage.denied_count)::bigint,
    sum(usage.reported_count)::bigint, sum(usage.success_count)::bigint, sum(usage.error_count)::bigint,
    sum(usage.total_latency_ms), sum(usage.latency_count)::bigint,
    sum_latency_buckets(case when with_latency_buckets then usage.latency_buckets end)
  from key_usage usage
  where usage.account_id = account and (key is null or usage.key_id = key) and usage.day between first and last
  group by usage.endpoint
  union all
  select coalesce(known.endpoint, 'other'), packed.verified, packed.denied, packed.reported, packed.success,
    packed.errors, packed.latency_sum, packed.latency_count, packed.latency
  from (
      select number, coalesce(sum(verified), 0) as verified, coalesce(sum(denied), 0) as denied,
        coalesce(sum(reported), 0) as reported,
        coalesce(sum(greatest(verified, reported)), 0) - coalesce(sum(errors), 0) as success,
        coalesce(sum(errors), 0) as errors, coalesce(sum(latency_sum), 0) as latency_sum,
        coalesce(sum(latency_count), 0) as latency_count,
        sum_latency_buckets(case when with_latency_buckets then unpack_latency_buckets(latency) end) as latency
      from (
        select unnest(endpoints) as number, unnest(verified) as verified, unnest(denied) as denied,
          unnest(reported) as reported, unnest(errors) as errors, unnest(latency_sums) as latency_sum,
          unnest(latency_counts) as latency_count, unnest(latencies) as latency
        from packed_usage usage
        where usage.account_id = account and (key is null or usage.key_id = key) and usage.day between first and last
      ) as counters
      group by number
    ) as packed
    left join account_endpoints known on known.account_id = account and known.number = packed.number
$$;

-- Moves counters of days before `before` into packed_usage: those that come after the place that is given, about
-- `counter_count_max` of them. The answer says where it stopped; `last_day` is null when nothing is left behind there.
-- Calls are transactions of their own, and whatever their order each counter stands in one place.
--
-- It waits for no flush: what somebody writes at this moment stays for the next time. A counter that 31 bits could not
-- hold stays, too.
create function pack_usage(
  before date, counter_count_max integer, after_account uuid, after_key uuid, after_day date,
  out counter_count bigint, out last_account uuid, out last_key uuid, out last_day date
) language plpgsql
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
  greatest_id constant uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  end_account uuid;
  end_key uuid;
  end_day date;
  accounts uuid[];
  names text[];
begin
  perform pg_advisory_xact_lock(hashtext('pack_usage'));
  after_account := coalesce(after_account, '00000000-0000-0000-0000-000000000000');
  after_key := coalesce(after_key, '00000000-0000-0000-0000-000000000000');
  after_day := coalesce(after_day, '-infinity');
  select account_id, key_id, day into last_account, last_key, last_day
  from key_usage
  where day < before and (account_id, key_id, day) > (after_account, after_key, after_day)
  order by account_id, key_id, day offset counter_count_max - 1 limit 1;
  end_account := coalesce(last_account, greatest_id);
  end_key := coalesce(last_key, greatest_id);
  end_day := coalesce(last_day, 'infinity');

  -- Whatever has to be waited for is waited for before a counter is locked.
  select array_agg(account_id), array_agg(endpoint) into accounts, names
  from (
    select distinct account_id, endpoint from key_usage
    where day < before and (account_id, key_id, day) > (after_account, after_key, after_day)
      and (account_id, key_id, day) <= (end_account, end_key, end_day)
  ) as used;
  perform remember_endpoints(accounts, names, 32767);

  with locked as materialized (
    select usage.account_id, usage.key_id, usage.day, usage.endpoint, coalesce(known.number, 0::smallint) as number
    from key_usage usage
      left join account_endpoints known
        on known.account_id = usage.account_id and known.endpoint = usage.endpoint
      left join packed_usage packed
        on packed.account_id = usage.account_id and packed.key_id = usage.key_id and packed.day = usage.day
    where usage.day < before
      and (usage.account_id, usage.key_id, usage.day) > (after_account, after_key, after_day)
      and (usage.account_id, usage.key_id, usage.day) <= (end_account, end_key, end_day)
      and (known.number is not null or usage.endpoint = 'other')
      and greatest(usage.verified_count, usage.denied_count, usage.reported_count, usage.error_count,
          usage.latency_count)
        + coalesce(greatest(packed.verified_count, packed.denied_count, packed.reported_count, packed.error_count,
          packed.latency_count), 0) <= 2147483647
    order by usage.account_id, usage.key_id, usage.day, usage.endpoint
    for update of usage skip locked
  ), taken as (
    delete from key_usage usage using locked
    where usage.account_id = locked.account_id and usage.key_id = locked.key_id and usage.day = locked.day
      and usage.endpoint = locked.endpoint
    returning usage.account_id, usage.key_id, usage.day, locked.number, usage.verified_count as verified,
      usage.denied_count as denied, usage.reported_count as reported, usage.error_count as errors,
      usage.total_latency_ms as latency_sum, usage.latency_count, usage.latency_buckets
  ), known as (
    select packed.account_id, packed.key_id, packed.day, unnest(endpoints) as number, unnest(verified) as verified,
      unnest(denied) as denied, unnest(reported) as reported, unnest(errors) as errors,
      unnest(latency_sums) as latency_sum, unnest(latency_counts) as latency_count, unnest(latencies) as latency
    from (select distinct account_id, key_id, day from taken) as fresh
      join packed_usage packed
        on packed.account_id = fresh.account_id and packed.key_id = fresh.key_id and packed.day = fresh.day
  ), merged as (
    select account_id, key_id, day, number, coalesce(sum(verified), 0)::bigint as verified,
      coalesce(sum(denied), 0)::bigint as denied, coalesce(sum(reported), 0)::bigint as reported,
      coalesce(sum(errors), 0)::bigint as errors, coalesce(sum(latency_sum), 0) as latency_sum,
      coalesce(sum(latency_count), 0)::bigint as latency_count, sum_latency_buckets(latency_buckets) as latency_buckets
    from (
      select account_id, key_id, day, number, verified, denied, reported, errors, latency_sum, latency_count,
        latency_buckets
      from taken
      union all
      select account_id, key_id, day, number, verified, denied, reported, errors, latency_sum, latency_count,
        unpack_latency_buckets(latency)
      from known
    ) as parts
    group by account_id, key_id, day, number
  ), stored as (
    insert into packed_usage as packed (account_id, key_id, day, verified_count, denied_count, reported_count,
      error_count, success_count, total_latency_ms, latency_count, latency, endpoints, verified, denied, reported,
      errors, latency_sums, latency_counts, latencies)
    select account_id, key_id, day, sum(verified), sum(denied), sum(reported), sum(errors),
      sum(greatest(verified, reported) - errors), sum(latency_sum), sum(latency_count),
      pack_latency_buckets(sum_latency_buckets(latency_buckets)), array_agg(number order by number),
      case when bool_or(verified <> 0) then array_agg(verified::integer order by number) end,
      case when bool_or(denied <> 0) then array_agg(denied::integer order by number) end,
      case when bool_or(reported <> 0) then array_agg(reported::integer order by number) end,
      case when bool_or(errors <> 0) then array_agg(errors::integer order by number) end,
      case when bool_or(latency_sum <> 0) then array_agg(latency_sum order by number) end,
      case when bool_or(latency_count <> 0) then array_agg(latency_count::integer order by number) end,
      case when bool_or(latency_buckets is not null)
        then array_agg(pack_latency_buckets(latency_buckets) order by number) end
    from merged
    group by account_id, key_id, day
    order by account_id, key_id, day
    on conflict (account_id, key_id, day) do update set
      verified_count = excluded.verified_count, denied_count = excluded.denied_count,
      reported_count = excluded.reported_count, error_count = excluded.error_count,
      success_count = excluded.success_count, total_latency_ms = excluded.total_latency_ms,
      latency_count = excluded.latency_count, latency = excluded.latency, endpoints = excluded.endpoints,
      verified = excluded.verified, denied = excluded.denied, reported = excluded.reported, errors = excluded.errors,
      latency_sums = excluded.latency_sums, latency_counts = excluded.latency_counts, latencies = excluded.latencies
  )
  select count(*) into counter_count from taken;
end $$;

-- Makes one partition for a month of `parent`, and moves what stands in the default partition for want of it. Writers wait
-- meanwhile, for it would be too late for what is on its way into the default partition. So do readers where rows are to
-- be moved: one that has looked up the partitions before, and reads after, would see the rows in neither. Who would keep
-- it waiting for long keeps it from being made.
create function make_month_partition(parent text, month date, options text) returns boolean
  language plpgsql set lock_timeout = '2s' as $$
declare
  name constant text := parent || to_char(month, '_YYYY_MM');
  until constant date := month + interval '1 month';
  columns text;
  has_rows boolean;
begin
  if to_regclass(name) is not null then return false; end if;
  select string_agg(quote_ident(attname), ', ' order by attnum) into columns
  from pg_attribute where attrelid = parent::regclass and attnum > 0 and not attisdropped and attgenerated = '';
  execute format('create table %I (like %I including all) with (%s)', name, parent, options);
  execute format('select exists (select from %I where day >= %L and day < %L)', parent || '_default', month, until)
  into has_rows;
  execute format(
    'lock table only %I in %s mode', parent, case when has_rows then 'access exclusive' else 'share row exclusive' end);
  execute format('lock table %I in access exclusive mode', parent || '_default');
  execute format(
    'with moved as (delete from %I where day >= %L and day < %L returning %s) insert into %I (%s) select * from moved',
    parent || '_default', month, until, columns, name, columns);
  execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, name, month, until);
  return true;
end $$;

-- A flush may change every counter of a page in one transaction: each needs room for a second version of itself.
create function key_usage_options() returns text language sql immutable as $$
  select 'fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05'
$$;

-- Makes the partitions of the month of `first` and of the `months` after it; how many months lacked one. Two callers at
-- the same time take turns.
create or replace function ensure_usage_partitions(first date, months integer) returns integer language plpgsql as $$
declare
  month date := date_trunc('month', first);
  made integer := 0;
  is_new boolean;
begin
  perform pg_advisory_xact_lock(hashtext('ensure_usage_partitions'));
  for step in 0..months loop
    is_new := make_month_partition('key_usage', month, key_usage_options());
    if make_month_partition('packed_usage', month, 'fillfactor = 100') or is_new then made := made + 1; end if;
    month := month + interval '1 month';
  end loop;
  return made;
end $$;

-- How many counters stand in the default partitions; 10,000 for more.
create function unplaced_usage_count() returns bigint language sql stable as $$
  select count(*) from (
    select from key_usage_default union all select from packed_usage_default limit 10000) as unplaced
$$;

-- Makes a partition for a month of which something stands in a default partition; false if there is none.
create function place_usage() returns boolean language plpgsql as $$
declare
  unplaced date := coalesce(
    (select day from key_usage_default where isfinite(day) limit 1),
    (select day from packed_usage_default where isfinite(day) limit 1));
begin
  return unplaced is not null and ensure_usage_partitions(unplaced, 0) > 0;
end $$;

-- Drops one partition of usage whose month ended before `before`; its name, or null if there is none.
create function drop_usage_partition(before date) returns text language plpgsql set lock_timeout = '2s' as $$
declare
  partition name;
begin
  select child.relname into partition
  from pg_inherits join pg_class child on child.oid = inhrelid
  where inhparent in ('key_usage'::regclass, 'packed_usage'::regclass) and child.relname ~ '_\d{4,}_\d\d$'
    and to_date(right(child.relname, -length(inhparent::regclass::text) - 1), 'YYYY_MM') + interval '1 month' <= before
  order by child.relname limit 1;
  if partition is not null then execute format('drop table %I', partition); end if;
  return partition;
end $$;

do $$
declare
  partition name;
begin
  for partition in
    select relname from pg_inherits join pg_class on oid = inhrelid where inhparent = 'key_usage'::regclass
  loop
    execute format('alter table %I set (%s)', partition, key_usage_options());
    if partition <> 'key_usage_default' then
      perform ensure_usage_partitions(to_date(right(partition, 7), 'YYYY_MM'), 0);
    end if;
  end loop;
end $$;
alter table key_activity set (fillfactor = 45);
alter table account_usage_hours set (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05);
create index account_usage_hours_hour_idx on account_usage_hours (hour);

select ensure_usage_partitions(current_date, 3);

-- What the jobs in the background have done, and who did it last.
create table jobs (
  name text constraint jobs_pkey primary key,
  started_at timestamptz not null,
  -- Who runs it, or ran it last.
  instance text not null,
  finished_at timestamptz,
  succeeded_at timestamptz,
  duration_ms double precision,
  -- What the last run that succeeded dealt with: rows, or partitions.
  result_count bigint,
  -- Of the last run, if that failed.
  error text,
  failure_count bigint not null default 0
) with (fillfactor = 50);
