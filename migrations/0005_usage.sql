-- What the keys were used for: by day and endpoint for each key, by the hour for each account. Closed days are packed
-- into one row per key and day. Endpoint names are bounded for all instances together, and a flush is one statement.

-- What this database is known by: servers keep their counters in a folder of this name, so that none writes them into
-- another database.
create table installation (
  is_only boolean constraint installation_pkey primary key default true
    constraint installation_is_only_one check (is_only),
  id uuid not null default gen_random_uuid()
);

insert into installation default values;

-- MARK: Histograms of latencies

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

-- Adds histograms bucket by bucket; the shorter one counts as zero beyond its end.
create function add_latency_buckets(one bigint[], other bigint[]) returns bigint[]
  language sql immutable parallel safe as $$
  select case
    when one is null then other
    when other is null then one
    else add_present_latency_buckets(one, other)
  end
$$;

create aggregate sum_latency_buckets(bigint[]) (
  sfunc = add_present_latency_buckets, stype = bigint[], parallel = safe, combinefunc = add_present_latency_buckets
);

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

-- MARK: Counters

-- No foreign key to api_keys and no secondary index: an update of counters stays within its page (HOT).
create table key_usage (
  account_id uuid not null,
  key_id uuid not null,
  day date not null,
  endpoint text not null constraint key_usage_endpoint_length check (length(endpoint) between 1 and 200),
  -- Verifications answered VALID.
  verified_count bigint not null default 0,
  -- Verifications answered otherwise.
  denied_count bigint not null default 0,
  -- Outcomes that a gateway reported, those that failed, and the sum, count and histogram of their latencies.
  reported_count bigint not null default 0,
  error_count bigint not null default 0,
  total_latency_ms double precision not null default 0,
  latency_count bigint not null default 0,
  latency_buckets bigint[],
  -- A request that was both verified and reported is one request.
  success_count bigint not null generated always as (greatest(verified_count, reported_count) - error_count) stored,
  constraint key_usage_pkey primary key (account_id, key_id, day, endpoint)
) partition by range (day);

-- A flush may change every counter of a page in one transaction: each needs room for a second version of itself.
create function key_usage_options() returns text language sql immutable as $$
  select 'fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05'
$$;

create table key_usage_default partition of key_usage default
  with (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05);

-- When each key was used last and how often in all: one narrow row a key, so that the list of keys needs no sum.
create table key_activity (
  account_id uuid not null,
  key_id uuid not null,
  last_used_at timestamptz not null,
  verified_count bigint not null default 0,
  denied_count bigint not null default 0,
  reported_count bigint not null default 0,
  total_requests bigint not null generated always as (greatest(verified_count, reported_count) + denied_count) stored,
  constraint key_activity_pkey primary key (account_id, key_id)
) with (fillfactor = 45);

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
) with (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05);

create index account_usage_hours_hour_idx on account_usage_hours (hour);

-- The names that an account's usage is counted under: at most 500. What comes beyond is counted under 'other'.
create table account_endpoints (
  account_id uuid not null,
  endpoint text not null constraint account_endpoints_endpoint_length check (length(endpoint) between 1 and 200),
  -- Names are stored once: a packed day names an endpoint by its account's number for it. 0 is 'other'.
  number smallint not null constraint account_endpoints_number_range check (number > 0),
  constraint account_endpoints_pkey primary key (account_id, endpoint),
  constraint account_endpoints_number_unique unique (account_id, number)
);

-- How far each writer of counters has come: a flush advances its row from n-1 to n in the transaction that adds the
-- counters, so that the repetition of a flush whose commit was in doubt adds nothing.
create table usage_sources (
  id uuid constraint usage_sources_pkey primary key,
  flushed_number bigint not null,
  updated_at timestamptz not null default now()
) with (fillfactor = 50);

-- Batches of reported outcomes that were counted already, by the name their sender gave them.
create table usage_batches (
  token_id uuid not null constraint usage_batches_token_fkey references service_tokens (id) on delete cascade,
  batch_id text not null constraint usage_batches_batch_id_length check (length(batch_id) between 1 and 255),
  received_at timestamptz not null default now(),
  constraint usage_batches_pkey primary key (token_id, batch_id)
);

create index usage_batches_received_at_idx on usage_batches (received_at);

-- Makes room for those names of a batch that are new, and numbers them. Whoever brings new ones waits for others who
-- do. `name_count_max` is more than 500 only for names that counters have already.
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

create function remember_endpoints(accounts uuid[], endpoints text[]) returns void language sql as $$
  select remember_endpoints(accounts, endpoints, 500)
$$;

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

-- Adds the verdicts that an instance has counted under a number. False, and nothing, if that number, or a later one,
-- has been added already.
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

-- An instance says so after each flush, also one that had nothing to write. Never backwards.
create function note_usage_progress(instance_id uuid, through timestamptz) returns void language sql as $$
  update instances set usage_complete_through = greatest(usage_complete_through, through)
  where id = instance_id and usage_complete_through is distinct from greatest(usage_complete_through, through)
$$;

-- MARK: Packed days

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

-- So that what is asked about an account does not add up all its keys.
--
-- One row for each account and day of packed_usage: always the sums of its rows there. The totals stand first, as
-- there.
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

-- The statement that adds changes of packed_usage to the sums. `changes` is a query of its columns and of `sign`: 1 for
-- a row that is there now, -1 for one that is there no longer.
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

create trigger packed_usage_sum_insert after insert on packed_usage
  referencing new table as added for each statement execute function sum_packed_usage();
create trigger packed_usage_sum_update after update on packed_usage
  referencing old table as removed new table as added for each statement execute function sum_packed_usage();
create trigger packed_usage_sum_delete after delete on packed_usage
  referencing old table as removed for each statement execute function sum_packed_usage();

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

-- MARK: Partitions

-- Makes one partition for a month of `parent`, and moves what stands in the default partition for want of it. Writers
-- wait meanwhile, for it would be too late for what is on its way into the default partition. So do readers where rows
-- are to be moved: one that has looked up the partitions before, and reads after, would see the rows in neither. Who
-- would keep it waiting for long keeps it from being made.
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

-- Makes the partitions of the month of `first` and of the `months` after it: a month has one in each table, or in none.
-- The answer is how many months lacked one. Two callers at the same time take turns.
create function ensure_usage_partitions(first date, months integer) returns integer language plpgsql as $$
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

select ensure_usage_partitions((current_date - interval '1 month')::date, 4);

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
  where inhparent in ('key_usage'::regclass, 'packed_usage'::regclass, 'packed_account_usage'::regclass)
    and child.relname ~ '_\d{4,}_\d\d$'
    and to_date(right(child.relname, -length(inhparent::regclass::text) - 1), 'YYYY_MM') + interval '1 month' <= before
  order by child.relname limit 1;
  if partition is not null then execute format('drop table %I', partition); end if;
  return partition;
end $$;

-- MARK: Questions

-- What questions are asked of, wherever the counters stand. Several rows may have the same key, day and endpoint: they
-- are to be summed.
--
-- These answer with their owner's rights, all rows: the views for other tools, usage_daily_v1 and the like, stand on
-- them.
create view all_usage_by_endpoint as
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

create view all_usage_by_key as
select account_id, key_id, day, verified_count, denied_count, reported_count, success_count, error_count,
  total_latency_ms, latency_count, latency_buckets
from key_usage
union all
select account_id, key_id, day, verified_count, denied_count, reported_count, success_count, error_count,
  total_latency_ms, latency_count, unpack_latency_buckets(latency)
from packed_usage;

-- The same, with the rights of whoever asks.
do $$
declare
  name text;
begin
  foreach name in array array['usage_by_key', 'usage_by_endpoint'] loop
    execute format(
      'create view %I with (security_invoker) as %s', name, pg_get_viewdef(('all_' || name)::regclass));
  end loop;
end $$;

-- As usage_by_key, for whom the keys of an account do not matter. It reads a row for an account's packed day, and what
-- is not packed yet by key and endpoint: several rows may have the same day, and are to be summed.
create view usage_by_account with (security_invoker) as
select account_id, day, verified_count, denied_count, reported_count, success_count, error_count, total_latency_ms,
  latency_count, latency_buckets
from key_usage
union all
select account_id, day, verified_count, denied_count, reported_count, success_count, error_count, total_latency_ms,
  latency_count, unpack_latency_buckets(latency)
from packed_account_usage;

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

-- What usage_of_endpoints gives of all keys of an account, but for histograms, from the account's sums: so few rows
-- that starting other processes for them would take longer than all the rest.
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
