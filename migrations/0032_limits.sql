-- Named limits of keys and accounts with windows from a second to ten years, in milliseconds, and limits that apply only
-- to requests that name them. Token buckets. Limits of apis for their endpoints, by the roles of a key.
--
-- A server without this file knows only limits with windows of whole seconds, up to a day, that always apply. A key that
-- has another one has no named limits for it, no account has any, and no api has limits for its endpoints.
-- compatible-from: 0019

-- MARK: Settings

-- Where the three columns for limits of keys are too narrow, all of a key's limits are here, and those columns are empty:
-- [{"name", "limit", "windowMilliseconds", "autoApply"}, …], or with "bucket": {"size", "refill", "intervalMilliseconds"}
-- in place of the two in the middle.
alter table api_keys
  add column named_limits jsonb
    constraint api_keys_named_limits_list check (jsonb_typeof(named_limits) = 'array')
    constraint api_keys_named_limits_size check (octet_length(named_limits::text) <= 16384);

alter table accounts
  -- As those of keys. NULL: none.
  add column named_limits jsonb
    constraint accounts_named_limits_list check (jsonb_typeof(named_limits) = 'array')
    constraint accounts_named_limits_size check (octet_length(named_limits::text) <= 16384);

grant select (named_limits) on api_keys to latchkey_portal, latchkey_gateway;
grant select (named_limits) on accounts to latchkey_gateway;
grant update (named_limits) on accounts to latchkey_staff;

alter table apis
  -- [{"endpoint", "limit", "windowMilliseconds", "roles": {name: {"limit", "windowMilliseconds"}, …}}, …]. NULL: none.
  add column endpoint_limits jsonb
    constraint apis_endpoint_limits_list check (jsonb_typeof(endpoint_limits) = 'array')
    constraint apis_endpoint_limits_size check (octet_length(endpoint_limits::text) <= 131072),
  -- Tells servers whether they have read these limits already. A backslash would escape what follows it.
  add column endpoint_limits_digest text
    generated always as (encode(sha256(replace(endpoint_limits::text, '\', '\\')::bytea), 'hex')) stored;

grant update (endpoint_limits) on apis to latchkey_staff;

-- MARK: Counts of the mode fast in windows of more than a day

-- As rate_limit_counts, for windows that last too long for its slots. Logged, because somebody would miss them after a
-- crash.
create table long_rate_limit_counts (
  -- A key or an account, or a key together with something that requests name.
  subject_id uuid not null,
  limit_digest bigint not null,
  -- Since 1970, in units of the window's length.
  window_index bigint not null,
  -- All zeros: the sum of what instances that are gone had published.
  instance_id uuid not null,
  used bigint not null,
  -- When the window stops counting.
  ended_at timestamptz not null constraint long_rate_limit_counts_ended_at_finite check (isfinite(ended_at)),
  published_at timestamptz not null default now()
    constraint long_rate_limit_counts_published_at_finite check (isfinite(published_at)),
  constraint long_rate_limit_counts_pkey primary key (subject_id, limit_digest, window_index, instance_id)
) with (fillfactor = 50);

create index long_rate_limit_counts_ended_at_idx on long_rate_limit_counts (ended_at);

-- As exchange_rate_limits. `ends` are in milliseconds since 1970.
create function exchange_long_rate_limits(
  instance uuid, ends bigint[], subjects uuid[], digests bigint[], indexes bigint[], counts bigint[]
) returns bigint[] language sql set enable_seqscan = off as $$
  with asked as (
    select * from unnest(ends, subjects, digests, indexes, counts) with ordinality
      as asked (ends_at, subject_id, limit_digest, window_index, used, place)
  ), published as (
    insert into long_rate_limit_counts as mine
      (subject_id, limit_digest, window_index, instance_id, used, ended_at, published_at)
    select subject_id, limit_digest, window_index, instance, used, to_timestamp(ends_at / 1000.0), now()
    from asked where used > 0
    on conflict (subject_id, limit_digest, window_index, instance_id)
    do update set used = excluded.used, published_at = excluded.published_at where mine.used < excluded.used
  )
  select array(
    select (
      select coalesce(sum(other.used), 0)::bigint from long_rate_limit_counts other
      where other.subject_id = asked.subject_id and other.limit_digest = asked.limit_digest
        and other.window_index = asked.window_index and other.instance_id <> instance)
    from asked order by place)
$$;

grant select, insert, update on long_rate_limit_counts to latchkey_gateway;
grant select, insert, update, delete on long_rate_limit_counts to latchkey_jobs;

-- MARK: Windows of the mode consistent

alter table rate_limit_windows
  -- NULL: a server without this file made the row, and window_seconds is exact.
  add column window_milliseconds bigint,
  -- NULL: a window. Otherwise it is a token bucket, and this many tokens come back in each window_milliseconds;
  -- window_index is the time in milliseconds since 1970, and used is what was missing then, in tokens times
  -- window_milliseconds.
  add column refill bigint;

-- As take_rate_limits, for windows in milliseconds and token buckets, with a cost for each limit. `refills` are 0 for
-- windows. The buckets are those of TokenBucket.swift.
create function take_limits(
  subjects uuid[], digests bigint[], milliseconds bigint[], limits bigint[], refills bigint[], costs bigint[],
  out is_admitted boolean, out at_milliseconds bigint, out indexes bigint[], out used bigint[], out used_before bigint[]
) language plpgsql as $$
declare
  entry record;
  length bigint;
  index bigint;
begin
  insert into rate_limit_windows
    (subject_id, limit_digest, window_seconds, window_milliseconds, refill, window_index, used, used_before)
  select subject, digest, ceil(length_milliseconds / 1000.0), length_milliseconds, nullif(new_refill, 0), 0, 0, 0
  from unnest(subjects, digests, milliseconds, refills) as wanted (subject, digest, length_milliseconds, new_refill)
  order by subject, digest
  on conflict do nothing;
  perform from rate_limit_windows present
  where (present.subject_id, present.limit_digest) in (select * from unnest(subjects, digests))
  order by present.subject_id, present.limit_digest
  for update;

  at_milliseconds := floor(extract(epoch from clock_timestamp()) * 1000);
  is_admitted := true;
  for entry in
    select present.*, wanted.place, wanted.amount, wanted.cost
    from unnest(subjects, digests, limits, costs) with ordinality as wanted (subject, digest, amount, cost, place)
    join rate_limit_windows present on present.subject_id = wanted.subject and present.limit_digest = wanted.digest
    order by wanted.place
  loop
    length := coalesce(entry.window_milliseconds, entry.window_seconds * 1000::bigint);
    if entry.refill is not null then
      -- If the clock was set back, nothing comes back for the time that it repeats.
      indexes[entry.place] := at_milliseconds;
      used[entry.place] := case
        when at_milliseconds < entry.window_index then entry.used
        when at_milliseconds - entry.window_index >= ceil(entry.used::numeric / entry.refill) then 0
        else entry.used - (at_milliseconds - entry.window_index) * entry.refill
      end;
      used_before[entry.place] := 0;
      is_admitted := is_admitted and entry.cost <= entry.amount
        and used[entry.place] <= (entry.amount - entry.cost) * length;
      if at_milliseconds < entry.window_index then
        update rate_limit_windows present set window_index = at_milliseconds
        where present.subject_id = entry.subject_id and present.limit_digest = entry.limit_digest;
      end if;
      continue;
    end if;
    index := at_milliseconds / length;
    if entry.window_index > index then
      -- Set back. All that was used counts as used now: no less than before, and forgotten when two windows have passed.
      -- Written also where the request is refused, so that it is forgotten.
      entry.window_index := index;
      entry.used := entry.used + entry.used_before;
      entry.used_before := 0;
      update rate_limit_windows present
      set window_index = index, used = entry.used, used_before = 0
      where present.subject_id = entry.subject_id and present.limit_digest = entry.limit_digest;
    end if;
    indexes[entry.place] := index;
    used[entry.place] := case when index = entry.window_index then entry.used else 0 end;
    used_before[entry.place] := case index - entry.window_index
      when 0 then entry.used_before when 1 then entry.used else 0 end;
    is_admitted := is_admitted and entry.amount >= entry.cost + used[entry.place] + ceil(
      used_before[entry.place]::numeric * greatest(0, length - greatest(0, at_milliseconds - index * length)) / length);
  end loop;
  if not is_admitted then
    return;
  end if;
  for place in 1..cardinality(subjects) loop
    used[place] := used[place] + costs[place] * case when refills[place] = 0 then 1 else milliseconds[place] end;
    update rate_limit_windows present
    set window_index = indexes[place], used = take_limits.used[place], used_before = take_limits.used_before[place]
    where present.subject_id = subjects[place] and present.limit_digest = digests[place];
  end loop;
end $$;

create or replace function expire_rate_limit_windows() returns bigint language sql as $$
  with over as (
    delete from rate_limit_windows
    where extract(epoch from now()) * 1000 > case
      when refill is null then (window_index + 2) * coalesce(window_milliseconds, window_seconds * 1000::bigint)
      else window_index + used::numeric / refill
    end
    returning 1)
  select count(*) from over
$$;

do $$ begin
  execute format(
    'alter function expire_rate_limit_windows() security definer set search_path = %I, pg_temp', current_schema());
end $$;
