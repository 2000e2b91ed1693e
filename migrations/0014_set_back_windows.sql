-- PostgreSQL's clock may be set back. A window of the mode 'consistent' then goes on in the fixed window that is the current
-- one again, and does not stand still until the clock has caught up.

-- As in 0004, but for the set-back.
create or replace function take_rate_limits(
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

comment on column instances.usage_complete_through is
  'By PostgreSQL''s clock as the instance knows it: everything that it counted before stands in the database.';
