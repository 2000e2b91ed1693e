-- How often somebody tried to prove who they are, for all instances together. A row counts the attempts of one bucket:
-- a user from a block of addresses, a block, or a user; its id is a digest, so that nothing of what was typed stands
-- here. Unlogged, so that nobody waits for the disk at a login: after a crash of PostgreSQL counting begins anew, and
-- nobody is known anywhere until the next login.

create unlogged table attempt_counts (
  id uuid constraint attempt_counts_pkey primary key,
  attempt_count integer not null default 0,
  -- Nothing is admitted before.
  blocked_until timestamptz not null default 'epoch',
  -- From then on the count is zero.
  forgotten_at timestamptz not null default 'epoch',
  -- Of a user from a block: until when it counts that they have logged in from there.
  known_until timestamptz not null default 'epoch'
) with (fillfactor = 50);

-- Locks buckets until the end of the transaction, in one order for all, whether they have rows or not.
create function lock_attempts(ids uuid[]) returns void language plpgsql as $$
declare
  key bigint;
begin
  for key in select distinct hashtextextended(id::text, 16) from unnest(ids) id order by 1 loop
    perform pg_advisory_xact_lock(key);
  end loop;
end $$;

-- Counts an attempt in all of its buckets, or says after how many seconds the next is admitted. `pair` is the bucket
-- that tells whether the user is known where the attempt comes from; then `waived` does not count. After `free_counts`
-- attempts each delays the next, by a second, two, four and so on up to `delay_maxima` seconds.
create function admit_attempt(
  pair uuid, waived uuid, ids uuid[], free_counts integer[], delay_maxima integer[], forget_seconds integer[],
  out wait_seconds integer, out is_known boolean
) language plpgsql as $$
declare
  moment timestamptz := clock_timestamp();
  counted uuid[];
  blocked timestamptz;
begin
  is_known := exists (select from attempt_counts where id = pair and known_until > moment);
  counted := case when is_known then array_remove(ids, waived) else ids end;
  -- Most that are refused are refused here, and nothing is locked or written for them.
  select max(blocked_until) into blocked from attempt_counts where id = any (counted);
  if blocked is null or blocked <= moment then
    perform lock_attempts(counted);
    moment := clock_timestamp();
    select max(blocked_until) into blocked from attempt_counts where id = any (counted);
  end if;
  wait_seconds := greatest(0, ceil(extract(epoch from blocked - moment)));
  if wait_seconds > 0 then return; end if;
  wait_seconds := 0;
  insert into attempt_counts as stored (id, attempt_count, blocked_until, forgotten_at)
  select bucket.id, made.count,
    case when made.count < bucket.free_count then 'epoch' else moment + make_interval(
      secs => least(bucket.delay_max, 2 ^ least(made.count - bucket.free_count, 30))) end,
    moment + make_interval(secs => bucket.forget_seconds)
  from unnest(ids, free_counts, delay_maxima, forget_seconds)
      bucket (id, free_count, delay_max, forget_seconds)
    left join attempt_counts old on old.id = bucket.id and old.forgotten_at > moment
    cross join lateral (select least(coalesce(old.attempt_count, 0), 1000000) + 1) made (count)
  where bucket.id = any (counted)
  on conflict (id) do update set
    attempt_count = excluded.attempt_count, blocked_until = excluded.blocked_until, forgotten_at = excluded.forgotten_at;
end $$;

-- Ends attempts that did not fail: `cleared` begin anew, `returned` have one less, and the user of `pair` is known
-- there from now on.
create function settle_attempts(cleared uuid[], returned uuid[], pair uuid, known_seconds integer) returns void
language plpgsql as $$
begin
  perform lock_attempts(cleared || returned || pair);
  update attempt_counts set
    attempt_count = case when id = any (cleared) then 0 else greatest(attempt_count - 1, 0) end,
    blocked_until = 'epoch'
  where id = any (cleared || returned);
  insert into attempt_counts as stored (id, known_until)
  select pair, clock_timestamp() + make_interval(secs => known_seconds) where pair is not null
  on conflict (id) do update set known_until = excluded.known_until;
end $$;
