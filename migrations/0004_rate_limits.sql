-- Limits beyond the one per minute that every key has: several named ones for a key, and one that the keys of an
-- account share. In the mode 'fast' an instance decides by itself and the instances tell each other what they admitted;
-- in the mode 'consistent' PostgreSQL decides, and nothing is ever admitted beyond the limit.

-- What each instance has admitted of a limit in a fixed window: a row of its own for each, which only grows. Unlogged,
-- because after a crash of PostgreSQL the windows of a minute are over before anybody could miss them. What is over is
-- truncated, a partition at a time: slot is the two hours in which a window stops to count, modulo 32.
create unlogged table rate_limit_counts (
  slot smallint not null,
  -- A key or an account.
  subject_id uuid not null,
  limit_digest bigint not null,
  -- Since 1970, in units of the window's length.
  window_index bigint not null,
  instance_id uuid not null,
  used bigint not null,
  constraint rate_limit_counts_pkey primary key (slot, subject_id, limit_digest, window_index, instance_id)
) partition by list (slot);

do $$ begin
  for slot in 0..31 loop
    execute format(
      'create unlogged table rate_limit_counts_%s partition of rate_limit_counts for values in (%s)
       with (fillfactor = 50)', slot, slot);
  end loop;
end $$;

-- Publishes what an instance admitted in windows, and answers what the others did, in the same order; one snapshot. The
-- tables are filled and truncated faster than they are analyzed: a plan made while they were empty would read all of
-- them for every window.
create function exchange_rate_limits(
  instance uuid, slots bigint[], subjects uuid[], digests bigint[], indexes bigint[], counts bigint[]
) returns bigint[] language sql set enable_seqscan = off as $$
  with asked as (
    select * from unnest(slots, subjects, digests, indexes, counts) with ordinality
      as asked (slot, subject_id, limit_digest, window_index, used, place)
  ), published as (
    insert into rate_limit_counts as mine (slot, subject_id, limit_digest, window_index, instance_id, used)
    select slot, subject_id, limit_digest, window_index, instance, used from asked where used > 0
    on conflict (slot, subject_id, limit_digest, window_index, instance_id)
    do update set used = excluded.used where mine.used < excluded.used
  )
  select array(
    select (
      select coalesce(sum(other.used), 0)::bigint from rate_limit_counts other
      where other.slot = asked.slot and other.subject_id = asked.subject_id
        and other.limit_digest = asked.limit_digest and other.window_index = asked.window_index
        and other.instance_id <> instance)
    from asked order by place)
$$;

-- Windows last a day at most, so nothing is written further ahead than 25 slots. The six beyond are over.
create function expire_rate_limit_counts() returns integer language plpgsql as $$
declare
  slot integer;
  has_rows boolean;
  truncated integer := 0;
begin
  for ahead in 26..31 loop
    slot := (floor(extract(epoch from now()) / 7200)::bigint + ahead) % 32;
    execute format('select exists (select from rate_limit_counts_%s)', slot) into has_rows;
    if has_rows then
      execute format('truncate rate_limit_counts_%s', slot);
      truncated := truncated + 1;
    end if;
  end loop;
  return truncated;
end $$;

-- The windows of the mode 'consistent'. Logged: what was answered must not be forgotten in a crash.
create table rate_limit_windows (
  subject_id uuid not null,
  limit_digest bigint not null,
  window_seconds integer not null,
  window_index bigint not null,
  used bigint not null,
  used_before bigint not null,
  constraint rate_limit_windows_pkey primary key (subject_id, limit_digest)
) with (fillfactor = 50);

-- Takes `cost` from all of the limits, or from none if one of them has not as much left. The sliding window is that of
-- SlidingWindow.swift: what was used in this fixed window, and the part of the one before that still counts, rounded
-- up. The clock is read behind the rows' locks, so that time goes forward from one decision to the next.
create function take_rate_limits(
  subjects uuid[], digests bigint[], seconds integer[], limits bigint[], cost bigint,
  out is_admitted boolean, out at_milliseconds bigint, out indexes bigint[], out used bigint[], out used_before bigint[]
) language plpgsql as $$
declare
  entry record;
  length bigint;
  index bigint;
begin
  insert into rate_limit_windows
  select subject, digest, window_seconds, 0, 0, 0 from unnest(subjects, digests, seconds)
    as wanted (subject, digest, window_seconds)
  order by subject, digest
  on conflict do nothing;
  perform from rate_limit_windows present
  where (present.subject_id, present.limit_digest) in (select * from unnest(subjects, digests))
  order by present.subject_id, present.limit_digest
  for update;

  at_milliseconds := floor(extract(epoch from clock_timestamp()) * 1000);
  is_admitted := true;
  for entry in
    select present.*, wanted.place, wanted.amount
    from unnest(subjects, digests, limits) with ordinality as wanted (subject, digest, amount, place)
    join rate_limit_windows present on present.subject_id = wanted.subject and present.limit_digest = wanted.digest
    order by wanted.place
  loop
    length := entry.window_seconds * 1000;
    index := greatest(entry.window_index, at_milliseconds / length);
    indexes[entry.place] := index;
    used[entry.place] := case when index = entry.window_index then entry.used else 0 end;
    used_before[entry.place] := case index - entry.window_index
      when 0 then entry.used_before when 1 then entry.used else 0 end;
    is_admitted := is_admitted and entry.amount >= cost + used[entry.place] + ceil(
      used_before[entry.place] * greatest(0, length - greatest(0, at_milliseconds - index * length))::numeric / length);
  end loop;
  if not is_admitted then
    return;
  end if;
  for place in 1..cardinality(subjects) loop
    used[place] := used[place] + cost;
    update rate_limit_windows present
    set window_index = indexes[place], used = take_rate_limits.used[place],
      used_before = take_rate_limits.used_before[place]
    where present.subject_id = subjects[place] and present.limit_digest = digests[place];
  end loop;
end $$;

create function expire_rate_limit_windows() returns bigint language sql as $$
  with over as (
    delete from rate_limit_windows
    where (window_index + 2) * window_seconds < extract(epoch from now())
    returning 1)
  select count(*) from over
$$;
