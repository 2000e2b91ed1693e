-- Credits of keys and accounts. A bucket has the credits. An instance spends from a lease: a part of the bucket that is
-- set aside for it alone, until it gives the lease back, its files are adopted, or the job `credits` forgives it. So no
-- clock decides whether a credit is sold twice, except in forgiving. docs/CREDITS.md has the protocol.
--
-- A server that does not know credits verifies keys as if they were unlimited. Upgrade all servers before any key or
-- account gets credits.
-- compatible-from: 0019

create table credits (
  id uuid constraint credits_pkey primary key,
  account_id uuid not null constraint credits_account_fkey references accounts (id),
  -- Grows where what is set aside changes its meaning: with each `set`, and with a decrement or a refill that is more
  -- than what is available.
  generation integer not null default 0 constraint credits_generation_range check (generation >= 0),
  -- What is in no lease.
  available bigint not null constraint credits_available_range check (available between 0 and 1000000000000000),
  -- One place for each older generation that may still bring something back: what is withheld of it. NULL: everything.
  withheld bigint[] not null default '{}',
  -- The generation of the first place.
  carried_from integer not null default 0,
  -- What was spent beyond what there was: after a failover, or from a lease that was forgiven.
  oversold bigint not null default 0 constraint credits_oversold_range check (oversold >= 0),
  -- NULL: no refills.
  refill_interval text constraint credits_refill_interval_known check (refill_interval in ('daily', 'monthly')),
  refill_amount bigint constraint credits_refill_amount_range check (refill_amount between 1 and 1000000000000000),
  -- Of the month; in a shorter month, its last day.
  refill_day smallint constraint credits_refill_day_range check (refill_day between 1 and 31),
  -- The next refill. Until then, nothing has to be done.
  refill_at timestamptz constraint credits_refill_at_finite check (isfinite(refill_at)),
  -- Moves with each change by a person or a backend, but not with refills and leases.
  revision bigint not null default 1,
  created_at timestamptz not null default now() constraint credits_created_at_finite check (isfinite(created_at)),
  constraint credits_withheld_placed check (carried_from + cardinality(withheld) = generation),
  constraint credits_withheld_count check (cardinality(withheld) <= 1000),
  constraint credits_refill_whole check (
    (refill_interval is null) = (refill_amount is null)
    and (refill_interval is not distinct from 'monthly') = (refill_day is not null)
    and (refill_at is null or refill_interval is not null))
) with (fillfactor = 70);

create index credits_refill_at_idx on credits (refill_at) where refill_at is not null;

-- A process that spends, by the id that it took when it started. It is closed by whoever adopts its files: a statement
-- of it that is executed afterwards does nothing.
create table credit_holders (
  id uuid constraint credit_holders_pkey primary key,
  is_closed boolean not null default false,
  -- When it was last known to be alive. The rows of `instances` have that, too, but do not stay.
  heard_at timestamptz not null default now() constraint credit_holders_heard_at_finite check (isfinite(heard_at)),
  -- Consecutive runs of the job `credits` that did not hear of it. While nobody can reach the database, the job does
  -- not run either.
  silent_count integer not null default 0
) with (fillfactor = 50);

create table credit_leases (
  -- That of the bucket.
  account_id uuid not null,
  credits_id uuid not null constraint credit_leases_credits_fkey references credits (id) on delete cascade,
  holder_id uuid not null constraint credit_leases_holder_fkey references credit_holders (id),
  generation integer not null,
  granted bigint not null default 0,
  -- What of this is known to be spent.
  settled bigint not null default 0,
  -- Of the last statement that was executed. One with a number that is not above it does nothing.
  number bigint not null default 0,
  -- Whether somebody waits for what is not spent.
  is_recalled boolean not null default false,
  -- How often somebody asked what is spent, how many of these questions the holder was told of, and how many its
  -- settlements have answered. A settlement answers what the holder was told of before it.
  asked bigint not null default 0,
  heard bigint not null default 0,
  answered bigint not null default 0,
  updated_at timestamptz not null default now()
    constraint credit_leases_updated_at_finite check (isfinite(updated_at)),
  constraint credit_leases_pkey primary key (credits_id, holder_id),
  constraint credit_leases_settled_range check (settled between 0 and granted)
) with (fillfactor = 50);

create index credit_leases_holder_idx on credit_leases (holder_id);
create index credit_leases_account_idx on credit_leases (account_id) where granted > settled;

-- NULL: unlimited. A rolled key and its successor have one bucket.
alter table api_keys add column credits_id uuid
  constraint api_keys_credits_fkey references credits (id) on delete set null;
alter table accounts add column credits_id uuid
  constraint accounts_credits_fkey references credits (id) on delete set null;

create index api_keys_credits_idx on api_keys (credits_id) where credits_id is not null;
create index accounts_credits_idx on accounts (credits_id) where credits_id is not null;

-- MARK: Invalidation

alter table invalidation_log
  -- The bucket that a person or a backend has changed. A server that does not know this kind drops everything.
  add column credits_id uuid,
  drop constraint invalidation_log_kind_known,
  add constraint invalidation_log_kind_known
    check (kind in ('key', 'account', 'service_token', 'catalog', 'credits', 'everything'));

create function invalidate_credits() returns trigger language plpgsql as $$
begin
  insert into invalidation_log (kind, credits_id) values ('credits', old.id);
  return null;
end $$;

create trigger credits_invalidate_update after update on credits
  for each row when (old.revision is distinct from new.revision) execute function invalidate_credits();
create trigger credits_invalidate_delete after delete on credits
  for each row execute function invalidate_credits();
create trigger credits_invalidate_truncate after truncate on credits
  for each statement execute function invalidate_everything();

do $$
begin
  execute format(
    'alter function invalidate_credits() security definer set search_path = %I, pg_temp', current_schema());
  revoke execute on function invalidate_credits() from public;
end $$;

-- MARK: Values

-- The first refill after a time, at 00:00 UTC. NULL: none before the year 10000.
create function next_credit_refill(refill_interval text, refill_day integer, after timestamptz) returns timestamptz
  language plpgsql immutable parallel safe as $$
declare
  today constant date := greatest((after at time zone 'UTC')::date, '1969-12-31');
  month constant date := date_trunc('month', today::timestamp)::date;
  next date;
begin
  if today >= '9999-12-31' then return null; end if;
  if refill_interval = 'daily' then
    next := today + 1;
  else
    next := least(month + (refill_day - 1), (month + interval '1 month')::date - 1);
    if next <= today then
      next := least(
        (month + interval '1 month')::date + (refill_day - 1), (month + interval '2 months')::date - 1);
    end if;
  end if;
  return case when next <= '9999-12-31' then next::timestamp at time zone 'UTC' end;
end $$;

-- What of an amount that comes back unspent from one generation reaches a later one.
create function carried_credits(bucket credits, amount bigint, origin integer, target integer) returns bigint
  language plpgsql immutable as $$
declare
  place integer;
begin
  while origin < target and amount > 0 loop
    place := origin - bucket.carried_from + 1;
    if place < 1 or bucket.withheld[place] is null then return 0; end if;
    amount := amount - least(amount, bucket.withheld[place]);
    origin := origin + 1;
  end loop;
  return amount;
end $$;

-- Takes an amount back from an older generation, or from the present one. What was withheld on its way is not withheld
-- again. The bucket's row is locked, and the caller stores the result.
create function take_back_credits(bucket credits, amount bigint, origin integer) returns credits
  language plpgsql immutable as $$
declare
  place integer;
  part bigint;
begin
  while origin < bucket.generation and amount > 0 loop
    place := origin - bucket.carried_from + 1;
    if place < 1 or bucket.withheld[place] is null then return bucket; end if;
    part := least(amount, bucket.withheld[place]);
    bucket.withheld[place] := bucket.withheld[place] - part;
    amount := amount - part;
    origin := origin + 1;
  end loop;
  bucket.available := bucket.available + amount;
  return bucket;
end $$;

-- What would come back of a bucket's leases if nothing more were spent of them: of all, or of those of some holders.
-- They are added up generation by generation, because what is withheld is withheld once and not of each lease.
create function outstanding_credits(bucket credits, holders uuid[] default null) returns bigint
  language plpgsql stable as $$
declare
  total bigint := 0;
  reached integer := bucket.carried_from;
  held record;
begin
  for held in
    select lease.generation, sum(lease.granted - lease.settled)::bigint as unspent
    from credit_leases lease
    where lease.credits_id = bucket.id and lease.granted > lease.settled
      and lease.generation between bucket.carried_from and bucket.generation
      and (holders is null or lease.holder_id = any (holders))
    group by lease.generation order by lease.generation
  loop
    total := carried_credits(bucket, total, reached, held.generation) + held.unspent;
    reached := held.generation;
  end loop;
  return carried_credits(bucket, total, reached, bucket.generation);
end $$;

-- As far as it is settled, and after a refill that is due.
create function remaining_credits(bucket credits, out remaining bigint) language plpgsql stable as $$
begin
  if bucket.id is null then return; end if;
  remaining := bucket.available + outstanding_credits(bucket);
  if bucket.refill_at <= now() then remaining := greatest(remaining, bucket.refill_amount); end if;
end $$;

-- The holders that are not closed and were heard of lately, by PostgreSQL's clock. An instance's heartbeats count for
-- as long as its lease; a statement of a holder, for three seconds.
create function live_credit_holders() returns setof uuid language sql stable as $$
  select holder.id
  from credit_holders holder left join instances instance on instance.id = holder.id
  where not holder.is_closed and (
    holder.heard_at > now() - interval '3 seconds'
    or instance.heartbeat_at > now() - instance.lease_milliseconds * interval '1 millisecond')
$$;

-- What is acknowledged must not be lost by a crash, even where a session does not wait for the disk otherwise.
create function commit_durably() returns void language plpgsql as $$
begin
  if current_setting('synchronous_commit') = 'off' then perform set_config('synchronous_commit', 'on', true); end if;
end $$;

-- MARK: Changes

-- Begins a generation with so much available. Of what is set aside, so much is withheld when it comes back. NULL:
-- everything. The bucket's row is locked, and the caller stores the result.
create function begin_credit_generation(bucket credits, withhold bigint, available bigint) returns credits
  language plpgsql stable as $$
declare
  first integer;
begin
  bucket.withheld := array_append(bucket.withheld, withhold);
  bucket.available := available;
  bucket.generation := bucket.generation + 1;
  -- Places that nothing is out of any more go. So do the oldest if there are too many, as after a thousand changes
  -- while an instance is away: nothing comes back from it then.
  select coalesce(min(lease.generation), bucket.generation) into first
  from credit_leases lease where lease.credits_id = bucket.id and lease.granted > lease.settled;
  first := greatest(first, bucket.carried_from, bucket.generation - 1000);
  bucket.withheld := bucket.withheld[first - bucket.carried_from + 1:];
  bucket.carried_from := first;
  return bucket;
end $$;

-- Raises the balance to an amount that is above what is available, wherever the rest of the balance may be.
create function refilled_credits(bucket credits, amount bigint) returns credits language plpgsql stable as $$
begin
  if amount <= bucket.available then return bucket; end if;
  return begin_credit_generation(bucket, amount - bucket.available, amount);
end $$;

-- Refills a bucket whose refill is due, once, however long ago that was. Its row is locked, and the caller stores the
-- result.
create function refilled_if_due(bucket credits) returns credits language plpgsql stable as $$
begin
  if bucket.refill_at <= now() then
    bucket := refilled_credits(bucket, bucket.refill_amount);
    bucket.refill_at := next_credit_refill(bucket.refill_interval, bucket.refill_day, now());
  end if;
  return bucket;
end $$;

create function store_credits(bucket credits) returns void language sql as $$
  update credits set
    generation = bucket.generation, available = bucket.available, withheld = bucket.withheld,
    carried_from = bucket.carried_from, oversold = bucket.oversold, refill_interval = bucket.refill_interval,
    refill_amount = bucket.refill_amount, refill_day = bucket.refill_day, refill_at = bucket.refill_at,
    revision = bucket.revision
  where id = bucket.id
$$;

-- Sets, increments, decrements or refills a bucket, for a person or a backend. `remaining` is the balance as far as it
-- is settled; exact after `set`. NULL: there is no such bucket. `is_full`: it would be more than a bucket can have, and
-- nothing changes.
create function change_credits(
  bucket_id uuid, operation text, amount bigint, out remaining bigint, out is_full boolean
) language plpgsql as $$
declare
  bucket credits;
begin
  is_full := false;
  select * into bucket from credits where id = bucket_id for update;
  if not found then return; end if;
  bucket := refilled_if_due(bucket);
  case operation
    when 'set' then bucket := begin_credit_generation(bucket, null, amount);
    when 'increment' then
      is_full := amount > 1000000000000000 - bucket.available - outstanding_credits(bucket);
      if not is_full then bucket.available := bucket.available + amount; end if;
    when 'decrement' then
      if amount <= bucket.available then
        bucket.available := bucket.available - amount;
      else
        -- Of the older ones, so much comes back less: the balance becomes what it was less the amount, or 0.
        bucket := begin_credit_generation(bucket, amount - bucket.available, 0);
      end if;
    when 'refill' then bucket := refilled_credits(bucket, amount);
  end case;
  if not is_full then bucket.revision := bucket.revision + 1; end if;
  perform store_credits(bucket);
  remaining := bucket.available + outstanding_credits(bucket);
end $$;

-- NULL for the interval: no refills. The first refill is the next one after now. Whether there is such a bucket.
create function set_credit_refill(bucket_id uuid, new_interval text, new_amount bigint, new_day integer)
  returns boolean language plpgsql as $$
declare
  bucket credits;
begin
  select * into bucket from credits where id = bucket_id for update;
  if not found then return false; end if;
  bucket := refilled_if_due(bucket);
  bucket.refill_interval := new_interval;
  bucket.refill_amount := new_amount;
  bucket.refill_day := new_day;
  bucket.refill_at := case when new_interval is not null then next_credit_refill(new_interval, new_day, now()) end;
  bucket.revision := bucket.revision + 1;
  perform store_credits(bucket);
  return true;
end $$;

-- Refills at most so many buckets that have been due for a minute, so that what nobody uses is refilled as well. Waits
-- for nobody.
create function refill_overdue_credits(count integer) returns integer language plpgsql as $$
declare
  bucket credits;
  refilled integer := 0;
begin
  for bucket in
    select * from credits where refill_at <= now() - interval '1 minute' order by refill_at limit count
    for update skip locked
  loop
    perform store_credits(refilled_if_due(bucket));
    refilled := refilled + 1;
  end loop;
  return refilled;
end $$;

-- MARK: Leases. Locks are taken in the order holder, bucket (several by id), leases. Only who has the bucket's lock may
-- lock leases of several holders. A settlement locks those of its holder alone, by bucket.

-- Whether the holder may lease. False: it was closed.
create function open_credit_holder(holder uuid) returns boolean language plpgsql as $$
begin
  perform commit_durably();
  insert into credit_holders (id) values (holder)
  on conflict (id) do update set heard_at = now() where not credit_holders.is_closed;
  return found;
end $$;

-- Tells what was spent and up to where it may be (`keep`) when the answer arrives; asks for what a request needs, and
-- what the holder wants beyond it; gives back what is above `keep` if it is a return, or if the lease is recalled.
create function ask_credits(
  bucket_id uuid, holder uuid, ask_number bigint, known_generation bigint, spent bigint, keep bigint, need bigint,
  want bigint, is_return boolean,
  out verdict text, out lease_generation integer, out lease_granted bigint, out lease_settled bigint,
  out lease_is_recalled boolean, out remaining bigint, out refill_milliseconds bigint
) language plpgsql as $$
declare
  -- What a file or a request may say; sums of these do not overflow.
  amount_max constant bigint := 1000000000000000000;
  bucket credits;
  lease credit_leases;
  live uuid[];
  missing bigint;
  part bigint;
  outstanding bigint;
  recalled_count bigint;
begin
  perform commit_durably();
  remaining := 0;
  spent := least(greatest(spent, 0), amount_max);
  keep := least(greatest(keep, spent), amount_max);
  need := least(greatest(need, 0), amount_max);
  want := least(greatest(want, 0), amount_max);

  -- Waits for an adoption that is under way, and an adoption waits for this.
  perform from credit_holders where id = holder and not is_closed for key share;
  if not found then
    verdict := 'closed';
    return;
  end if;
  select * into bucket from credits where id = bucket_id for update;
  if not found then
    verdict := 'gone';
    return;
  end if;
  if bucket.refill_at <= now() then
    bucket := refilled_if_due(bucket);
    perform store_credits(bucket);
  end if;
  if bucket.refill_at is not null then
    refill_milliseconds := greatest(0, ceil(extract(epoch from bucket.refill_at - clock_timestamp()) * 1000));
  end if;

  select * into lease from credit_leases where credits_id = bucket_id and holder_id = holder for update;
  if not found then
    insert into credit_leases (account_id, credits_id, holder_id, generation)
    values (bucket.account_id, bucket_id, holder, bucket.generation)
    returning * into lease;
  end if;
  if ask_number <= lease.number then
    verdict := 'overtaken';
    return;
  end if;
  lease.number := ask_number;

  if lease.generation <> bucket.generation then
    if known_generation = lease.generation then
      if keep > spent then
        -- The holder may go on spending until it hears of this: what it has cannot come back yet.
        update credit_leases set number = ask_number, updated_at = now()
        where credits_id = bucket_id and holder_id = holder;
        verdict := 'changed';
        lease_generation := lease.generation;
        lease_granted := lease.granted;
        lease_settled := lease.settled;
        lease_is_recalled := lease.is_recalled;
        return;
      end if;
      lease.settled := greatest(lease.settled, least(spent, lease.granted));
    end if;
    bucket := take_back_credits(bucket, lease.granted - lease.settled, lease.generation);
    lease.generation := bucket.generation;
    lease.granted := 0;
    lease.settled := 0;
    lease.is_recalled := false;
  end if;
  if known_generation is distinct from bucket.generation then
    spent := 0;
    keep := 0;
  end if;
  if spent > lease.granted then
    -- Commits were lost, or the lease was forgiven.
    part := least(bucket.available, spent - lease.granted);
    bucket.available := bucket.available - part;
    bucket.oversold := least(bucket.oversold, amount_max) + spent - lease.granted - part;
    lease.granted := spent;
  end if;
  lease.settled := greatest(lease.settled, spent);
  keep := least(greatest(keep, lease.settled), lease.granted);
  if is_return or lease.is_recalled then
    bucket.available := bucket.available + lease.granted - keep;
    lease.granted := keep;
    if keep = lease.settled then lease.is_recalled := false; end if;
  end if;

  missing := case when need > 0 then lease.settled + need - lease.granted else 0 end;
  remaining := bucket.available + lease.granted - lease.settled;
  live := array(select live_credit_holders());
  if missing <= bucket.available then
    verdict := 'ok';
    part := greatest(missing, 0);
    if not lease.is_recalled then
      part := greatest(
        part,
        least(lease.settled + need + want - lease.granted, bucket.available / (2 * greatest(1, cardinality(live)))));
    end if;
    bucket.available := bucket.available - part;
    lease.granted := lease.granted + part;
  else
    outstanding := outstanding_credits(bucket, array_remove(live, holder));
    remaining := remaining + outstanding;
    if outstanding > 0 and bucket.available + outstanding >= missing then
      verdict := 'pending';
      update credit_leases set is_recalled = true
      where credits_id = bucket_id and holder_id <> holder and holder_id = any (live) and granted > settled
        and not is_recalled;
      get diagnostics recalled_count = row_count;
      if recalled_count > 0 then perform pg_notify('latchkey_credits', bucket_id::text); end if;
    else
      verdict := 'refused';
    end if;
  end if;

  update credit_leases set
    generation = lease.generation, granted = lease.granted, settled = lease.settled, number = lease.number,
    is_recalled = lease.is_recalled, updated_at = now()
  where credits_id = bucket_id and holder_id = holder;
  perform store_credits(bucket);
  lease_generation := lease.generation;
  lease_granted := lease.granted;
  lease_settled := lease.settled;
  lease_is_recalled := lease.is_recalled;
end $$;

-- Stores what was spent of a holder's leases: of those with these generations, and up to what was granted. One row for
-- each lease that has the generation. It is durable, because a holder forgets a lease that is spent and settled.
create function settle_credits(holder uuid, buckets uuid[], generations bigint[], spents bigint[])
  returns table (credits_id uuid, generation integer, settled bigint, is_recalled boolean, is_asked boolean)
  language plpgsql as $$
#variable_conflict use_column
declare
  locked uuid[];
begin
  perform commit_durably();
  -- Not with each: this row is the same for all of its statements.
  update credit_holders set heard_at = now()
  where id = holder and not is_closed and heard_at < now() - interval '500 milliseconds';
  -- Then the statement that follows sees what was changed by whom this waits for.
  locked := array(
    select lease.credits_id from credit_leases lease
    where lease.holder_id = holder and lease.credits_id = any (buckets)
    order by lease.credits_id for update);
  return query
    with told as materialized (
      select lease.credits_id, lease.generation, lease.settled, lease.is_recalled, lease.asked, lease.heard,
        lease.answered,
        case when slot.spent between lease.settled and lease.granted then slot.spent else lease.settled end as spent
      from unnest(buckets, generations, spents) slot (credits_id, generation, spent)
        join credit_leases lease on lease.credits_id = slot.credits_id and lease.holder_id = holder
          and lease.generation = slot.generation
      where lease.credits_id = any (locked)
    ), stored as (
      update credit_leases lease set
        settled = told.spent, answered = told.heard, heard = told.asked, updated_at = now()
      from told
      where lease.credits_id = told.credits_id and lease.holder_id = holder
        and (told.spent, told.heard, told.asked) is distinct from (told.settled, told.answered, told.heard)
    )
    select credits_id, generation, spent, is_recalled, asked > heard from told;
end $$;

-- Closes a holder and settles all its leases by what its files say; leases without a slot are as PostgreSQL knows them.
-- May be repeated. The number of leases that there were.
create function adopt_credits(holder uuid, buckets uuid[], generations bigint[], spents bigint[]) returns integer
  language plpgsql as $$
declare
  amount_max constant bigint := 1000000000000000000;
  bucket credits;
  lease credit_leases;
  bucket_id uuid;
  used bigint;
  part bigint;
  adopted integer := 0;
begin
  perform commit_durably();
  -- Waits for statements that are under way. Later ones find it closed, also if it had never been opened.
  insert into credit_holders (id, is_closed) values (holder, true) on conflict do nothing;
  perform from credit_holders where id = holder for update;
  update credit_holders set is_closed = true where id = holder and not is_closed;
  for bucket_id in select credits_id from credit_leases where holder_id = holder order by credits_id loop
    select * into bucket from credits where id = bucket_id for update;
    continue when not found;
    delete from credit_leases where credits_id = bucket_id and holder_id = holder returning * into lease;
    continue when not found;
    select greatest(lease.settled, max(least(slot.spent, amount_max))) into used
    from unnest(buckets, generations, spents) slot (credits_id, generation, spent)
    where slot.credits_id = bucket_id and slot.generation = lease.generation;
    if used > lease.granted and lease.generation = bucket.generation then
      -- Commits were lost, or the lease was forgiven.
      part := least(bucket.available, used - lease.granted);
      bucket.available := bucket.available - part;
      bucket.oversold := least(bucket.oversold, amount_max) + used - lease.granted - part;
    end if;
    perform store_credits(take_back_credits(bucket, greatest(0, lease.granted - used), lease.generation));
    adopted := adopted + 1;
  end loop;
  return adopted;
end $$;

-- Asks the live holders of a bucket what they have spent. One row for each: the settlements of the holder have answered
-- when `answered` has reached the number.
create function ask_credit_holders(account uuid, bucket_id uuid)
  returns table (holder_id uuid, number bigint) language plpgsql as $$
#variable_conflict use_column
begin
  -- So that nobody else locks several of its leases.
  perform from credits where account_id = account and id = bucket_id for no key update;
  return query
    update credit_leases set asked = asked + 1
    where account_id = account and credits_id = bucket_id and granted > settled
      and holder_id in (select live_credit_holders())
    returning holder_id, asked;
  if found then perform pg_notify('latchkey_credits', bucket_id::text); end if;
end $$;

-- MARK: Forgiving

-- Whether a holder was not heard of for so long, and by so many runs of the job.
create function is_credit_holder_silent(holder credit_holders, seconds double precision, runs integer) returns boolean
  language sql stable as $$
  select not holder.is_closed and holder.silent_count >= runs
    and holder.heard_at < now() - make_interval(secs => seconds)
    and not exists (
      select from instances instance
      where instance.id = holder.id and instance.heartbeat_at >= now() - make_interval(secs => seconds))
$$;

-- Takes back what silent holders have not spent, as far as it is known, of the leases of an account. Holder and lease
-- stay, with their numbers: who comes back after all goes on with what it finds. One row for each lease: what the
-- holder may have spent nevertheless.
create function forgive_credits(account uuid, seconds double precision, runs integer)
  returns table (credits_id uuid, holder_id uuid, amount bigint) language plpgsql as $$
#variable_conflict use_column
declare
  bucket credits;
  lease credit_leases;
begin
  for credits_id, holder_id in
    select lease.credits_id, lease.holder_id
    from credit_leases lease join credit_holders holder on holder.id = lease.holder_id
    where lease.account_id = account and lease.granted > lease.settled
      and is_credit_holder_silent(holder, seconds, runs)
    order by 1, 2 limit 500
  loop
    select * into bucket from credits where credits.account_id = account and credits.id = credits_id for update;
    continue when not found;
    select * into lease from credit_leases found_lease
    where found_lease.account_id = account and found_lease.credits_id = bucket.id
      and found_lease.holder_id = forgive_credits.holder_id for update;
    continue when not found or lease.granted = lease.settled;
    amount := lease.granted - lease.settled;
    update credit_leases changed set granted = lease.settled, is_recalled = false, updated_at = now()
    where changed.account_id = account and changed.credits_id = lease.credits_id
      and changed.holder_id = lease.holder_id;
    perform store_credits(take_back_credits(bucket, amount, lease.generation));
    return next;
  end loop;
end $$;

-- MARK: Privileges

select isolate_accounts('credits'), isolate_accounts('credit_leases'), open_to_staff('credits'),
  open_to_staff('credit_leases'), open_to('credits', 'latchkey_gateway', 'latchkey_jobs'),
  open_to('credit_leases', 'latchkey_gateway', 'latchkey_jobs');

grant select on credits, credit_leases, credit_holders to latchkey_portal, latchkey_gateway, latchkey_staff,
  latchkey_jobs;
grant select (credits_id) on api_keys to latchkey_portal, latchkey_gateway, latchkey_jobs;
grant select (credits_id) on accounts to latchkey_gateway;

-- Instances lease and settle.
grant update on credits to latchkey_gateway;
grant insert, update, delete on credit_leases to latchkey_gateway;
grant insert, update on credit_holders to latchkey_gateway;

-- A backend, or staff, changes credits in the account that it named. Members only read them, and ask what is spent: a
-- row that is locked for that has to be one that might be changed.
grant insert, update, delete on credits to latchkey_staff;
grant update on credit_leases to latchkey_staff;
grant update (credits_id) on api_keys, accounts to latchkey_staff;
grant update (created_at) on credits to latchkey_portal;
grant update (asked) on credit_leases to latchkey_portal;

-- Refilling what nobody uses, and forgetting holders.
grant update on credits to latchkey_jobs;
grant delete on credit_leases to latchkey_jobs;
grant update (heard_at, silent_count), delete on credit_holders to latchkey_jobs;
