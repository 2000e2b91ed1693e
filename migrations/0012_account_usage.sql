-- The sums of an account's packed days, so that what is asked about an account does not add up all its keys.

-- One row for each account and day of packed_usage: always the sums of its rows there. The totals stand first, as there.
create table packed_account_usage (
  account_id uuid not null,
  day date not null,
  verified_count bigint not null,
  denied_count bigint not null,
  reported_count bigint not null,
  error_count bigint not null,
  success_count bigint not null,
  total_latency_ms double precision not null,
  latency_count bigint not null,
  -- See pack_latency_buckets. There is none of endpoints: nobody asks for them.
  latency text,
  -- The endpoints, one place of each array each; an array of zeros alone is null.
  endpoints smallint[] not null,
  verified bigint[],
  denied bigint[],
  reported bigint[],
  errors bigint[],
  -- Sums over the keys, which do not follow from the others. Null where they are those of `verified`.
  successes bigint[],
  latency_sums double precision[],
  latency_counts bigint[],
  constraint packed_account_usage_pkey primary key (account_id, day)
) partition by range (day);

create table packed_account_usage_default partition of packed_account_usage default;

-- The statement that adds changes of packed_usage to the sums. `changes` is a query of its columns and of `sign`: 1 for a
-- row that is there now, -1 for one that is there no longer.
create function add_packed_account_usage(changes text) returns text language sql immutable as $$
  select format($statement$
    with changes as materialized (%s), known as materialized (
      select usage.* from (select distinct account_id, day from changes) days
        join packed_account_usage usage using (account_id, day)
    ), totals as (
      select account_id, day, sum(verified_count)::bigint as verified_count, sum(denied_count)::bigint as denied_count,
        sum(reported_count)::bigint as reported_count, sum(error_count)::bigint as error_count,
        sum(success_count)::bigint as success_count, sum(total_latency_ms) as total_latency_ms,
        sum(latency_count)::bigint as latency_count,
        pack_latency_buckets(sum_latency_buckets(buckets) filter (where buckets is not null)) as latency
      from (
        select account_id, day, sign * verified_count as verified_count, sign * denied_count as denied_count,
          sign * reported_count as reported_count, sign * error_count as error_count,
          sign * success_count as success_count, sign * total_latency_ms as total_latency_ms,
          sign * latency_count as latency_count, case sign
            when 1 then unpack_latency_buckets(latency)
            else array(select -count from unnest(unpack_latency_buckets(latency)) as count) end as buckets
        from changes
        union all
        select account_id, day, verified_count, denied_count, reported_count, error_count, success_count,
          total_latency_ms, latency_count, unpack_latency_buckets(latency)
        from known
      ) parts
      group by account_id, day
    ), counters as (
      select account_id, day, number, coalesce(sum(verified), 0)::bigint as verified,
        coalesce(sum(denied), 0)::bigint as denied, coalesce(sum(reported), 0)::bigint as reported,
        coalesce(sum(errors), 0)::bigint as errors, sum(successes)::bigint as successes,
        coalesce(sum(latency_sum), 0) as latency_sum, coalesce(sum(latency_count), 0)::bigint as latency_count
      from (
        select account_id, day, number, sign * verified as verified, sign * denied as denied,
          sign * reported as reported, sign * errors as errors,
          sign * (greatest(verified, reported, 0)::bigint - coalesce(errors, 0)) as successes,
          sign * latency_sum as latency_sum, sign * latency_count as latency_count
        from (
          select sign, account_id, day, unnest(endpoints) as number, unnest(verified) as verified,
            unnest(denied) as denied, unnest(reported) as reported, unnest(errors) as errors,
            unnest(latency_sums) as latency_sum, unnest(latency_counts) as latency_count
          from changes
        ) changed
        union all
        select account_id, day, unnest(endpoints), unnest(verified), unnest(denied), unnest(reported), unnest(errors),
          unnest(coalesce(successes, verified)), unnest(latency_sums), unnest(latency_counts)
        from known
      ) parts
      group by account_id, day, number
    ), arrays as (
      select account_id, day, array_agg(number order by number) as endpoints,
        case when bool_or(verified <> 0) then array_agg(verified order by number) end as verified,
        case when bool_or(denied <> 0) then array_agg(denied order by number) end as denied,
        case when bool_or(reported <> 0) then array_agg(reported order by number) end as reported,
        case when bool_or(errors <> 0) then array_agg(errors order by number) end as errors,
        case when bool_or(successes <> verified) then array_agg(successes order by number) end as successes,
        case when bool_or(latency_sum <> 0) then array_agg(latency_sum order by number) end as latency_sums,
        case when bool_or(latency_count <> 0) then array_agg(latency_count order by number) end as latency_counts
      from counters
      -- Nothing is left of what was deleted.
      where verified <> 0 or denied <> 0 or reported <> 0 or errors <> 0 or latency_count <> 0
      group by account_id, day
    )
    insert into packed_account_usage as usage (account_id, day, verified_count, denied_count, reported_count,
      error_count, success_count, total_latency_ms, latency_count, latency, endpoints, verified, denied, reported,
      errors, successes, latency_sums, latency_counts)
    select account_id, day, verified_count, denied_count, reported_count, error_count, success_count,
      total_latency_ms, totals.latency_count, latency, coalesce(endpoints, '{}'), verified, denied, reported, errors,
      successes, latency_sums, latency_counts
    from totals left join arrays using (account_id, day)
    order by account_id, day
    on conflict (account_id, day) do update set
      verified_count = excluded.verified_count, denied_count = excluded.denied_count,
      reported_count = excluded.reported_count, error_count = excluded.error_count,
      success_count = excluded.success_count, total_latency_ms = excluded.total_latency_ms,
      latency_count = excluded.latency_count, latency = excluded.latency, endpoints = excluded.endpoints,
      verified = excluded.verified, denied = excluded.denied, reported = excluded.reported, errors = excluded.errors,
      successes = excluded.successes, latency_sums = excluded.latency_sums, latency_counts = excluded.latency_counts
    $statement$, changes)
$$;

-- Whoever changes packed days changes the sums in the same statement, one after the other as pack_usage goes about it.
create function sum_packed_usage() returns trigger language plpgsql
  set enable_seqscan = off set enable_mergejoin = off set jit = off as $$
begin
  perform pg_advisory_xact_lock(hashtext('pack_usage'));
  execute add_packed_account_usage(case TG_OP
    when 'INSERT' then 'select 1 as sign, added.* from added'
    when 'DELETE' then 'select -1 as sign, removed.* from removed'
    else 'select 1 as sign, added.* from added union all select -1, removed.* from removed' end);
  return null;
end $$;

-- Nobody packs from here on, until this migration is over.
select pg_advisory_xact_lock(hashtext('pack_usage'));
create trigger packed_usage_sum_insert after insert on packed_usage
  referencing new table as added for each statement execute function sum_packed_usage();
create trigger packed_usage_sum_update after update on packed_usage
  referencing old table as removed new table as added for each statement execute function sum_packed_usage();
create trigger packed_usage_sum_delete after delete on packed_usage
  referencing old table as removed for each statement execute function sum_packed_usage();

-- As before, and for the sums: a month has a partition in each table, or in none.
create or replace function ensure_usage_partitions(first date, months integer) returns integer language plpgsql as $$
declare
  month date := date_trunc('month', first);
  made integer := 0;
  is_new boolean;
begin
  perform pg_advisory_xact_lock(hashtext('ensure_usage_partitions'));
  for step in 0..months loop
    is_new := make_month_partition('key_usage', month, key_usage_options());
    is_new := make_month_partition('packed_usage', month, 'fillfactor = 100') or is_new;
    if make_month_partition('packed_account_usage', month, 'fillfactor = 100') or is_new then made := made + 1; end if;
    month := month + interval '1 month';
  end loop;
  return made;
end $$;

create or replace function drop_usage_partition(before date) returns text language plpgsql set lock_timeout = '2s' as $$
declare
  partition name;
begin
  select child.relname into partition
  from pg_inherits join pg_class child on child.oid = inhrelid
  where inhparent in ('key_usage'::regclass, 'packed_usage'::regclass, 'packed_account_usage'::regclass)
    and child.relname ~ '_\d{4,}_\d\d$'
    and to_date(right(child.relname, -length(inhparent::regclass::text) - 1), 'YYYY_MM') + interval '1 month' <= before
  order by child.relname limit 1;
  if partition is not null then execute format('drop table %I', partition); end if;
  return partition;
end $$;

do $$
declare
  packed date;
begin
  for packed in
    select to_date(right(relname, 7), 'YYYY_MM') from pg_inherits join pg_class on oid = inhrelid
    where inhparent = 'packed_usage'::regclass and relname <> 'packed_usage_default'
  loop
    perform ensure_usage_partitions(packed, 0);
  end loop;
  -- A day at a time, so that it needs little memory.
  for packed in select distinct day from packed_usage loop
    execute add_packed_account_usage(format('select 1 as sign, packed.* from packed_usage packed where day = %L', packed));
  end loop;
end $$;

-- As usage_by_key, for whom the keys of an account do not matter. It reads a row for an account's packed day, and what is
-- not packed yet by key and endpoint: several rows may have the same day, and are to be summed.
create view usage_by_account as
select account_id, day, verified_count, denied_count, reported_count, success_count, error_count, total_latency_ms,
  latency_count, latency_buckets
from key_usage
union all
select account_id, day, verified_count, denied_count, reported_count, success_count, error_count, total_latency_ms,
  latency_count, unpack_latency_buckets(latency)
from packed_account_usage;

-- What usage_of_endpoints gives of all keys of an account, but for histograms, from the account's sums: so few rows that
-- starting other processes for them would take longer than all the rest.
create function usage_of_account_endpoints(account uuid, first date, last date) returns table (
  endpoint text, verified_count bigint, denied_count bigint, reported_count bigint, success_count bigint,
  error_count bigint, total_latency_ms double precision, latency_count bigint
) language sql stable parallel safe rows 50
  set max_parallel_workers_per_gather = 0 as $$
  select usage.endpoint, sum(usage.verified_count)::bigint, sum(usage.denied_count)::bigint,
    sum(usage.reported_count)::bigint, sum(usage.success_count)::bigint, sum(usage.error_count)::bigint,
    sum(usage.total_latency_ms), sum(usage.latency_count)::bigint
  from key_usage usage
  where usage.account_id = account and usage.day between first and last
  group by usage.endpoint
  union all
  select coalesce(known.endpoint, 'other'), coalesce(packed.verified, 0)::bigint, coalesce(packed.denied, 0)::bigint,
    coalesce(packed.reported, 0)::bigint, coalesce(packed.success, 0)::bigint, coalesce(packed.errors, 0)::bigint,
    coalesce(packed.latency_sum, 0), coalesce(packed.latency_count, 0)::bigint
  from (
      select number, sum(verified) as verified, sum(denied) as denied, sum(reported) as reported,
        sum(success) as success, sum(errors) as errors, sum(latency_sum) as latency_sum,
        sum(latency_count) as latency_count
      from (
        select unnest(endpoints) as number, unnest(verified) as verified, unnest(denied) as denied,
          unnest(reported) as reported, unnest(errors) as errors, unnest(coalesce(successes, verified)) as success,
          unnest(latency_sums) as latency_sum, unnest(latency_counts) as latency_count
        from packed_account_usage usage
        where usage.account_id = account and usage.day between first and last
      ) as counters
      group by number
    ) as packed
    left join account_endpoints known on known.account_id = account and known.number = packed.number
$$;

-- What is replaced is no longer what it was made: with its owner's rights, and for the jobs alone.
do $$
declare
  signature regprocedure;
begin
  foreach signature in array array['ensure_usage_partitions(date, integer)', 'drop_usage_partition(date)']::regprocedure[]
  loop
    execute format('alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
  end loop;
end $$;

select isolate_accounts('packed_account_usage'), open_to('packed_account_usage', 'latchkey_analyst');
alter view usage_by_account set (security_invoker = true);
grant select on packed_account_usage, usage_by_account to latchkey_portal, latchkey_analyst;
