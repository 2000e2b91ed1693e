-- What the keys were used for, by day and endpoint. No foreign key to api_keys and no secondary index: an update of
-- counters stays within its page (HOT).

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

create table key_usage_default partition of key_usage default with (fillfactor = 80);

-- Makes the partitions of the month of `first` and of the `months` after it. Two callers at the same time take turns.
create function ensure_usage_partitions(first date, months integer) returns integer language plpgsql as $$
declare
  month date := date_trunc('month', first);
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('ensure_usage_partitions'));
  for step in 0..months loop
    if to_regclass(format('key_usage_%s', to_char(month, 'YYYY_MM'))) is null then
      execute format(
        'create table key_usage_%s partition of key_usage for values from (%L) to (%L) with (fillfactor = 80)',
        to_char(month, 'YYYY_MM'), month, month + interval '1 month');
      made := made + 1;
    end if;
    month := month + interval '1 month';
  end loop;
  return made;
end $$;

select ensure_usage_partitions((current_date - interval '1 month')::date, 4);

-- Adds histograms bucket by bucket; the shorter one counts as zero beyond its end.
create function add_latency_buckets(one bigint[], other bigint[]) returns bigint[]
  language sql immutable parallel safe as $$
  select case
    when one is null then other
    when other is null then one
    else (
      select array_agg(coalesce(a, 0) + coalesce(b, 0) order by position)
      from unnest(one, other) with ordinality as pairs (a, b, position)
    )
  end
$$;

create aggregate sum_latency_buckets(bigint[]) (
  sfunc = add_latency_buckets, stype = bigint[], parallel = safe, combinefunc = add_latency_buckets
);

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
) with (fillfactor = 80);

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
