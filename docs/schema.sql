-- The schema as the migrations make it. Written by scripts/schema; not to be edited.

CREATE FUNCTION public.add_latency_buckets(one bigint[], other bigint[]) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  select case
    when one is null then other
    when other is null then one
    else add_present_latency_buckets(one, other)
  end
$$;

CREATE FUNCTION public.add_packed_account_usage(changes text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $_$
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
$_$;

CREATE FUNCTION public.add_present_latency_buckets(one bigint[], other bigint[]) RETURNS bigint[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
begin
  if cardinality(other) > cardinality(one) then
    one := one || array_fill(0::bigint, array[cardinality(other) - cardinality(one)]);
  end if;
  for place in 1..cardinality(other) loop
    if other[place] <> 0 then one[place] := one[place] + other[place]; end if;
  end loop;
  return one;
end $$;

CREATE FUNCTION public.address_pattern(addresses text[]) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
  select '(?<![[:alnum:]._%+-])(?:' || string_agg(
      regexp_replace(address, '([^[:alnum:]])', '\\\1', 'g'), '|' order by length(address) desc, address)
    || ')(?![[:alnum:]_-]|\.[[:alnum:]])'
  from unnest(addresses) address
$$;

CREATE FUNCTION public.admit_attempt(pair uuid, waived uuid, ids uuid[], free_counts integer[], delay_maxima integer[], forget_seconds integer[], OUT wait_seconds integer, OUT is_known boolean) RETURNS record
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.adopt_credits(holder uuid, buckets uuid[], generations bigint[], spents bigint[]) RETURNS integer
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.advance_audit_heads() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  broken uuid;
  erased uuid;
begin
  perform set_config('latchkey.audit_chain', '', true);
  with events as (
    select coalesce(account_id, '00000000-0000-0000-0000-000000000000') as account_id, seq, prev_hash, hash,
      lag(hash) over chain as hash_before, lead(hash) over chain as hash_after
    from chained_events window chain as (partition by account_id order by seq)
  ), chains as materialized (
    select account_id, count(*) as count, min(seq) as first_seq, max(seq) as last_seq,
      (array_agg(prev_hash) filter (where hash_before is null))[1] as first_prev_hash,
      (array_agg(hash) filter (where hash_after is null))[1] as last_hash,
      bool_and(hash_before is null or prev_hash = hash_before) as is_linked
    from events group by account_id
  ), advanced as (
    update audit_heads head set seq = last_seq, hash = last_hash from chains
    where head.account_id = chains.account_id and first_seq = head.seq + 1 and first_prev_hash = head.hash
      and last_seq = head.seq + count and is_linked
    returning head.account_id
  )
  select account_id into broken from chains where account_id not in (select account_id from advanced) limit 1;
  if found then
    raise exception 'the events of % do not continue its audit trail', broken
      using errcode = 'integrity_constraint_violation';
  end if;
  -- After the heads are locked, which the erasure locks as well.
  select actor_id into erased from (
    select distinct actor_id from chained_events where actor_kind = 'user' and actor_name <> 'erased person') actors
  where exists (select from erasures where user_id = actor_id) limit 1;
  if found then
    raise exception '% is erased', erased
      using errcode = 'check_violation', constraint = 'audit_events_actor_present';
  end if;
  return null;
end $$;

CREATE FUNCTION public.announce_import_form() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  update invalidation_head set import_forms = array_append(import_forms, new.form)
  where new.form <> all (import_forms);
  return null;
end $$;

CREATE FUNCTION public.ask_credit_holders(account uuid, bucket_id uuid) RETURNS TABLE(holder_id uuid, number bigint)
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.ask_credits(bucket_id uuid, holder uuid, ask_number bigint, known_generation bigint, spent bigint, keep bigint, need bigint, want bigint, is_return boolean, OUT verdict text, OUT lease_generation integer, OUT lease_granted bigint, OUT lease_settled bigint, OUT lease_is_recalled boolean, OUT remaining bigint, OUT refill_milliseconds bigint) RETURNS record
    LANGUAGE plpgsql
    AS $$
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
  live := array(select live_credit_holders());
  outstanding := outstanding_credits(bucket, array_remove(live, holder));
  -- What others have set aside comes back when it is needed.
  remaining := bucket.available + lease.granted - lease.settled + outstanding;
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

CREATE TABLE public.audit_events (
    id uuid NOT NULL,
    account_id uuid,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor_kind text NOT NULL,
    actor_id uuid,
    actor_name text NOT NULL,
    action text NOT NULL,
    target_kind text NOT NULL,
    target_id uuid,
    reason text,
    ticket text,
    ip inet,
    seq bigint NOT NULL,
    prev_hash bytea NOT NULL,
    hash bytea NOT NULL,
    redacted_by bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    redacted_hashes bytea[] DEFAULT '{}'::bytea[] NOT NULL,
    detail text,
    CONSTRAINT audit_events_actor_kind_known CHECK ((actor_kind = ANY (ARRAY['user'::text, 'staff'::text, 'command'::text, 'job'::text, 'token'::text, 'key'::text]))),
    CONSTRAINT audit_events_at_range CHECK (((at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (at <= '9999-12-31 23:59:59.999999+00'::timestamp with time zone))),
    CONSTRAINT audit_events_hash_length CHECK ((length(hash) = 32)),
    CONSTRAINT audit_events_prev_hash_length CHECK ((length(prev_hash) = 32))
);

CREATE FUNCTION public.audit_event_hash(event public.audit_events) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
  select sha256(
    case
      when event.detail is null then '\x6c617463686b65792d61756469742d31'::bytea  -- latchkey-audit-1
      else '\x6c617463686b65792d61756469742d32'::bytea  -- latchkey-audit-2
    end
    || coalesce('\x00000024'::bytea || decode(event.account_id::text, 'escape'), '\xffffffff')
    || coalesce(int4send(length(event.seq::text)) || decode(event.seq::text, 'escape'), '\xffffffff')
    || coalesce('\x00000024'::bytea || decode(event.id::text, 'escape'), '\xffffffff')
    || coalesce('\x0000001b'::bytea
      || decode(to_char(event.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'escape'), '\xffffffff')
    || audit_field(event.actor_kind)
    || coalesce('\x00000024'::bytea || decode(event.actor_id::text, 'escape'), '\xffffffff')
    || audit_field(event.actor_name) || audit_field(event.action) || audit_field(event.target_kind)
    || coalesce('\x00000024'::bytea || decode(event.target_id::text, 'escape'), '\xffffffff')
    || audit_field(event.reason) || audit_field(event.ticket)
    || case when event.detail is null then ''::bytea else audit_field(event.detail) end
    || coalesce(int4send(length(abbrev(event.ip))) || decode(abbrev(event.ip), 'escape'), '\xffffffff')
    || coalesce('\x00000040'::bytea || decode(encode(event.prev_hash, 'hex'), 'escape'), '\xffffffff'))
$$;

CREATE FUNCTION public.audit_field(value text) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
  select case
    when value is null then '\xffffffff'::bytea
    else int4send(octet_length(convert_to(value, 'UTF8'))) || convert_to(value, 'UTF8')
  end
$$;

CREATE TABLE public.credits (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    generation integer DEFAULT 0 NOT NULL,
    available bigint NOT NULL,
    withheld bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    carried_from integer DEFAULT 0 NOT NULL,
    oversold bigint DEFAULT 0 NOT NULL,
    refill_interval text,
    refill_amount bigint,
    refill_day smallint,
    refill_at timestamp with time zone,
    revision bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT credits_available_range CHECK (((available >= 0) AND (available <= '1000000000000000'::bigint))),
    CONSTRAINT credits_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT credits_generation_range CHECK ((generation >= 0)),
    CONSTRAINT credits_oversold_range CHECK ((oversold >= 0)),
    CONSTRAINT credits_refill_amount_range CHECK (((refill_amount >= 1) AND (refill_amount <= '1000000000000000'::bigint))),
    CONSTRAINT credits_refill_at_finite CHECK (isfinite(refill_at)),
    CONSTRAINT credits_refill_day_range CHECK (((refill_day >= 1) AND (refill_day <= 31))),
    CONSTRAINT credits_refill_interval_known CHECK ((refill_interval = ANY (ARRAY['daily'::text, 'monthly'::text]))),
    CONSTRAINT credits_refill_whole CHECK ((((refill_interval IS NULL) = (refill_amount IS NULL)) AND ((NOT (refill_interval IS DISTINCT FROM 'monthly'::text)) = (refill_day IS NOT NULL)) AND ((refill_at IS NULL) OR (refill_interval IS NOT NULL)))),
    CONSTRAINT credits_withheld_count CHECK ((cardinality(withheld) <= 1000)),
    CONSTRAINT credits_withheld_placed CHECK (((carried_from + cardinality(withheld)) = generation))
)
WITH (fillfactor='70');

CREATE FUNCTION public.begin_credit_generation(bucket public.credits, withhold bigint, available bigint) RETURNS public.credits
    LANGUAGE plpgsql STABLE
    AS $$
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

CREATE FUNCTION public.begin_erasure(person uuid) RETURNS TABLE(account_id uuid, action text, target_kind text, target_id uuid, reason text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
  address text;
  accounts_of uuid[];
  ended uuid[];
begin
  select users.email into address from users where users.id = person for update;
  if not found then return; end if;
  -- Before the accounts: whoever ends a session has its row, and then waits for the account to tell of it.
  delete from sessions where user_id = person;
  perform from accounts where id in (select memberships.account_id from memberships where user_id = person)
  order by id for update;
  select coalesce(array_agg(membership.account_id), '{}'),
    coalesce(array_agg(membership.account_id) filter (where not held.by_others and not held.by_keys), '{}')
  into accounts_of, ended
  from memberships membership join accounts account on account.id = membership.account_id, lateral (
    select
      exists (
        select from memberships other where other.account_id = account.id and other.user_id <> person) as by_others,
      exists (
        select from api_keys key where key.account_id = account.id and key.revoked_at is null
          and (key.expires_at is null or key.expires_at > now())) as by_keys) held
  where membership.user_id = person and account.deleted_at is null;
  if exists (
    select from memberships membership
    where membership.user_id = person and membership.role = 'owner'
      and membership.account_id = any (accounts_of) and membership.account_id <> all (ended)
      and not exists (
        select from memberships other where other.account_id = membership.account_id and other.user_id <> person
          and other.role = 'owner'))
  then
    raise exception 'an account would be left without an owner'
      using errcode = 'check_violation', constraint = 'memberships_last_owner';
  end if;

  -- By the time that it is now: what others did until the locks were there is before it.
  insert into erasures (user_id, addresses, created_at) values (person, array[address], clock_timestamp());
  return query
    with taken_back as (
      update invitations set revoked_at = now()
      where (inviter_id = person or account_id = any (ended)) and accepted_at is null and revoked_at is null
      returning id, account_id, email
    ), voided as (
      update one_time_tokens set used_at = now() from taken_back
      where one_time_tokens.subject_id = taken_back.id and one_time_tokens.used_at is null
    ), unsent as (
      delete from mails using taken_back
      where mails.subject_id = taken_back.id and mails.kind = 'invitation' and mails.state = 'waiting'
    )
    select account_id, 'invitation.revoked', 'invitation', id, email from taken_back;
  return query select id, 'user.erased', 'user', person, null::text from unnest(accounts_of) id;
  return query select id, 'account.deleted', 'account', id, null::text from unnest(ended) id;
  return query select null::uuid, 'user.erased', 'user', person, null::text;

  update accounts set deleted_at = now(), suspended_at = coalesce(suspended_at, now()), metadata = null
  where id = any (ended);
  delete from account_requests where account_id = any (ended);
  -- What somebody alone had may be called by them.
  update accounts set name = 'erased account', external_id = null, metadata = null
  where deleted_at is not null and id in (select memberships.account_id from memberships where user_id = person)
    and not exists (
      select from memberships other where other.account_id = accounts.id and other.user_id <> person);
  delete from one_time_tokens where email = address or account_id = any (ended);
  delete from mails where recipient = address or user_id = person;
  delete from signups where email = address;
  delete from memberships where user_id = person;
  -- With the second factor, by a foreign key.
  delete from users where id = person;
end $$;

CREATE FUNCTION public.begin_invalidation_epoch() RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  begun uuid;
begin
  update invalidation_head
  set epoch = gen_random_uuid(), seq = greatest(seq, (select coalesce(max(log.seq), 0) from invalidation_log log))
  returning epoch into begun;
  insert into invalidation_log (kind) values ('everything');
  return begun;
end $$;

CREATE FUNCTION public.carried_credits(bucket public.credits, amount bigint, origin integer, target integer) RETURNS bigint
    LANGUAGE plpgsql IMMUTABLE
    AS $$
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

CREATE FUNCTION public.chain_audit_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  chain constant text := coalesce(new.account_id, '00000000-0000-0000-0000-000000000000');
  inserted constant bigint := pg_stat_get_xact_tuples_inserted(tg_relid) - pg_stat_get_xact_tuples_deleted(tg_relid);
  last text[] := string_to_array(current_setting('latchkey.audit_chain', true), ' ');
begin
  if last[1] = chain and last[2]::bigint = inserted then
    new.seq := last[3]::bigint + 1;
    new.prev_hash := decode(last[4], 'hex');
  else
    select head.seq + 1, head.hash into strict new.seq, new.prev_hash from lock_audit_head(new) head;
  end if;
  new.redacted_by := '{}'::bigint[];
  new.redacted_hashes := '{}'::bytea[];
  new.hash := audit_event_hash(new);
  last[1] := set_config(
    'latchkey.audit_chain', chain || ' ' || inserted + 1 || ' ' || new.seq || ' ' || encode(new.hash, 'hex'), true);
  return new;
end $$;

CREATE FUNCTION public.change_credits(bucket_id uuid, operation text, amount bigint, OUT remaining bigint, OUT is_full boolean) RETURNS record
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.check_audit_redaction() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  teller constant bigint := new.redacted_by[cardinality(new.redacted_by)];
  is_told boolean;
begin
  if new.account_id is null then
    select exists (
      select from audit_events where account_id is null and seq = teller and action = 'audit.redacted') into is_told;
  else
    select exists (
      select from audit_events where account_id = new.account_id and seq = teller and action = 'audit.redacted')
    into is_told;
  end if;
  if not is_told then
    raise exception 'audit_events is append-only: no event tells that % was redacted', new.id
      using errcode = 'insufficient_privilege';
  end if;
  return null;
end $$;

CREATE FUNCTION public.commit_durably() RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  if current_setting('synchronous_commit') = 'off' then perform set_config('synchronous_commit', 'on', true); end if;
end $$;

CREATE FUNCTION public.count_key_revision() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  new.revision := old.revision + 1;
  return new;
end $$;

CREATE FUNCTION public.count_staff_revision() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  new.revision := old.revision + 1;
  return new;
end $$;

CREATE FUNCTION public.count_usage(accounts uuid[], keys uuid[], hours timestamp with time zone[], endpoints text[], verified bigint[], denied bigint[], used_at timestamp with time zone[], reported bigint[], errors bigint[], latency_sums double precision[], latency_counts bigint[], buckets text[]) RETURNS void
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION public.current_account() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
  select nullif(current_setting('latchkey.account_id', true), '')::uuid
$$;

CREATE FUNCTION public.delete_current_account() RETURNS timestamp with time zone
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  ended constant uuid := current_account();
begin
  delete from sessions where account_id = ended;
  delete from one_time_tokens where account_id = ended;
  delete from account_requests where account_id = ended;
  update invitations set revoked_at = now() where account_id = ended and accepted_at is null and revoked_at is null;
  update accounts set deleted_at = now(), suspended_at = coalesce(suspended_at, now()), metadata = null
  where id = ended;
  perform forget_people(array(select user_id from memberships where account_id = ended));
  return now();
end $$;

CREATE FUNCTION public.drop_usage_partition(before date) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET lock_timeout TO '2s'
    SET search_path TO 'public', 'pg_temp'
    AS $_$
declare
  partition name;
  month date;
begin
  select child.relname, to_date(right(child.relname, -length(inhparent::regclass::text) - 1), 'YYYY_MM')
  into partition, month
  from pg_inherits join pg_class child on child.oid = inhrelid
  where inhparent in ('key_usage'::regclass, 'packed_usage'::regclass, 'packed_account_usage'::regclass)
    and child.relname ~ '_\d{4,}_\d\d$'
    and to_date(right(child.relname, -length(inhparent::regclass::text) - 1), 'YYYY_MM') + interval '1 month' <= before
  order by child.relname limit 1;
  if partition is not null then execute format('drop table %I', partition); end if;
  if partition ~ '^packed_usage_' then
    delete from packed_usage_totals where day >= month and day < month + interval '1 month';
  end if;
  return partition;
end $_$;

CREATE FUNCTION public.ensure_usage_partitions(first date, months integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

CREATE FUNCTION public.erase_key_maker(person uuid, account uuid, key_count bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  touched bigint;
begin
  perform from accounts where id = account for update;
  with named as (
    select id from api_keys
    where account_id = account and created_by_kind = 'user' and created_by_id = person
      and created_by_name <> 'erased person'
    order by id limit key_count for update
  )
  update api_keys set created_by_name = 'erased person' from named where api_keys.id = named.id;
  get diagnostics touched = row_count;
  return touched;
end $$;

CREATE FUNCTION public.exchange_long_rate_limits(instance uuid, ends bigint[], subjects uuid[], digests bigint[], indexes bigint[], counts bigint[]) RETURNS bigint[]
    LANGUAGE sql
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION public.exchange_rate_limits(instance uuid, slots bigint[], subjects uuid[], digests bigint[], indexes bigint[], counts bigint[]) RETURNS bigint[]
    LANGUAGE sql
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION public.expire_rate_limit_counts() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

CREATE FUNCTION public.expire_rate_limit_windows() RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
  with over as (
    delete from rate_limit_windows
    where extract(epoch from now()) * 1000 > case
      when refill is null then (window_index + 2) * coalesce(window_milliseconds, window_seconds * 1000::bigint)
      else window_index + used::numeric / refill
    end
    returning 1)
  select count(*) from over
$$;

CREATE FUNCTION public.finish_erasure(person uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
  update erasures set addresses = '{}', finished_at = now() where user_id = person and finished_at is null
$$;

CREATE FUNCTION public.flush_verdicts(source_id uuid, previous bigint, number bigint, accounts uuid[], keys uuid[], hours timestamp with time zone[], endpoints text[], verified bigint[], denied bigint[], used_at timestamp with time zone[]) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
begin
  if previous = 0 then
    insert into usage_sources as source (id, flushed_number) values (source_id, number)
    on conflict (id) do update set flushed_number = excluded.flushed_number, updated_at = now()
      where source.flushed_number < excluded.flushed_number;
  else
    update usage_sources set flushed_number = number, updated_at = now()
    where id = source_id and flushed_number >= previous and flushed_number < number;
  end if;
  if not found then
    return coalesce((select flushed_number from usage_sources where id = source_id), 0);
  end if;
  perform count_usage(accounts, keys, hours, endpoints, verified, denied, used_at, '{}', '{}', '{}', '{}', '{}');
  return null;
end $$;

CREATE FUNCTION public.forget_people(people uuid[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
  with forgotten as (
    update users person set
      email = 'deleted+' || person.id || '@deleted.invalid', password_hash = '', email_verified_at = null
    where person.id = any (people) and not exists (
      select from memberships membership join accounts account on account.id = membership.account_id
      where membership.user_id = person.id and account.deleted_at is null)
    returning person.id
  ), factors as (
    delete from second_factors using forgotten where second_factors.user_id = forgotten.id
  )
  delete from one_time_tokens using forgotten where one_time_tokens.user_id = forgotten.id
$$;

CREATE FUNCTION public.forgive_credits(account uuid, seconds double precision, runs integer) RETURNS TABLE(credits_id uuid, holder_id uuid, amount bigint)
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.go_on_erasing(person uuid) RETURNS SETOF uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  trails uuid[];
  since timestamptz;
  known text[];
begin
  select addresses, created_at into known, since from erasures
  where user_id = person and finished_at is null for update;
  if not found then return; end if;
  select coalesce(array_agg(head.account_id), '{}') into trails from audit_heads head
  where case
    when head.account_id = '00000000-0000-0000-0000-000000000000' then
      exists (select from audit_events where account_id is null and (actor_id = person or target_id = person))
    else
      exists (select from audit_events where account_id = head.account_id and actor_id = person)
      or exists (select from audit_events where account_id = head.account_id and target_id = person)
  end;
  select array_agg(address) into known from (
    select unnest(known) as address
    union
    select lower(actor_name) from audit_events
    where (account_id = any (trails)
        or account_id is null and '00000000-0000-0000-0000-000000000000' = any (trails))
      and actor_id = person and actor_kind = 'user' and actor_name like '%@%'
      and not exists (select from users where email = lower(actor_name))
  ) found;
  update erasures set addresses = known where user_id = person;
  select array(
    select unnest(trails)
    union
    select account_id from invitations where email = any (known) and created_at <= since
  ) into trails;
  delete from one_time_tokens where email = any (known) and created_at <= since;
  delete from invitations where email = any (known) and created_at <= since;
  update invitations set inviter_name = 'erased person' where inviter_id = person and inviter_name <> 'erased person';
  delete from mails where recipient = any (known) and created_at <= since;
  -- What others are told of them, sent or not.
  update mails set parameters = jsonb_set(parameters, '{actorName}', '"erased person"')
  where parameters ->> 'actorName' = any (known) and created_at <= since;
  delete from signups where email = any (known) and created_at <= since;
  return query select trail from unnest(trails) trail order by trail;
end $$;

CREATE FUNCTION public.grant_analytics(role_name name) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  if not exists (select from pg_roles where rolname = role_name) then
    execute format('create role %I nologin', role_name);
  end if;
  execute format('grant usage on schema %I to %I', current_schema(), role_name);
  execute format(
    'grant select on usage_daily_v1, usage_endpoints_daily_v1, usage_hourly_v1, usage_complete_v1, accounts_v1, keys_v1
     to %I', role_name);
end $$;

CREATE FUNCTION public.grant_portal(role_name name) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  execute format(
    'grant latchkey_portal, latchkey_identity, latchkey_gateway, latchkey_staff, latchkey_analyst, latchkey_jobs to %I',
    role_name);
end $$;

CREATE FUNCTION public.guard_audit_heads() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if pg_trigger_depth() < 2 then
    raise exception 'audit_heads is written by audit_events alone' using errcode = 'insufficient_privilege';
  end if;
  return null;
end $$;

CREATE FUNCTION public.import_keys(imported json) RETURNS SETOF uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
  insert into api_keys (
    id, account_id, name, key_start, key_hash, import_form, import_hash, environment, scopes, rate_limit_per_minute,
    limit_names, limit_values, limit_window_seconds, named_limits, rate_limit_mode, allowed_ips, expires_at,
    disabled_at, description, tags, metadata, created_by_kind, created_by_id, created_by_name, api_id, key_prefix, key_bytes)
  select id, account_id, name, key_start, case when form = 'sha256' then decode(hash, 'hex') end, form,
    decode(hash, 'hex'), environment, scopes, rate_limit_per_minute, limit_names, limit_values, limit_window_seconds,
    named_limits, rate_limit_mode, allowed_ips::cidr[], expires_at, case when not enabled then now() end, description, tags,
    metadata, by_kind, by_id, by_name, api_id, key_prefix, key_bytes
  from json_to_recordset(imported) new (
    id uuid, account_id uuid, name text, key_start text, form text, hash text, environment text, scopes text[],
    rate_limit_per_minute integer, limit_names text[], limit_values integer[], limit_window_seconds integer[],
    named_limits jsonb, rate_limit_mode text, allowed_ips text[], expires_at timestamptz, enabled boolean, description text, tags text[],
    metadata text, by_kind text, by_id uuid, by_name text, api_id uuid, key_prefix text, key_bytes integer)
  where form is not null and hash is not null
  order by hash
  on conflict do nothing
  returning id
$$;

CREATE FUNCTION public.invalidate_accounts() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  insert into invalidation_log (kind, account_id) select 'account', id from old_accounts;
  return null;
end $$;

CREATE FUNCTION public.invalidate_catalog() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  insert into invalidation_log (kind)
  select 'catalog' where not exists (select from invalidation_log where seq is null and kind = 'catalog');
  return null;
end $$;

CREATE FUNCTION public.invalidate_credits() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  insert into invalidation_log (kind, credits_id) values ('credits', old.id);
  return null;
end $$;

CREATE FUNCTION public.invalidate_everything() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  insert into invalidation_log (kind) values ('everything');
  return null;
end $$;

CREATE FUNCTION public.invalidate_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  insert into invalidation_log (kind, account_id, key_id)
  select case when count(*) = 1 then 'key' else 'account' end, account_id,
    case when count(*) = 1 then min(id::text)::uuid end
  from old_keys group by account_id;
  return null;
end $$;

CREATE FUNCTION public.invalidate_limit_namespaces() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    insert into invalidation_log (kind, namespace_id) select 'limit_namespace', id from new_namespaces limit 1;
  else
    insert into invalidation_log (kind, namespace_id) select 'limit_namespace', id from old_namespaces;
  end if;
  return null;
end $$;

CREATE FUNCTION public.invalidate_overridden_namespaces() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    insert into invalidation_log (kind, namespace_id)
    select distinct 'limit_namespace', namespace_id from new_overrides;
  elsif tg_op = 'DELETE' then
    insert into invalidation_log (kind, namespace_id)
    select distinct 'limit_namespace', namespace_id from old_overrides;
  else
    insert into invalidation_log (kind, namespace_id)
    select 'limit_namespace', namespace_id from (
      select namespace_id from old_overrides union select namespace_id from new_overrides
    ) changed;
  end if;
  return null;
end $$;

CREATE FUNCTION public.invalidate_service_tokens() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  insert into invalidation_log (kind, token_id) select 'service_token', id from old_tokens;
  return null;
end $$;

CREATE TABLE public.credit_holders (
    id uuid NOT NULL,
    is_closed boolean DEFAULT false NOT NULL,
    heard_at timestamp with time zone DEFAULT now() NOT NULL,
    silent_count integer DEFAULT 0 NOT NULL,
    CONSTRAINT credit_holders_heard_at_finite CHECK (isfinite(heard_at))
)
WITH (fillfactor='50');

CREATE FUNCTION public.is_credit_holder_silent(holder public.credit_holders, seconds double precision, runs integer) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
  select not holder.is_closed and holder.silent_count >= runs
    and holder.heard_at < now() - make_interval(secs => seconds)
    and not exists (
      select from instances instance
      where instance.id = holder.id and instance.heartbeat_at >= now() - make_interval(secs => seconds))
$$;

CREATE FUNCTION public.is_in_invalidation_history(seq bigint, mark uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
  select exists (select from invalidation_head head where head.seq = $1 and head.mark = $2)
    or exists (select from invalidation_log log where log.seq = $1 + 1 and log.follows = $2)
$_$;

CREATE FUNCTION public.isolate_accounts(tenant_table regclass, account_column name DEFAULT 'account_id'::name) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  execute format('alter table %s enable row level security', tenant_table);
  execute format(
    'create policy current_account on %s to latchkey_portal using (%I = (select current_account()))',
    tenant_table, account_column);
end $$;

CREATE TABLE public.accounts (
    id uuid NOT NULL,
    name text NOT NULL,
    plan text DEFAULT 'default'::text NOT NULL,
    suspended_at timestamp with time zone,
    suspension_reason text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    shared_limit_per_minute integer,
    rate_limit_mode text DEFAULT 'fast'::text NOT NULL,
    deleted_at timestamp with time zone,
    kind text DEFAULT 'customer'::text NOT NULL,
    external_id text COLLATE pg_catalog."C",
    metadata text,
    credits_id uuid,
    named_limits jsonb,
    house_api_id uuid,
    CONSTRAINT accounts_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT accounts_deleted_at_finite CHECK (isfinite(deleted_at)),
    CONSTRAINT accounts_deleted_suspended CHECK (((deleted_at IS NULL) OR (suspended_at IS NOT NULL))),
    CONSTRAINT accounts_external_id_length CHECK (((length(external_id) >= 1) AND (length(external_id) <= 200))),
    CONSTRAINT accounts_house_kind CHECK (((house_api_id IS NULL) OR (kind = 'house'::text))),
    CONSTRAINT accounts_kind_known CHECK ((kind = ANY (ARRAY['customer'::text, 'external'::text, 'house'::text]))),
    CONSTRAINT accounts_metadata_object CHECK ((json_typeof((metadata)::json) = 'object'::text)),
    CONSTRAINT accounts_metadata_size CHECK ((octet_length(metadata) <= 16384)),
    CONSTRAINT accounts_name_length CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT accounts_named_limits_list CHECK ((jsonb_typeof(named_limits) = 'array'::text)),
    CONSTRAINT accounts_named_limits_size CHECK ((octet_length((named_limits)::text) <= 16384)),
    CONSTRAINT accounts_rate_limit_mode_known CHECK ((rate_limit_mode = ANY (ARRAY['fast'::text, 'consistent'::text]))),
    CONSTRAINT accounts_shared_limit_range CHECK (((shared_limit_per_minute >= 1) AND (shared_limit_per_minute <= 1000000))),
    CONSTRAINT accounts_suspended_at_finite CHECK (isfinite(suspended_at))
);

CREATE FUNCTION public.judged_account(account public.accounts) RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
  select jsonb_build_object(
    'id', account.id, 'plan', account.plan, 'suspended_at', account.suspended_at,
    'shared_limit_per_minute', account.shared_limit_per_minute, 'named_limits', account.named_limits,
    'rate_limit_mode', account.rate_limit_mode)
$$;

CREATE TABLE public.apis (
    id uuid NOT NULL,
    slug text NOT NULL,
    name text NOT NULL,
    key_prefix text,
    key_bytes integer DEFAULT 32 NOT NULL,
    is_protected boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    endpoint_limits jsonb,
    endpoint_limits_digest text GENERATED ALWAYS AS (encode(sha256((replace((endpoint_limits)::text, '\'::text, '\\'::text))::bytea), 'hex'::text)) STORED,
    CONSTRAINT apis_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT apis_endpoint_limits_list CHECK ((jsonb_typeof(endpoint_limits) = 'array'::text)),
    CONSTRAINT apis_endpoint_limits_size CHECK ((octet_length((endpoint_limits)::text) <= 131072)),
    CONSTRAINT apis_key_bytes_range CHECK (((key_bytes >= 16) AND (key_bytes <= 255))),
    CONSTRAINT apis_key_prefix_form CHECK ((key_prefix ~ '^[a-z][a-z0-9]{1,15}$'::text)),
    CONSTRAINT apis_name_length CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT apis_slug_form CHECK ((slug ~ '^[A-Za-z0-9_:.*-]{1,128}$'::text))
);

CREATE FUNCTION public.judged_api(api public.apis) RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
  select jsonb_build_object('id', api.id, 'slug', api.slug, 'endpoint_limits', api.endpoint_limits)
$$;

CREATE TABLE public.api_keys (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    name text NOT NULL,
    key_start text,
    key_hash bytea,
    environment text NOT NULL,
    scopes text[] NOT NULL,
    rate_limit_per_minute integer DEFAULT 60,
    allowed_ips cidr[],
    expires_at timestamp with time zone,
    disabled_at timestamp with time zone,
    revoked_at timestamp with time zone,
    rolled_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    rate_limit_mode text DEFAULT 'fast'::text NOT NULL,
    limit_names text[] DEFAULT '{}'::text[] NOT NULL,
    limit_values integer[] DEFAULT '{}'::integer[] NOT NULL,
    limit_window_seconds integer[] DEFAULT '{}'::integer[] NOT NULL,
    revision bigint DEFAULT 1 NOT NULL,
    description text,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    metadata text,
    created_by_kind text,
    created_by_id uuid,
    created_by_name text,
    enabled_at timestamp with time zone,
    lineage_id uuid,
    api_id uuid,
    has_grants boolean DEFAULT false NOT NULL,
    credits_id uuid,
    named_limits jsonb,
    key_prefix text,
    key_bytes integer,
    import_form text,
    import_hash bytea,
    resources text,
    CONSTRAINT api_keys_allowed_ips_count CHECK (((cardinality(allowed_ips) >= 1) AND (cardinality(allowed_ips) <= 64))),
    CONSTRAINT api_keys_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT api_keys_created_by_kind_known CHECK ((created_by_kind = ANY (ARRAY['user'::text, 'staff'::text, 'command'::text, 'token'::text]))),
    CONSTRAINT api_keys_created_by_whole CHECK (((created_by_kind IS NULL) = (created_by_name IS NULL))),
    CONSTRAINT api_keys_description_length CHECK ((length(description) <= 500)),
    CONSTRAINT api_keys_disabled_at_finite CHECK (isfinite(disabled_at)),
    CONSTRAINT api_keys_enabled_at_finite CHECK (isfinite(enabled_at)),
    CONSTRAINT api_keys_environment_known CHECK ((environment = ANY (ARRAY['live'::text, 'test'::text]))),
    CONSTRAINT api_keys_expires_at_finite CHECK (isfinite(expires_at)),
    CONSTRAINT api_keys_hash_present CHECK (((key_hash IS NOT NULL) OR (import_hash IS NOT NULL))),
    CONSTRAINT api_keys_import_form_known CHECK ((import_form = ANY (ARRAY['sha256'::text, 'sha512'::text, 'sha256-long'::text, 'sha512-long'::text, 'sha256-salted'::text, 'sha512-salted'::text, 'sha256-long-salted'::text, 'sha512-long-salted'::text]))),
    CONSTRAINT api_keys_import_hash_length CHECK ((length(import_hash) =
CASE
    WHEN (import_form ~~ 'sha512%'::text) THEN 64
    ELSE 32
END)),
    CONSTRAINT api_keys_import_whole CHECK (((import_form IS NULL) = (import_hash IS NULL))),
    CONSTRAINT api_keys_key_bytes_range CHECK (((key_bytes >= 16) AND (key_bytes <= 255))),
    CONSTRAINT api_keys_key_hash_length CHECK ((length(key_hash) = 32)),
    CONSTRAINT api_keys_key_prefix_form CHECK ((key_prefix ~ '^[a-z][a-z0-9]{1,15}$'::text)),
    CONSTRAINT api_keys_key_start_length CHECK (((length(key_start) >= 1) AND (length(key_start) <= 32))),
    CONSTRAINT api_keys_limit_names_count CHECK ((cardinality(limit_names) <= 8)),
    CONSTRAINT api_keys_limit_values_range CHECK ((0 < ALL (limit_values))),
    CONSTRAINT api_keys_limit_windows_range CHECK (((0 < ALL (limit_window_seconds)) AND (86400 >= ALL (limit_window_seconds)))),
    CONSTRAINT api_keys_limits_paired CHECK (((cardinality(limit_names) = cardinality(limit_values)) AND (cardinality(limit_names) = cardinality(limit_window_seconds)))),
    CONSTRAINT api_keys_metadata_object CHECK ((json_typeof((metadata)::json) = 'object'::text)),
    CONSTRAINT api_keys_metadata_size CHECK ((octet_length(metadata) <= 4096)),
    CONSTRAINT api_keys_name_length CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT api_keys_named_limits_list CHECK ((jsonb_typeof(named_limits) = 'array'::text)),
    CONSTRAINT api_keys_named_limits_size CHECK ((octet_length((named_limits)::text) <= 16384)),
    CONSTRAINT api_keys_rate_limit_mode_known CHECK ((rate_limit_mode = ANY (ARRAY['fast'::text, 'consistent'::text]))),
    CONSTRAINT api_keys_rate_limit_range CHECK (((rate_limit_per_minute >= 1) AND (rate_limit_per_minute <= 10000))),
    CONSTRAINT api_keys_resources_object CHECK ((json_typeof((resources)::json) = 'object'::text)),
    CONSTRAINT api_keys_resources_size CHECK ((octet_length(resources) <= 8192)),
    CONSTRAINT api_keys_revoked_at_finite CHECK (isfinite(revoked_at)),
    CONSTRAINT api_keys_rolled_at_finite CHECK (isfinite(rolled_at)),
    CONSTRAINT api_keys_scopes_count CHECK ((cardinality(scopes) <= 64)),
    CONSTRAINT api_keys_tags_count CHECK ((cardinality(tags) <= 16))
);

CREATE FUNCTION public.judged_key(key public.api_keys) RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
  select jsonb_build_object(
    'id', key.id, 'lineage_id', key.lineage_id, 'account_id', key.account_id, 'environment', key.environment,
    'scopes', key.scopes, 'rate_limit_per_minute', key.rate_limit_per_minute, 'limit_names', key.limit_names,
    'limit_values', key.limit_values, 'limit_window_seconds', key.limit_window_seconds,
    'rate_limit_mode', key.rate_limit_mode, 'allowed_ips', key.allowed_ips, 'expires_at', key.expires_at,
    'named_limits', key.named_limits, 'disabled_at', key.disabled_at, 'revoked_at', key.revoked_at,
    'created_at', key.created_at, 'api_id', key.api_id,
    'resources', key.resources)
$$;

CREATE TABLE public.permissions (
    id uuid NOT NULL,
    slug text NOT NULL,
    description text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT permissions_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT permissions_description_length CHECK ((length(description) <= 500)),
    CONSTRAINT permissions_slug_form CHECK ((slug ~ '^[A-Za-z0-9_:.*-]{1,128}$'::text))
);

CREATE FUNCTION public.judged_permission(permission public.permissions) RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
  select jsonb_build_object('id', permission.id, 'slug', permission.slug)
$$;

CREATE TABLE public.plans (
    name text NOT NULL,
    key_cap integer,
    scopes text[] NOT NULL,
    rate_limit_per_minute_max integer,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    max_key_lifetime_days integer,
    api_ids uuid[],
    role_ids uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    CONSTRAINT plans_api_ids_count CHECK (((cardinality(api_ids) >= 1) AND (cardinality(api_ids) <= 64))),
    CONSTRAINT plans_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT plans_key_cap_range CHECK (((key_cap >= 1) AND (key_cap <= 10000))),
    CONSTRAINT plans_max_key_lifetime_range CHECK (((max_key_lifetime_days >= 1) AND (max_key_lifetime_days <= 36500))),
    CONSTRAINT plans_rate_limit_range CHECK (((rate_limit_per_minute_max >= 1) AND (rate_limit_per_minute_max <= 10000))),
    CONSTRAINT plans_role_ids_count CHECK ((cardinality(role_ids) <= 64)),
    CONSTRAINT plans_scopes_present CHECK ((cardinality(scopes) > 0))
);

CREATE FUNCTION public.judged_plan(plan public.plans) RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
  select jsonb_build_object(
    'name', plan.name, 'scopes', plan.scopes, 'rate_limit_per_minute_max', plan.rate_limit_per_minute_max,
    'max_key_lifetime_days', plan.max_key_lifetime_days,
    'api_ids', plan.api_ids, 'role_ids', plan.role_ids)
$$;

CREATE TABLE public.roles (
    id uuid NOT NULL,
    name text NOT NULL,
    description text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT roles_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT roles_description_length CHECK ((length(description) <= 500)),
    CONSTRAINT roles_name_form CHECK ((name ~ '^[A-Za-z0-9_:.*-]{1,128}$'::text))
);

CREATE FUNCTION public.judged_role(role public.roles) RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
  select jsonb_build_object('id', role.id, 'name', role.name)
$$;

CREATE FUNCTION public.keep_accounts() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' then
    insert into settings_history (kind, subject, account_id, settings)
    select 'account', before.id::text, before.id, judged_account(before)
    from old_rows before left join new_rows after on after.id = before.id
    where judged_account(before) is distinct from judged_account(after);
  else
    insert into settings_history (kind, subject, account_id, settings)
    select 'account', before.id::text, before.id, judged_account(before) from old_rows before;
  end if;
  return null;
end $$;

CREATE FUNCTION public.keep_api_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' then
    insert into settings_history (kind, subject, account_id, settings)
    select 'key', before.id::text, before.account_id, judged_key(before)
    from old_rows before left join new_rows after on after.id = before.id
    where judged_key(before) is distinct from judged_key(after);
  else
    insert into settings_history (kind, subject, account_id, settings)
    select 'key', before.id::text, before.account_id, judged_key(before) from old_rows before;
  end if;
  return null;
end $$;

CREATE FUNCTION public.keep_apis() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' then
    insert into settings_history (kind, subject, account_id, settings)
    select 'api', before.id::text, null, judged_api(before)
    from old_rows before left join new_rows after on after.id = before.id
    where judged_api(before) is distinct from judged_api(after);
  else
    insert into settings_history (kind, subject, account_id, settings)
    select 'api', before.id::text, null, judged_api(before) from old_rows before;
  end if;
  return null;
end $$;

CREATE FUNCTION public.keep_key_permissions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    insert into settings_history (kind, subject, settings)
    select 'key_permissions', changed.subject::text, (
      select coalesce(jsonb_agg(before.member), '[]') from (
        select permission_id from key_permissions present where present.key_id = changed.subject
        except select permission_id from changed_rows other where other.key_id = changed.subject) before (member))
    from (select distinct key_id from changed_rows) changed (subject);
  else
    insert into settings_history (kind, subject, settings)
    select 'key_permissions', changed.subject::text, (
      select jsonb_agg(before.member) from (
        select permission_id from key_permissions present where present.key_id = changed.subject
        union select permission_id from changed_rows other where other.key_id = changed.subject) before (member))
    from (select distinct key_id from changed_rows) changed (subject);
  end if;
  return null;
end $$;

CREATE FUNCTION public.keep_key_roles() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    insert into settings_history (kind, subject, settings)
    select 'key_roles', changed.subject::text, (
      select coalesce(jsonb_agg(before.member), '[]') from (
        select role_id from key_roles present where present.key_id = changed.subject
        except select role_id from changed_rows other where other.key_id = changed.subject) before (member))
    from (select distinct key_id from changed_rows) changed (subject);
  else
    insert into settings_history (kind, subject, settings)
    select 'key_roles', changed.subject::text, (
      select jsonb_agg(before.member) from (
        select role_id from key_roles present where present.key_id = changed.subject
        union select role_id from changed_rows other where other.key_id = changed.subject) before (member))
    from (select distinct key_id from changed_rows) changed (subject);
  end if;
  return null;
end $$;

CREATE FUNCTION public.keep_permissions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' then
    insert into settings_history (kind, subject, account_id, settings)
    select 'permission', before.id::text, null, judged_permission(before)
    from old_rows before left join new_rows after on after.id = before.id
    where judged_permission(before) is distinct from judged_permission(after);
  else
    insert into settings_history (kind, subject, account_id, settings)
    select 'permission', before.id::text, null, judged_permission(before) from old_rows before;
  end if;
  return null;
end $$;

CREATE FUNCTION public.keep_plans() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' then
    insert into settings_history (kind, subject, account_id, settings)
    select 'plan', before.name::text, null, judged_plan(before)
    from old_rows before left join new_rows after on after.name = before.name
    where judged_plan(before) is distinct from judged_plan(after);
  else
    insert into settings_history (kind, subject, account_id, settings)
    select 'plan', before.name::text, null, judged_plan(before) from old_rows before;
  end if;
  return null;
end $$;

CREATE FUNCTION public.keep_role_permissions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    insert into settings_history (kind, subject, settings)
    select 'role_permissions', changed.subject::text, (
      select coalesce(jsonb_agg(before.member), '[]') from (
        select permission_id from role_permissions present where present.role_id = changed.subject
        except select permission_id from changed_rows other where other.role_id = changed.subject) before (member))
    from (select distinct role_id from changed_rows) changed (subject);
  else
    insert into settings_history (kind, subject, settings)
    select 'role_permissions', changed.subject::text, (
      select jsonb_agg(before.member) from (
        select permission_id from role_permissions present where present.role_id = changed.subject
        union select permission_id from changed_rows other where other.role_id = changed.subject) before (member))
    from (select distinct role_id from changed_rows) changed (subject);
  end if;
  return null;
end $$;

CREATE FUNCTION public.keep_roles() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' then
    insert into settings_history (kind, subject, account_id, settings)
    select 'role', before.id::text, null, judged_role(before)
    from old_rows before left join new_rows after on after.id = before.id
    where judged_role(before) is distinct from judged_role(after);
  else
    insert into settings_history (kind, subject, account_id, settings)
    select 'role', before.id::text, null, judged_role(before) from old_rows before;
  end if;
  return null;
end $$;

CREATE FUNCTION public.key_usage_options() RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
  select 'fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05'
$$;

CREATE FUNCTION public.latency_percentile(buckets bigint[], quantile double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  select 0.2 * power(1.05 / 0.95::double precision, place - 1) / (1.05 / 0.95::double precision + 1)
  from (
    select place, sum(count) over (order by place) as seen, sum(count) over () as total
    from unnest(buckets) with ordinality as bucket (count, place)
  ) ranked
  where total > 0 and seen >= greatest(1, ceil(quantile * total::double precision))
  order by place limit 1
$$;

CREATE FUNCTION public.live_credit_holders() RETURNS SETOF uuid
    LANGUAGE sql STABLE
    AS $$
  select holder.id
  from credit_holders holder left join instances instance on instance.id = holder.id
  where not holder.is_closed and (
    holder.heard_at > now() - interval '3 seconds'
    or instance.heartbeat_at > now() - instance.lease_milliseconds * interval '1 millisecond')
$$;

CREATE FUNCTION public.lock_accounts(ids uuid[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
  select from accounts where id = any (ids) and kind <> 'house' and deleted_at is null order by id for update
$$;

CREATE FUNCTION public.lock_attempts(ids uuid[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
declare
  key bigint;
begin
  for key in select distinct hashtextextended(id::text, 16) from unnest(ids) id order by 1 loop
    perform pg_advisory_xact_lock(key);
  end loop;
end $$;

CREATE FUNCTION public.lock_audit_head(event public.audit_events, OUT seq bigint, OUT hash bytea) RETURNS record
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_sort TO 'off'
    SET search_path TO 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
  chain constant uuid := coalesce(event.account_id, '00000000-0000-0000-0000-000000000000');
begin
  -- An event ahead of its head is of this statement, which has locked the head. Two statements, because the index is
  -- reached by each of the two conditions, and not by both in one.
  if event.account_id is null then
    select last.seq, last.hash into seq, hash
    from audit_heads known, lateral (
      select seq, hash from audit_events where account_id is null
      -- As the index has them: of a condition like this it is not known that it leaves one value alone.
      order by account_id desc nulls last, seq desc limit 1) last
    where known.account_id = chain and last.seq > known.seq;
  else
    select last.seq, last.hash into seq, hash
    from audit_heads known, lateral (
      select seq, hash from audit_events where account_id = event.account_id order by seq desc limit 1) last
    where known.account_id = chain and last.seq > known.seq;
  end if;
  if found then return; end if;
  perform from accounts where id = event.account_id for key share;
  select head.seq, head.hash into seq, hash from audit_heads head where account_id = chain for update;
  if not found then
    insert into audit_heads (account_id, seq, hash) values (chain, 0, decode(repeat('00', 32), 'hex'))
    on conflict do nothing;
    select head.seq, head.hash into strict seq, hash from audit_heads head where account_id = chain for update;
  end if;
end $$;

CREATE FUNCTION public.log_new_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  insert into invalidation_log (kind, account_id, key_id) select 'key', account_id, id from new_keys limit 1;
  return null;
end $$;

CREATE FUNCTION public.log_new_service_tokens() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  insert into invalidation_log (kind, token_id) select 'service_token', id from new_tokens limit 1;
  return null;
end $$;

CREATE FUNCTION public.make_external_accounts(ids uuid[], names text[], external_ids text[], event_ids uuid[], by_kind text, by_id uuid, by_name text, by_ip inet, detail text) RETURNS SETOF uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  made uuid[];
begin
  with inserted as (
    insert into accounts (id, name, external_id, plan, kind)
    select new.id, new.name, new.external_id, 'external', 'external'
    from unnest(ids, names, external_ids) new (id, name, external_id)
    order by new.external_id collate "C"
    on conflict (external_id) where deleted_at is null do nothing
    returning id
  )
  select coalesce(array_agg(id order by id), '{}') into made from inserted;
  insert into audit_events (
    id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, ip, detail)
  select event.id, event.account_id, by_kind, by_id, by_name, 'account.created', 'account', event.account_id, by_ip,
    make_external_accounts.detail
  from unnest(event_ids, ids) event (id, account_id) where event.account_id = any (made)
  order by event.account_id;
  return query select unnest(made);
end $$;

CREATE FUNCTION public.make_month_partition(parent text, month date, options text) RETURNS boolean
    LANGUAGE plpgsql
    SET lock_timeout TO '2s'
    AS $$
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

CREATE FUNCTION public.move_keys(target uuid, moved uuid[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  source constant uuid := current_account();
  role_keys uuid[];
  held_roles uuid[];
  permission_keys uuid[];
  held_permissions uuid[];
  moved_buckets uuid[];
  moved_count bigint;
begin
  select array_agg(key_id order by key_id, role_id), array_agg(role_id order by key_id, role_id)
  into role_keys, held_roles from key_roles where account_id = source and key_id = any (moved);
  select array_agg(key_id order by key_id, permission_id), array_agg(permission_id order by key_id, permission_id)
  into permission_keys, held_permissions from key_permissions where account_id = source and key_id = any (moved);
  delete from key_roles where account_id = source and key_id = any (moved);
  delete from key_permissions where account_id = source and key_id = any (moved);
  -- Nobody there has been told that they expire.
  delete from key_expiry_notices where account_id = source and key_id = any (moved);
  -- Enabled now: an account that disables idle keys gives them all of their time.
  update api_keys set account_id = target, enabled_at = now() where account_id = source and id = any (moved);
  get diagnostics moved_count = row_count;
  -- A bucket and its leases move with the keys that have it. Their lock is that of the bucket: whoever leases waits, and
  -- leases in the new account. Keys of the lineage that stay are over, and have no more credits.
  moved_buckets := array(
    select id from credits where account_id = source
      and id in (select credits_id from api_keys where account_id = target and id = any (moved))
    order by id for update);
  if moved_buckets <> '{}' then
    perform from credit_leases where credits_id = any (moved_buckets) order by credits_id, holder_id for update;
    update credits set account_id = target where id = any (moved_buckets);
    update credit_leases set account_id = target where credits_id = any (moved_buckets);
    update api_keys set credits_id = null where account_id = source and credits_id = any (moved_buckets);
  end if;
  insert into key_roles (account_id, key_id, role_id)
    select target, key_id, role_id from unnest(role_keys, held_roles) held (key_id, role_id);
  insert into key_permissions (account_id, key_id, permission_id)
    select target, key_id, permission_id from unnest(permission_keys, held_permissions) held (key_id, permission_id);
  return moved_count;
end $$;

CREATE FUNCTION public.next_credit_refill(refill_interval text, refill_day integer, after timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
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

CREATE FUNCTION public.note_import_forms() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  insert into import_forms (form)
  select distinct import_form from new_keys
  where import_form is not null and import_form not in (select form from import_forms)
  order by import_form
  on conflict do nothing;
  return null;
end $$;

CREATE FUNCTION public.note_made_at() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  update key_activity set made_at = new.created_at where account_id = new.account_id and key_id = new.id;
  return null;
end $$;

CREATE FUNCTION public.note_new_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  insert into key_activity (account_id, key_id, made_at)
  select account_id, id, created_at from new_keys order by account_id, id
  on conflict (account_id, key_id) do update set made_at = excluded.made_at;
  return null;
end $$;

CREATE FUNCTION public.note_usage_progress(instance_id uuid, through timestamp with time zone) RETURNS void
    LANGUAGE sql
    AS $$
  update instances set usage_complete_through = greatest(usage_complete_through, through)
  where id = instance_id and usage_complete_through is distinct from greatest(usage_complete_through, through)
$$;

CREATE FUNCTION public.number_invalidation() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  -- The right-hand sides are what stood there before, also after a wait for the row's lock.
  with head as (
    update invalidation_head set seq = seq + 1, former_mark = mark, mark = gen_random_uuid()
    returning seq, former_mark
  )
  update invalidation_log set seq = head.seq, follows = head.former_mark from head where id = new.id;
  -- Empty and always the same, so that PostgreSQL folds many into one; what changed stands in the log.
  perform pg_notify('latchkey_invalidation', '');
  -- What is acknowledged must not be lost by a crash, even where a session does not wait for the disk otherwise.
  if current_setting('synchronous_commit') = 'off' then
    perform set_config('synchronous_commit', 'on', true);
  end if;
  return null;
end $$;

CREATE FUNCTION public.open_credit_holder(holder uuid) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
begin
  perform commit_durably();
  insert into credit_holders (id) values (holder)
  on conflict (id) do update set heard_at = now() where not credit_holders.is_closed;
  return found;
end $$;

CREATE FUNCTION public.open_to(tenant_table regclass, VARIADIC role_names name[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
declare
  name name;
begin
  foreach name in array role_names loop
    execute format('create policy %I on %s to %I using (true)', name, tenant_table, name);
  end loop;
end $$;

CREATE FUNCTION public.open_to_staff(tenant_table regclass, account_column name DEFAULT 'account_id'::name) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  execute format('create policy staff_look on %s for select to latchkey_staff using (true)', tenant_table);
  execute format(
    'create policy staff_act on %s to latchkey_staff using (%I = (select current_account()))', tenant_table,
    account_column);
end $$;

CREATE FUNCTION public.outstanding_credits(bucket public.credits, holders uuid[] DEFAULT NULL::uuid[]) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
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

CREATE FUNCTION public.pack_latency_buckets(buckets bigint[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  select min(position) - 1 || ' ' || array_to_string(buckets[min(position):], ' ')
  from unnest(buckets) with ordinality as places (count, position) where count <> 0
$$;

CREATE FUNCTION public.pack_usage(before date, counter_count_max integer, after_account uuid, after_key uuid, after_day date, OUT counter_count bigint, OUT last_account uuid, OUT last_key uuid, OUT last_day date) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

CREATE FUNCTION public.place_usage() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  unplaced date := coalesce(
    (select day from key_usage_default where isfinite(day) limit 1),
    (select day from packed_usage_default where isfinite(day) limit 1));
begin
  return unplaced is not null and ensure_usage_partitions(unplaced, 0) > 0;
end $$;

CREATE FUNCTION public.redact_audit_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  next_seq bigint;
begin
  if new.actor_name is distinct from old.actor_name and new.actor_name <> 'erased person'
    or new.ip is distinct from old.ip and new.ip is not null
    or new.reason is distinct from old.reason and new.reason not like '%erased person%'
    or new.ticket is distinct from old.ticket and new.ticket not like '%erased person%'
    or new.detail is distinct from old.detail and new.detail not like '%erased person%'
    or (new.reason is null) <> (old.reason is null)
    or (new.ticket is null) <> (old.ticket is null)
    or (new.detail is null) <> (old.detail is null)
    or (new.actor_name, new.ip, new.reason, new.ticket, new.detail) is not distinct from
      (old.actor_name, old.ip, old.reason, old.ticket, old.detail)
  then
    raise exception 'audit_events is append-only' using errcode = 'insufficient_privilege';
  end if;
  select seq + 1 into strict next_seq from audit_heads
  where account_id = coalesce(old.account_id, '00000000-0000-0000-0000-000000000000') for update;
  new.redacted_by := old.redacted_by || next_seq;
  new.redacted_hashes := old.redacted_hashes || audit_event_hash(new);
  return new;
end $$;

CREATE FUNCTION public.redact_audit_events(person uuid, trail uuid, after bigint, event_count bigint, OUT last bigint, OUT redacted bigint, OUT digest text) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  account constant uuid := nullif(trail, '00000000-0000-0000-0000-000000000000');
  erasure erasures;
  pattern text;
  head bigint;
  ids uuid[];
begin
  redacted := 0;
  select * into erasure from erasures where user_id = person and finished_at is null;
  if not found then return; end if;
  pattern := address_pattern(erasure.addresses);
  perform from accounts where id = account for key share;
  select seq into head from audit_heads where account_id = trail for update;
  if head is null or after >= head then return; end if;
  -- One of the two is empty; the index is reached by each, and not by both in one.
  select array_agg(event.id) into ids from (
    select * from audit_events where account_id = account and seq > after and seq <= after + event_count
    union all
    select * from audit_events where account is null and account_id is null and seq > after
      and seq <= after + event_count
  ) event
  where event.actor_kind = 'user' and event.actor_id = person
      and (event.actor_name <> 'erased person' or event.ip is not null)
    or event.at <= erasure.created_at
      and (event.reason ~* pattern or event.ticket ~* pattern or event.detail ~* pattern);
  if after + event_count < head then last := after + event_count; end if;
  if ids is null then return; end if;
  update audit_events event set
    actor_name = case when theirs then 'erased person' else actor_name end,
    ip = case when theirs then null else ip end,
    reason = case
      when at <= erasure.created_at then regexp_replace(reason, pattern, 'erased person', 'gi') else reason
    end,
    ticket = case
      when at <= erasure.created_at then regexp_replace(ticket, pattern, 'erased person', 'gi') else ticket
    end,
    detail = case
      when at <= erasure.created_at then regexp_replace(detail, pattern, 'erased person', 'gi') else detail
    end
  from (
    select id as event_id, actor_kind = 'user' and actor_id is not distinct from person as theirs
    from audit_events where id = any (ids)) named
  where id = event_id;
  select count(*), encode(sha256(convert_to('latchkey-redaction-1', 'UTF8') || string_agg(
    audit_field(seq::text) || audit_field(encode(hash, 'hex'))
    || audit_field(encode(redacted_hashes[cardinality(redacted_hashes)], 'hex')), ''::bytea order by seq)), 'hex')
  into redacted, digest
  from audit_events where id = any (ids);
end $$;

CREATE FUNCTION public.refill_overdue_credits(count integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.refilled_credits(bucket public.credits, amount bigint) RETURNS public.credits
    LANGUAGE plpgsql STABLE
    AS $$
begin
  if amount <= bucket.available then return bucket; end if;
  return begin_credit_generation(bucket, amount - bucket.available, amount);
end $$;

CREATE FUNCTION public.refilled_if_due(bucket public.credits) RETURNS public.credits
    LANGUAGE plpgsql STABLE
    AS $$
begin
  if bucket.refill_at <= now() then
    bucket := refilled_credits(bucket, bucket.refill_amount);
    bucket.refill_at := next_credit_refill(bucket.refill_interval, bucket.refill_day, now());
  end if;
  return bucket;
end $$;

CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;

CREATE FUNCTION public.remaining_credits(bucket public.credits, OUT remaining bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
begin
  if bucket.id is null then return; end if;
  remaining := bucket.available + outstanding_credits(bucket);
  if bucket.refill_at <= now() then remaining := greatest(remaining, bucket.refill_amount); end if;
end $$;

CREATE FUNCTION public.remember_endpoints(accounts uuid[], endpoints text[]) RETURNS void
    LANGUAGE sql
    AS $$
  select remember_endpoints(accounts, endpoints, 500)
$$;

CREATE FUNCTION public.remember_endpoints(accounts uuid[], endpoints text[], name_count_max integer) RETURNS void
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
declare
  place integer;
  newcomers uuid[] := array(
    select distinct account_id from unnest(accounts, endpoints) as batch (account_id, endpoint)
    where endpoint <> 'other'
      and not exists (
        select from account_endpoints known
        where known.account_id = batch.account_id and known.endpoint = batch.endpoint)
      and not exists (
        select from account_endpoints last
        where last.account_id = batch.account_id and last.number >= name_count_max));
begin
  if newcomers = '{}' then return; end if;
  -- In one order for all.
  for place in select distinct hashtext(account_id::text) & 127 from unnest(newcomers) account_id order by 1 loop
    perform pg_advisory_xact_lock(hashtext('remember_endpoints'), place);
  end loop;
  insert into account_endpoints (account_id, endpoint, number)
  select account_id, endpoint, number from (
    select account_id, endpoint, row_number() over (partition by account_id order by endpoint)
      + (select coalesce(max(known.number), 0) from account_endpoints known where known.account_id = new.account_id)
      as number
    from (
      select distinct account_id, endpoint from unnest(accounts, endpoints) as batch (account_id, endpoint)
      where endpoint <> 'other' and account_id = any (newcomers) and not exists (
        select from account_endpoints known
        where known.account_id = batch.account_id and known.endpoint = batch.endpoint)
    ) as new
  ) as numbered
  where number <= name_count_max;
end $$;

CREATE FUNCTION public.set_credit_refill(bucket_id uuid, new_interval text, new_amount bigint, new_day integer) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.settings_at(wanted_kind text, wanted_subject text, moment timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  found jsonb;
begin
  select settings into found from settings_history
  where kind = wanted_kind and subject = wanted_subject and until > moment
  order by id limit 1;
  if found is not null then return found; end if;
  case wanted_kind
    when 'key' then select judged_key(one) into found from api_keys one where id = wanted_subject::uuid;
    when 'account' then select judged_account(one) into found from accounts one where id = wanted_subject::uuid;
    when 'plan' then select judged_plan(one) into found from plans one where name = wanted_subject;
    when 'api' then select judged_api(one) into found from apis one where id = wanted_subject::uuid;
    when 'permission' then
      select judged_permission(one) into found from permissions one where id = wanted_subject::uuid;
    when 'role' then select judged_role(one) into found from roles one where id = wanted_subject::uuid;
    when 'key_roles' then
      select jsonb_agg(role_id) into found from key_roles where key_id = wanted_subject::uuid;
    when 'key_permissions' then
      select jsonb_agg(permission_id) into found from key_permissions where key_id = wanted_subject::uuid;
    when 'role_permissions' then
      select jsonb_agg(permission_id) into found from role_permissions where role_id = wanted_subject::uuid;
  end case;
  return found;
end $$;

CREATE FUNCTION public.settings_kept_since() RETURNS timestamp with time zone
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
  select until from settings_history where kind = 'beginning'
$$;

CREATE FUNCTION public.settle_attempts(cleared uuid[], returned uuid[], pair uuid, known_seconds integer) RETURNS void
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.settle_credits(holder uuid, buckets uuid[], generations bigint[], spents bigint[]) RETURNS TABLE(credits_id uuid, generation integer, settled bigint, is_recalled boolean, is_asked boolean)
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.store_credits(bucket public.credits) RETURNS void
    LANGUAGE sql
    AS $$
  update credits set
    generation = bucket.generation, available = bucket.available, withheld = bucket.withheld,
    carried_from = bucket.carried_from, oversold = bucket.oversold, refill_interval = bucket.refill_interval,
    refill_amount = bucket.refill_amount, refill_day = bucket.refill_day, refill_at = bucket.refill_at,
    revision = bucket.revision
  where id = bucket.id
$$;

CREATE FUNCTION public.sum_packed_usage() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $_$
declare
  changes constant text := case TG_OP
    when 'INSERT' then 'select 1 as sign, added.* from added'
    when 'DELETE' then 'select -1 as sign, removed.* from removed'
    else 'select 1 as sign, added.* from added union all select -1, removed.* from removed' end;
begin
  perform pg_advisory_xact_lock(hashtext('pack_usage'));
  execute add_packed_account_usage(changes);
  execute format($statement$
    insert into packed_usage_totals as total (day, success_count, error_count, denied_count)
    select day, sum(sign * success_count), sum(sign * error_count), sum(sign * denied_count)
    from (%s) changes group by day order by day
    on conflict (day) do update set
      success_count = total.success_count + excluded.success_count,
      error_count = total.error_count + excluded.error_count,
      denied_count = total.denied_count + excluded.denied_count
    $statement$, changes);
  return null;
end $_$;

CREATE FUNCTION public.take_back_credits(bucket public.credits, amount bigint, origin integer) RETURNS public.credits
    LANGUAGE plpgsql IMMUTABLE
    AS $$
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

CREATE FUNCTION public.take_limits(subjects uuid[], digests bigint[], milliseconds bigint[], limits bigint[], refills bigint[], costs bigint[], OUT is_admitted boolean, OUT at_milliseconds bigint, OUT indexes bigint[], OUT used bigint[], OUT used_before bigint[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.take_rate_limits(subjects uuid[], digests bigint[], seconds integer[], limits bigint[], cost bigint, OUT is_admitted boolean, OUT at_milliseconds bigint, OUT indexes bigint[], OUT used bigint[], OUT used_before bigint[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.touch_granted_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  -- Then the update sees what was granted by whom this waits for.
  perform from api_keys where id in (select key_id from changed_grants) order by id for update;
  update api_keys key set
    revision = revision + 1,
    has_grants = exists (select from key_roles where key_id = key.id)
      or exists (select from key_permissions where key_id = key.id)
  where id in (select key_id from changed_grants);
  return null;
end $$;

CREATE FUNCTION public.unpack_latency_buckets(packed text) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  select case
    when packed is not null then
      array_fill(0::bigint, array[split_part(packed, ' ', 1)::integer]) || (string_to_array(packed, ' ')::bigint[])[2:]
  end
$$;

CREATE FUNCTION public.unplaced_usage_count() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
  select count(*) from (
    select from key_usage_default union all select from packed_usage_default limit 10000) as unplaced
$$;

CREATE FUNCTION public.usage_of_account_endpoints(account uuid, first date, last date) RETURNS TABLE(endpoint text, verified_count bigint, denied_count bigint, reported_count bigint, success_count bigint, error_count bigint, total_latency_ms double precision, latency_count bigint)
    LANGUAGE sql STABLE ROWS 50 PARALLEL SAFE
    SET max_parallel_workers_per_gather TO '0'
    AS $$
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

CREATE FUNCTION public.usage_of_endpoints(account uuid, key uuid, first date, last date, with_latency_buckets boolean DEFAULT true) RETURNS TABLE(endpoint text, verified_count bigint, denied_count bigint, reported_count bigint, success_count bigint, error_count bigint, total_latency_ms double precision, latency_count bigint, latency_buckets bigint[])
    LANGUAGE sql STABLE ROWS 50 PARALLEL SAFE
    AS $$
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

CREATE FUNCTION public.use_imported_keys(ids uuid[], hashes bytea[], starts text[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  used_count bigint;
begin
  perform from api_keys where id = any (ids) order by id for update;
  update api_keys key set
    key_hash = used.hash, key_start = coalesce(key.key_start, used.start)
  from unnest(ids, hashes, starts) used (id, hash, start)
  where key.id = used.id and key.import_form is not null
    and (key.key_hash is null or key.key_hash = used.hash and key.key_start is null);
  get diagnostics used_count = row_count;
  return used_count;
end $$;

CREATE AGGREGATE public.sum_latency_buckets(bigint[]) (
    SFUNC = public.add_present_latency_buckets,
    STYPE = bigint[],
    COMBINEFUNC = public.add_present_latency_buckets,
    PARALLEL = safe
);

CREATE TABLE public.account_endpoints (
    account_id uuid NOT NULL,
    endpoint text NOT NULL,
    number smallint NOT NULL,
    CONSTRAINT account_endpoints_endpoint_length CHECK (((length(endpoint) >= 1) AND (length(endpoint) <= 200))),
    CONSTRAINT account_endpoints_number_range CHECK ((number > 0))
);

CREATE TABLE public.account_requests (
    account_id uuid NOT NULL,
    key_hash bytea NOT NULL,
    request_hash bytea NOT NULL,
    shown_account text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT account_requests_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT account_requests_key_hash_length CHECK ((length(key_hash) = 32)),
    CONSTRAINT account_requests_request_hash_length CHECK ((length(request_hash) = 32)),
    CONSTRAINT account_requests_shown_account_object CHECK ((json_typeof((shown_account)::json) = 'object'::text))
);

CREATE TABLE public.account_usage_hours (
    account_id uuid NOT NULL,
    hour timestamp with time zone NOT NULL,
    verified_count bigint DEFAULT 0 NOT NULL,
    denied_count bigint DEFAULT 0 NOT NULL,
    reported_count bigint DEFAULT 0 NOT NULL,
    error_count bigint DEFAULT 0 NOT NULL,
    total_latency_ms double precision DEFAULT 0 NOT NULL,
    latency_count bigint DEFAULT 0 NOT NULL,
    latency_buckets bigint[],
    success_count bigint GENERATED ALWAYS AS ((GREATEST(verified_count, reported_count) - error_count)) STORED NOT NULL,
    CONSTRAINT account_usage_hours_hour_finite CHECK (isfinite(hour)),
    CONSTRAINT account_usage_hours_hour_whole CHECK ((((EXTRACT(epoch FROM hour))::bigint % (3600)::bigint) = 0))
)
WITH (fillfactor='45', autovacuum_vacuum_scale_factor='0.05');

CREATE VIEW public.accounts_v1 AS
 SELECT accounts.id,
    accounts.name,
    accounts.plan,
    accounts.suspended_at,
    accounts.created_at
   FROM public.accounts
  WHERE (accounts.kind <> 'house'::text);

COMMENT ON VIEW public.accounts_v1 IS 'The customers'' accounts.';

COMMENT ON COLUMN public.accounts_v1.id IS 'The account.';

COMMENT ON COLUMN public.accounts_v1.name IS 'As its owner named it: anything may stand there.';

COMMENT ON COLUMN public.accounts_v1.plan IS 'The plan''s name.';

COMMENT ON COLUMN public.accounts_v1.suspended_at IS 'Since when none of its keys is accepted; NULL: they are.';

COMMENT ON COLUMN public.accounts_v1.created_at IS 'When it was made.';

CREATE TABLE public.key_usage (
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    day date NOT NULL,
    endpoint text NOT NULL,
    verified_count bigint DEFAULT 0 NOT NULL,
    denied_count bigint DEFAULT 0 NOT NULL,
    reported_count bigint DEFAULT 0 NOT NULL,
    error_count bigint DEFAULT 0 NOT NULL,
    total_latency_ms double precision DEFAULT 0 NOT NULL,
    latency_count bigint DEFAULT 0 NOT NULL,
    latency_buckets bigint[],
    success_count bigint GENERATED ALWAYS AS ((GREATEST(verified_count, reported_count) - error_count)) STORED NOT NULL,
    CONSTRAINT key_usage_day_finite CHECK (isfinite(day)),
    CONSTRAINT key_usage_endpoint_length CHECK (((length(endpoint) >= 1) AND (length(endpoint) <= 200)))
)
PARTITION BY RANGE (day);

CREATE TABLE public.packed_usage (
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    day date NOT NULL,
    verified_count bigint NOT NULL,
    denied_count bigint NOT NULL,
    reported_count bigint NOT NULL,
    error_count bigint NOT NULL,
    success_count bigint NOT NULL,
    total_latency_ms double precision NOT NULL,
    latency_count bigint NOT NULL,
    latency text,
    endpoints smallint[] NOT NULL,
    verified integer[],
    denied integer[],
    reported integer[],
    errors integer[],
    latency_sums double precision[],
    latency_counts integer[],
    latencies text[],
    CONSTRAINT packed_usage_day_finite CHECK (isfinite(day))
)
PARTITION BY RANGE (day);

CREATE VIEW public.all_usage_by_endpoint AS
 SELECT key_usage.account_id,
    key_usage.key_id,
    key_usage.day,
    key_usage.endpoint,
    key_usage.verified_count,
    key_usage.denied_count,
    key_usage.reported_count,
    key_usage.success_count,
    key_usage.error_count,
    key_usage.total_latency_ms,
    key_usage.latency_count,
    key_usage.latency_buckets
   FROM public.key_usage
UNION ALL
 SELECT packed.account_id,
    packed.key_id,
    packed.day,
    COALESCE(known.endpoint, 'other'::text) AS endpoint,
    (COALESCE(packed.verified, 0))::bigint AS verified_count,
    (COALESCE(packed.denied, 0))::bigint AS denied_count,
    (COALESCE(packed.reported, 0))::bigint AS reported_count,
    ((GREATEST(COALESCE(packed.verified, 0), COALESCE(packed.reported, 0)))::bigint - COALESCE(packed.errors, 0)) AS success_count,
    (COALESCE(packed.errors, 0))::bigint AS error_count,
    COALESCE(packed.latency_sum, (0)::double precision) AS total_latency_ms,
    (COALESCE(packed.latency_count, 0))::bigint AS latency_count,
    public.unpack_latency_buckets(packed.latency) AS latency_buckets
   FROM (( SELECT packed_usage.account_id,
            packed_usage.key_id,
            packed_usage.day,
            unnest(packed_usage.endpoints) AS number,
            unnest(packed_usage.verified) AS verified,
            unnest(packed_usage.denied) AS denied,
            unnest(packed_usage.reported) AS reported,
            unnest(packed_usage.errors) AS errors,
            unnest(packed_usage.latency_sums) AS latency_sum,
            unnest(packed_usage.latency_counts) AS latency_count,
            unnest(packed_usage.latencies) AS latency
           FROM public.packed_usage) packed
     LEFT JOIN public.account_endpoints known ON (((known.account_id = packed.account_id) AND (known.number = packed.number))));

CREATE VIEW public.all_usage_by_key AS
 SELECT key_usage.account_id,
    key_usage.key_id,
    key_usage.day,
    key_usage.verified_count,
    key_usage.denied_count,
    key_usage.reported_count,
    key_usage.success_count,
    key_usage.error_count,
    key_usage.total_latency_ms,
    key_usage.latency_count,
    key_usage.latency_buckets
   FROM public.key_usage
UNION ALL
 SELECT packed_usage.account_id,
    packed_usage.key_id,
    packed_usage.day,
    packed_usage.verified_count,
    packed_usage.denied_count,
    packed_usage.reported_count,
    packed_usage.success_count,
    packed_usage.error_count,
    packed_usage.total_latency_ms,
    packed_usage.latency_count,
    public.unpack_latency_buckets(packed_usage.latency) AS latency_buckets
   FROM public.packed_usage;

CREATE UNLOGGED TABLE public.attempt_counts (
    id uuid NOT NULL,
    attempt_count integer DEFAULT 0 NOT NULL,
    blocked_until timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    forgotten_at timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    known_until timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    CONSTRAINT attempt_counts_blocked_until_finite CHECK (isfinite(blocked_until)),
    CONSTRAINT attempt_counts_forgotten_at_finite CHECK (isfinite(forgotten_at)),
    CONSTRAINT attempt_counts_known_until_finite CHECK (isfinite(known_until))
)
WITH (fillfactor='50');

CREATE TABLE public.audit_heads (
    account_id uuid NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_heads_hash_length CHECK ((length(hash) = 32))
)
WITH (fillfactor='50');

CREATE TABLE public.credit_leases (
    account_id uuid NOT NULL,
    credits_id uuid NOT NULL,
    holder_id uuid NOT NULL,
    generation integer NOT NULL,
    granted bigint DEFAULT 0 NOT NULL,
    settled bigint DEFAULT 0 NOT NULL,
    number bigint DEFAULT 0 NOT NULL,
    is_recalled boolean DEFAULT false NOT NULL,
    asked bigint DEFAULT 0 NOT NULL,
    heard bigint DEFAULT 0 NOT NULL,
    answered bigint DEFAULT 0 NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT credit_leases_settled_range CHECK (((settled >= 0) AND (settled <= granted))),
    CONSTRAINT credit_leases_updated_at_finite CHECK (isfinite(updated_at))
)
WITH (fillfactor='50');

CREATE TABLE public.erasures (
    user_id uuid NOT NULL,
    addresses text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT erasures_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT erasures_finished_at_finite CHECK (isfinite(finished_at)),
    CONSTRAINT erasures_forgotten CHECK (((finished_at IS NULL) OR (addresses = '{}'::text[])))
);

CREATE TABLE public.idempotent_requests (
    account_id uuid NOT NULL,
    key_hash bytea NOT NULL,
    request_hash bytea NOT NULL,
    new_key_id uuid NOT NULL,
    shown_keys text[] NOT NULL,
    sealed_secret bytea,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT idempotent_requests_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT idempotent_requests_key_hash_length CHECK ((length(key_hash) = 32)),
    CONSTRAINT idempotent_requests_request_hash_length CHECK ((length(request_hash) = 32)),
    CONSTRAINT idempotent_requests_shown_keys_count CHECK ((cardinality(shown_keys) >= 1))
);

CREATE TABLE public.import_forms (
    form text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT import_forms_since_finite CHECK (isfinite(since))
);

CREATE TABLE public.installation (
    is_only boolean DEFAULT true NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    CONSTRAINT installation_is_only_one CHECK (is_only)
);

CREATE TABLE public.instances (
    id uuid NOT NULL,
    name text NOT NULL,
    lease_milliseconds integer NOT NULL,
    applied_seq bigint NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    usage_complete_through timestamp with time zone,
    CONSTRAINT instances_heartbeat_at_finite CHECK (isfinite(heartbeat_at)),
    CONSTRAINT instances_started_at_finite CHECK (isfinite(started_at)),
    CONSTRAINT instances_usage_complete_through_finite CHECK (isfinite(usage_complete_through))
)
WITH (fillfactor='50');

COMMENT ON COLUMN public.instances.usage_complete_through IS 'By PostgreSQL''s clock as the instance knows it: everything that it counted before stands in the database.';

CREATE TABLE public.invalidation_head (
    only_row boolean DEFAULT true NOT NULL,
    epoch uuid DEFAULT gen_random_uuid() NOT NULL,
    seq bigint DEFAULT 0 NOT NULL,
    mark uuid DEFAULT gen_random_uuid() NOT NULL,
    former_mark uuid,
    import_forms text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT invalidation_head_single CHECK (only_row)
);

CREATE TABLE public.invalidation_log (
    id bigint NOT NULL,
    seq bigint,
    kind text NOT NULL,
    account_id uuid,
    key_id uuid,
    token_id uuid,
    at timestamp with time zone DEFAULT now() NOT NULL,
    follows uuid,
    credits_id uuid,
    namespace_id uuid,
    CONSTRAINT invalidation_log_at_finite CHECK (isfinite(at)),
    CONSTRAINT invalidation_log_kind_known CHECK ((kind = ANY (ARRAY['key'::text, 'account'::text, 'service_token'::text, 'catalog'::text, 'credits'::text, 'limit_namespace'::text, 'everything'::text])))
);

ALTER TABLE public.invalidation_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.invalidation_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.invalidation_server (
    only_row boolean DEFAULT true NOT NULL,
    postmaster_started_at timestamp with time zone NOT NULL,
    head_oid oid NOT NULL,
    since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT invalidation_server_postmaster_started_at_finite CHECK (isfinite(postmaster_started_at)),
    CONSTRAINT invalidation_server_since_finite CHECK (isfinite(since)),
    CONSTRAINT invalidation_server_single CHECK (only_row)
);

CREATE TABLE public.invitations (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    email text NOT NULL,
    role text NOT NULL,
    inviter_name text NOT NULL,
    is_mailed boolean NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    accepted_at timestamp with time zone,
    revoked_at timestamp with time zone,
    inviter_id uuid,
    plan text,
    CONSTRAINT invitations_accepted_at_finite CHECK (isfinite(accepted_at)),
    CONSTRAINT invitations_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT invitations_email_lower CHECK (((email = lower(email)) AND ((length(email) >= 3) AND (length(email) <= 254)))),
    CONSTRAINT invitations_expires_at_finite CHECK (isfinite(expires_at)),
    CONSTRAINT invitations_revoked_at_finite CHECK (isfinite(revoked_at)),
    CONSTRAINT invitations_role_known CHECK ((role = ANY (ARRAY['owner'::text, 'admin'::text, 'developer'::text, 'viewer'::text])))
);

CREATE TABLE public.jobs (
    name text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    instance text NOT NULL,
    finished_at timestamp with time zone,
    succeeded_at timestamp with time zone,
    duration_ms double precision,
    result_count bigint,
    error text,
    failure_count bigint DEFAULT 0 NOT NULL,
    CONSTRAINT jobs_finished_at_finite CHECK (isfinite(finished_at)),
    CONSTRAINT jobs_started_at_finite CHECK (isfinite(started_at)),
    CONSTRAINT jobs_succeeded_at_finite CHECK (isfinite(succeeded_at))
)
WITH (fillfactor='50');

CREATE TABLE public.key_activity (
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    last_used_at timestamp with time zone,
    verified_count bigint DEFAULT 0 NOT NULL,
    denied_count bigint DEFAULT 0 NOT NULL,
    reported_count bigint DEFAULT 0 NOT NULL,
    total_requests bigint GENERATED ALWAYS AS ((GREATEST(verified_count, reported_count) + denied_count)) STORED NOT NULL,
    made_at timestamp with time zone,
    idle_since date GENERATED ALWAYS AS (((COALESCE(last_used_at, made_at) AT TIME ZONE 'UTC'::text))::date) STORED,
    magnitude smallint GENERATED ALWAYS AS (
CASE
    WHEN ((((verified_count)::double precision + (denied_count)::double precision) + (reported_count)::double precision) >= (4096)::double precision) THEN floor((((4)::double precision * ln((((verified_count)::double precision + (denied_count)::double precision) + (reported_count)::double precision))) / ln((2)::double precision)))
    ELSE NULL::double precision
END) STORED,
    CONSTRAINT key_activity_idle_since_finite CHECK (isfinite(idle_since)),
    CONSTRAINT key_activity_last_used_at_finite CHECK (isfinite(last_used_at)),
    CONSTRAINT key_activity_made_at_finite CHECK (isfinite(made_at))
)
WITH (fillfactor='45');

CREATE TABLE public.key_permissions (
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    permission_id uuid NOT NULL
);

CREATE TABLE public.key_roles (
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    role_id uuid NOT NULL
);

CREATE TABLE public.role_permissions (
    role_id uuid NOT NULL,
    permission_id uuid NOT NULL
);

CREATE VIEW public.key_effective_permissions WITH (security_invoker='true') AS
 SELECT key_permissions.account_id,
    key_permissions.key_id,
    key_permissions.permission_id
   FROM public.key_permissions
UNION
 SELECT held.account_id,
    held.key_id,
    included.permission_id
   FROM (public.key_roles held
     JOIN public.role_permissions included ON ((included.role_id = held.role_id)));

CREATE TABLE public.key_expiry_notices (
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    days integer NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT key_expiry_notices_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT key_expiry_notices_expires_at_finite CHECK (isfinite(expires_at))
);

CREATE TABLE public.key_policies (
    account_id uuid NOT NULL,
    expiry_required boolean NOT NULL,
    max_lifetime_days integer,
    allowlist_required boolean NOT NULL,
    allowed_scopes text[],
    disable_after_idle_days integer,
    CONSTRAINT key_policies_allowed_scopes_count CHECK (((cardinality(allowed_scopes) >= 1) AND (cardinality(allowed_scopes) <= 64))),
    CONSTRAINT key_policies_idle_range CHECK (((disable_after_idle_days >= 1) AND (disable_after_idle_days <= 3650))),
    CONSTRAINT key_policies_max_lifetime_range CHECK (((max_lifetime_days >= 1) AND (max_lifetime_days <= 36500)))
);

CREATE TABLE public.key_usage_default (
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    day date NOT NULL,
    endpoint text NOT NULL,
    verified_count bigint DEFAULT 0 NOT NULL,
    denied_count bigint DEFAULT 0 NOT NULL,
    reported_count bigint DEFAULT 0 NOT NULL,
    error_count bigint DEFAULT 0 NOT NULL,
    total_latency_ms double precision DEFAULT 0 NOT NULL,
    latency_count bigint DEFAULT 0 NOT NULL,
    latency_buckets bigint[],
    success_count bigint GENERATED ALWAYS AS ((GREATEST(verified_count, reported_count) - error_count)) STORED NOT NULL,
    CONSTRAINT key_usage_day_finite CHECK (isfinite(day)),
    CONSTRAINT key_usage_endpoint_length CHECK (((length(endpoint) >= 1) AND (length(endpoint) <= 200)))
)
WITH (fillfactor='45', autovacuum_vacuum_scale_factor='0.05');

CREATE VIEW public.keys_v1 AS
 SELECT key.id,
    key.account_id,
    key.name,
    key.key_start AS start,
    key.environment,
    key.scopes,
    key.rate_limit_per_minute,
        CASE
            WHEN (key.revoked_at IS NOT NULL) THEN 'revoked'::text
            WHEN (account.suspended_at IS NOT NULL) THEN 'suspended'::text
            WHEN (key.disabled_at IS NOT NULL) THEN 'disabled'::text
            WHEN (key.expires_at <= now()) THEN 'expired'::text
            ELSE 'active'::text
        END AS status,
    key.expires_at,
    key.disabled_at,
    key.rolled_at,
    key.revoked_at,
    key.created_at,
    activity.last_used_at,
    COALESCE(activity.total_requests, (0)::bigint) AS total_requests
   FROM ((public.api_keys key
     JOIN public.accounts account ON ((account.id = key.account_id)))
     LEFT JOIN public.key_activity activity ON (((activity.account_id = key.account_id) AND (activity.key_id = key.id))));

COMMENT ON VIEW public.keys_v1 IS 'The customers'' keys, without anything that would open a door.';

COMMENT ON COLUMN public.keys_v1.id IS 'The key.';

COMMENT ON COLUMN public.keys_v1.account_id IS 'Whose it is: accounts_v1.id.';

COMMENT ON COLUMN public.keys_v1.name IS 'As the customer named it: anything may stand there.';

COMMENT ON COLUMN public.keys_v1.start IS 'Its first characters, to recognise it by: four of its secret part, and all before. NULL: only its hash is known.';

COMMENT ON COLUMN public.keys_v1.environment IS 'live or test.';

COMMENT ON COLUMN public.keys_v1.scopes IS 'What it may be used for.';

COMMENT ON COLUMN public.keys_v1.rate_limit_per_minute IS 'Requests a minute that it is good for; NULL: any number.';

COMMENT ON COLUMN public.keys_v1.status IS 'active, disabled, expired, revoked or suspended, now.';

COMMENT ON COLUMN public.keys_v1.expires_at IS 'When it ends; NULL: never.';

COMMENT ON COLUMN public.keys_v1.disabled_at IS 'When it was switched off.';

COMMENT ON COLUMN public.keys_v1.rolled_at IS 'When it was replaced by a successor.';

COMMENT ON COLUMN public.keys_v1.revoked_at IS 'When it was revoked.';

COMMENT ON COLUMN public.keys_v1.created_at IS 'When it was made.';

COMMENT ON COLUMN public.keys_v1.last_used_at IS 'When it was last shown or reported.';

COMMENT ON COLUMN public.keys_v1.total_requests IS 'Requests in all.';

CREATE TABLE public.limit_namespaces (
    id uuid NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    name_hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT limit_namespaces_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT limit_namespaces_name_hash_length CHECK ((length(name_hash) = 32)),
    CONSTRAINT limit_namespaces_name_hash_right CHECK ((name_hash = sha256(convert_to(name, 'UTF8'::name)))),
    CONSTRAINT limit_namespaces_name_length CHECK (((length(name) >= 1) AND (length(name) <= 512)))
);

CREATE TABLE public.limit_overrides (
    id uuid NOT NULL,
    namespace_id uuid NOT NULL,
    identifier text NOT NULL COLLATE pg_catalog."C",
    limit_value bigint NOT NULL,
    window_milliseconds bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT limit_overrides_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT limit_overrides_identifier_length CHECK (((length(identifier) >= 1) AND (length(identifier) <= 512))),
    CONSTRAINT limit_overrides_limit_range CHECK (((limit_value >= 0) AND (limit_value <= 1000000000))),
    CONSTRAINT limit_overrides_window_range CHECK (((window_milliseconds >= 1000) AND (window_milliseconds <= 86400000)))
);

CREATE TABLE public.long_rate_limit_counts (
    subject_id uuid NOT NULL,
    limit_digest bigint NOT NULL,
    window_index bigint NOT NULL,
    instance_id uuid NOT NULL,
    used bigint NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    published_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT long_rate_limit_counts_ended_at_finite CHECK (isfinite(ended_at)),
    CONSTRAINT long_rate_limit_counts_published_at_finite CHECK (isfinite(published_at))
)
WITH (fillfactor='50');

CREATE TABLE public.mails (
    id uuid NOT NULL,
    kind text NOT NULL,
    recipient text NOT NULL,
    account_id uuid,
    user_id uuid,
    subject_id uuid,
    parameters jsonb DEFAULT '{}'::jsonb NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    attempt_count integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    last_error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT mails_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT mails_due_at_finite CHECK (isfinite(due_at)),
    CONSTRAINT mails_finished CHECK (((state = 'waiting'::text) = (finished_at IS NULL))),
    CONSTRAINT mails_finished_at_finite CHECK (isfinite(finished_at)),
    CONSTRAINT mails_kind_form CHECK ((kind ~ '^[a-z_]{1,64}$'::text)),
    CONSTRAINT mails_last_error_length CHECK ((length(last_error) <= 500)),
    CONSTRAINT mails_parameters_size CHECK (((jsonb_typeof(parameters) = 'object'::text) AND (octet_length((parameters)::text) <= 8192))),
    CONSTRAINT mails_recipient_length CHECK (((length(recipient) >= 3) AND (length(recipient) <= 254))),
    CONSTRAINT mails_state_known CHECK ((state = ANY (ARRAY['waiting'::text, 'sent'::text, 'failed'::text, 'dropped'::text])))
);

CREATE TABLE public.memberships (
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT memberships_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT memberships_role_known CHECK ((role = ANY (ARRAY['owner'::text, 'admin'::text, 'developer'::text, 'viewer'::text])))
);

CREATE TABLE public.one_time_tokens (
    token_hash bytea NOT NULL,
    purpose text NOT NULL,
    email text NOT NULL,
    user_id uuid,
    account_id uuid,
    subject_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    CONSTRAINT one_time_tokens_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT one_time_tokens_expires_at_finite CHECK (isfinite(expires_at)),
    CONSTRAINT one_time_tokens_purpose_known CHECK ((purpose = ANY (ARRAY['password_reset'::text, 'email_verification'::text, 'email_change'::text, 'sign_up'::text, 'invitation'::text]))),
    CONSTRAINT one_time_tokens_token_hash_length CHECK ((length(token_hash) = 32)),
    CONSTRAINT one_time_tokens_used_at_finite CHECK (isfinite(used_at))
);

CREATE TABLE public.packed_account_usage (
    account_id uuid NOT NULL,
    day date NOT NULL,
    verified_count bigint NOT NULL,
    denied_count bigint NOT NULL,
    reported_count bigint NOT NULL,
    error_count bigint NOT NULL,
    success_count bigint NOT NULL,
    total_latency_ms double precision NOT NULL,
    latency_count bigint NOT NULL,
    latency text,
    endpoints smallint[] NOT NULL,
    verified bigint[],
    denied bigint[],
    reported bigint[],
    errors bigint[],
    successes bigint[],
    latency_sums double precision[],
    latency_counts bigint[],
    CONSTRAINT packed_account_usage_day_finite CHECK (isfinite(day))
)
PARTITION BY RANGE (day);

CREATE TABLE public.packed_account_usage_default (
    account_id uuid NOT NULL,
    day date NOT NULL,
    verified_count bigint NOT NULL,
    denied_count bigint NOT NULL,
    reported_count bigint NOT NULL,
    error_count bigint NOT NULL,
    success_count bigint NOT NULL,
    total_latency_ms double precision NOT NULL,
    latency_count bigint NOT NULL,
    latency text,
    endpoints smallint[] NOT NULL,
    verified bigint[],
    denied bigint[],
    reported bigint[],
    errors bigint[],
    successes bigint[],
    latency_sums double precision[],
    latency_counts bigint[],
    CONSTRAINT packed_account_usage_day_finite CHECK (isfinite(day))
);

CREATE TABLE public.packed_usage_default (
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    day date NOT NULL,
    verified_count bigint NOT NULL,
    denied_count bigint NOT NULL,
    reported_count bigint NOT NULL,
    error_count bigint NOT NULL,
    success_count bigint NOT NULL,
    total_latency_ms double precision NOT NULL,
    latency_count bigint NOT NULL,
    latency text,
    endpoints smallint[] NOT NULL,
    verified integer[],
    denied integer[],
    reported integer[],
    errors integer[],
    latency_sums double precision[],
    latency_counts integer[],
    latencies text[],
    CONSTRAINT packed_usage_day_finite CHECK (isfinite(day))
);

CREATE TABLE public.packed_usage_totals (
    day date NOT NULL,
    success_count bigint NOT NULL,
    error_count bigint NOT NULL,
    denied_count bigint NOT NULL,
    CONSTRAINT packed_usage_totals_day_finite CHECK (isfinite(day))
);

CREATE UNLOGGED TABLE public.rate_limit_counts (
    slot smallint NOT NULL,
    subject_id uuid NOT NULL,
    limit_digest bigint NOT NULL,
    window_index bigint NOT NULL,
    instance_id uuid NOT NULL,
    used bigint NOT NULL
)
PARTITION BY LIST (slot);

CREATE UNLOGGED TABLE public.rate_limit_counts_0 (
    slot smallint NOT NULL,
    subject_id uuid NOT NULL,
    limit_digest bigint NOT NULL,
    window_index bigint NOT NULL,
    instance_id uuid NOT NULL,
    used bigint NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.rate_limit_windows (
    subject_id uuid NOT NULL,
    limit_digest bigint NOT NULL,
    window_seconds integer NOT NULL,
    window_index bigint NOT NULL,
    used bigint NOT NULL,
    used_before bigint NOT NULL,
    window_milliseconds bigint,
    refill bigint
)
WITH (fillfactor='50');

CREATE VIEW public.running_invalidation_server AS
 SELECT pg_postmaster_start_time() AS postmaster_started_at,
    ('public.invalidation_head'::regclass)::oid AS head_oid;

CREATE TABLE public.schema_migrations (
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    compatible_from integer NOT NULL
);

CREATE TABLE public.second_factors (
    person_id uuid GENERATED ALWAYS AS (COALESCE(user_id, staff_id)) STORED NOT NULL,
    user_id uuid,
    staff_id uuid,
    sealed_secret bytea NOT NULL,
    last_step bigint DEFAULT 0 NOT NULL,
    confirmed_at timestamp with time zone,
    recovery_code_hashes bytea[] DEFAULT '{}'::bytea[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT second_factors_confirmed_at_finite CHECK (isfinite(confirmed_at)),
    CONSTRAINT second_factors_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT second_factors_one_person CHECK ((num_nonnulls(user_id, staff_id) = 1)),
    CONSTRAINT second_factors_recovery_codes_count CHECK ((cardinality(recovery_code_hashes) <= 10)),
    CONSTRAINT second_factors_sealed_secret_length CHECK ((length(sealed_secret) = 48))
);

CREATE TABLE public.service_token_activity (
    token_id uuid NOT NULL,
    last_used_at timestamp with time zone NOT NULL,
    CONSTRAINT service_token_activity_last_used_at_finite CHECK (isfinite(last_used_at))
)
WITH (fillfactor='50');

CREATE TABLE public.service_tokens (
    id uuid NOT NULL,
    name text NOT NULL,
    token_hash bytea NOT NULL,
    permissions text[] NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    environment text,
    rolled_at timestamp with time zone,
    replaces_id uuid,
    api_ids uuid[],
    CONSTRAINT service_tokens_accounts_unrestricted CHECK ((((environment IS NULL) AND (api_ids IS NULL)) OR (NOT ('accounts.write'::text = ANY (permissions))))),
    CONSTRAINT service_tokens_api_ids_count CHECK (((cardinality(api_ids) >= 1) AND (cardinality(api_ids) <= 64))),
    CONSTRAINT service_tokens_audit_unrestricted CHECK ((((environment IS NULL) AND (api_ids IS NULL)) OR (NOT ('audit.read'::text = ANY (permissions))))),
    CONSTRAINT service_tokens_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT service_tokens_environment_known CHECK ((environment = ANY (ARRAY['live'::text, 'test'::text]))),
    CONSTRAINT service_tokens_expires_at_finite CHECK (isfinite(expires_at)),
    CONSTRAINT service_tokens_imports_unrestricted CHECK ((((environment IS NULL) AND (api_ids IS NULL)) OR (NOT (permissions && ARRAY['keys.import'::text, 'keys.export'::text])))),
    CONSTRAINT service_tokens_limits_unrestricted CHECK ((((environment IS NULL) AND (api_ids IS NULL)) OR (NOT (permissions && ARRAY['limits.use'::text, 'limits.write'::text])))),
    CONSTRAINT service_tokens_name_length CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT service_tokens_permissions_known CHECK (((cardinality(permissions) > 0) AND (permissions <@ ARRAY['keys.verify'::text, 'usage.write'::text, 'keys.read'::text, 'keys.write'::text, 'analytics.read'::text, 'catalog.read'::text, 'catalog.write'::text, 'keys.grant'::text, 'accounts.read'::text, 'accounts.write'::text, 'limits.use'::text, 'limits.write'::text, 'audit.read'::text, 'keys.import'::text, 'keys.export'::text]))),
    CONSTRAINT service_tokens_revoked_at_finite CHECK (isfinite(revoked_at)),
    CONSTRAINT service_tokens_rolled_at_finite CHECK (isfinite(rolled_at)),
    CONSTRAINT service_tokens_token_hash_length CHECK ((length(token_hash) = 32)),
    CONSTRAINT service_tokens_unrestricted CHECK ((((environment IS NULL) AND (api_ids IS NULL)) OR (NOT (permissions && ARRAY['analytics.read'::text, 'catalog.read'::text, 'catalog.write'::text]))))
);

CREATE TABLE public.sessions (
    token_hash bytea NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    ip inet,
    user_agent text,
    CONSTRAINT sessions_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT sessions_expires_at_finite CHECK (isfinite(expires_at)),
    CONSTRAINT sessions_last_seen_at_finite CHECK (isfinite(last_seen_at)),
    CONSTRAINT sessions_token_hash_length CHECK ((length(token_hash) = 32)),
    CONSTRAINT sessions_user_agent_length CHECK ((length(user_agent) <= 256))
);

CREATE TABLE public.settings_history (
    id bigint NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    account_id uuid,
    until timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    settings jsonb NOT NULL,
    CONSTRAINT settings_history_kind_known CHECK ((kind = ANY (ARRAY['beginning'::text, 'key'::text, 'account'::text, 'plan'::text, 'api'::text, 'permission'::text, 'role'::text, 'key_roles'::text, 'key_permissions'::text, 'role_permissions'::text]))),
    CONSTRAINT settings_history_subject_length CHECK (((length(subject) >= 1) AND (length(subject) <= 100))),
    CONSTRAINT settings_history_until_finite CHECK (isfinite(until))
);

ALTER TABLE public.settings_history ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.settings_history_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.signups (
    id uuid NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    account_name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT signups_account_name_length CHECK (((length(account_name) >= 1) AND (length(account_name) <= 100))),
    CONSTRAINT signups_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT signups_email_lower CHECK (((email = lower(email)) AND ((length(email) >= 3) AND (length(email) <= 254))))
);

CREATE TABLE public.staff (
    id uuid NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    password_hash text NOT NULL,
    disabled_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revision bigint DEFAULT 1 NOT NULL,
    CONSTRAINT staff_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT staff_disabled_at_finite CHECK (isfinite(disabled_at)),
    CONSTRAINT staff_email_lower CHECK (((email = lower(email)) AND ((length(email) >= 3) AND (length(email) <= 254)))),
    CONSTRAINT staff_name_length CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT staff_role_known CHECK ((role = ANY (ARRAY['support'::text, 'admin'::text])))
);

CREATE TABLE public.staff_confirmations (
    id uuid NOT NULL,
    account_id uuid,
    key_count integer NOT NULL,
    requester_id uuid NOT NULL,
    requester_name text NOT NULL,
    reason text NOT NULL,
    ticket text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    key_ids uuid[],
    CONSTRAINT staff_confirmations_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT staff_confirmations_expires_at_finite CHECK (isfinite(expires_at)),
    CONSTRAINT staff_confirmations_key_count_positive CHECK ((key_count > 0)),
    CONSTRAINT staff_confirmations_key_ids_count CHECK (((cardinality(key_ids) >= 1) AND (cardinality(key_ids) <= 1000))),
    CONSTRAINT staff_confirmations_reason_length CHECK (((length(reason) >= 3) AND (length(reason) <= 500))),
    CONSTRAINT staff_confirmations_requester_name_length CHECK (((length(requester_name) >= 1) AND (length(requester_name) <= 100))),
    CONSTRAINT staff_confirmations_subject CHECK (((account_id IS NULL) = (key_ids IS NOT NULL))),
    CONSTRAINT staff_confirmations_ticket_length CHECK (((length(ticket) >= 1) AND (length(ticket) <= 100)))
);

CREATE TABLE public.staff_sessions (
    token_hash bytea NOT NULL,
    staff_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    ip inet,
    user_agent text,
    CONSTRAINT staff_sessions_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT staff_sessions_expires_at_finite CHECK (isfinite(expires_at)),
    CONSTRAINT staff_sessions_last_seen_at_finite CHECK (isfinite(last_seen_at)),
    CONSTRAINT staff_sessions_token_hash_length CHECK ((length(token_hash) = 32)),
    CONSTRAINT staff_sessions_user_agent_length CHECK ((length(user_agent) <= 256))
);

CREATE TABLE public.usage_batches (
    token_id uuid NOT NULL,
    batch_id text NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT usage_batches_batch_id_length CHECK (((length(batch_id) >= 1) AND (length(batch_id) <= 255))),
    CONSTRAINT usage_batches_received_at_finite CHECK (isfinite(received_at))
);

CREATE VIEW public.usage_by_account WITH (security_invoker='true') AS
 SELECT key_usage.account_id,
    key_usage.day,
    key_usage.verified_count,
    key_usage.denied_count,
    key_usage.reported_count,
    key_usage.success_count,
    key_usage.error_count,
    key_usage.total_latency_ms,
    key_usage.latency_count,
    key_usage.latency_buckets
   FROM public.key_usage
UNION ALL
 SELECT packed_account_usage.account_id,
    packed_account_usage.day,
    packed_account_usage.verified_count,
    packed_account_usage.denied_count,
    packed_account_usage.reported_count,
    packed_account_usage.success_count,
    packed_account_usage.error_count,
    packed_account_usage.total_latency_ms,
    packed_account_usage.latency_count,
    public.unpack_latency_buckets(packed_account_usage.latency) AS latency_buckets
   FROM public.packed_account_usage;

CREATE VIEW public.usage_by_endpoint WITH (security_invoker='true') AS
 SELECT key_usage.account_id,
    key_usage.key_id,
    key_usage.day,
    key_usage.endpoint,
    key_usage.verified_count,
    key_usage.denied_count,
    key_usage.reported_count,
    key_usage.success_count,
    key_usage.error_count,
    key_usage.total_latency_ms,
    key_usage.latency_count,
    key_usage.latency_buckets
   FROM public.key_usage
UNION ALL
 SELECT packed.account_id,
    packed.key_id,
    packed.day,
    COALESCE(known.endpoint, 'other'::text) AS endpoint,
    (COALESCE(packed.verified, 0))::bigint AS verified_count,
    (COALESCE(packed.denied, 0))::bigint AS denied_count,
    (COALESCE(packed.reported, 0))::bigint AS reported_count,
    ((GREATEST(COALESCE(packed.verified, 0), COALESCE(packed.reported, 0)))::bigint - COALESCE(packed.errors, 0)) AS success_count,
    (COALESCE(packed.errors, 0))::bigint AS error_count,
    COALESCE(packed.latency_sum, (0)::double precision) AS total_latency_ms,
    (COALESCE(packed.latency_count, 0))::bigint AS latency_count,
    public.unpack_latency_buckets(packed.latency) AS latency_buckets
   FROM (( SELECT packed_usage.account_id,
            packed_usage.key_id,
            packed_usage.day,
            unnest(packed_usage.endpoints) AS number,
            unnest(packed_usage.verified) AS verified,
            unnest(packed_usage.denied) AS denied,
            unnest(packed_usage.reported) AS reported,
            unnest(packed_usage.errors) AS errors,
            unnest(packed_usage.latency_sums) AS latency_sum,
            unnest(packed_usage.latency_counts) AS latency_count,
            unnest(packed_usage.latencies) AS latency
           FROM public.packed_usage) packed
     LEFT JOIN public.account_endpoints known ON (((known.account_id = packed.account_id) AND (known.number = packed.number))));

CREATE VIEW public.usage_by_key WITH (security_invoker='true') AS
 SELECT key_usage.account_id,
    key_usage.key_id,
    key_usage.day,
    key_usage.verified_count,
    key_usage.denied_count,
    key_usage.reported_count,
    key_usage.success_count,
    key_usage.error_count,
    key_usage.total_latency_ms,
    key_usage.latency_count,
    key_usage.latency_buckets
   FROM public.key_usage
UNION ALL
 SELECT packed_usage.account_id,
    packed_usage.key_id,
    packed_usage.day,
    packed_usage.verified_count,
    packed_usage.denied_count,
    packed_usage.reported_count,
    packed_usage.success_count,
    packed_usage.error_count,
    packed_usage.total_latency_ms,
    packed_usage.latency_count,
    public.unpack_latency_buckets(packed_usage.latency) AS latency_buckets
   FROM public.packed_usage;

CREATE VIEW public.usage_complete_v1 AS
 SELECT LEAST(COALESCE(
        CASE
            WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp()
            ELSE NULL::timestamp with time zone
        END, now()), min(COALESCE(instances.usage_complete_through, instances.started_at))) AS complete_through
   FROM public.instances
  WHERE (instances.heartbeat_at > (now() - '01:00:00'::interval));

COMMENT ON VIEW public.usage_complete_v1 IS 'One row: until when the numbers of usage are final.';

COMMENT ON COLUMN public.usage_complete_v1.complete_through IS 'Every instance heard of within the last hour has written all that it counted before this moment.';

CREATE VIEW public.usage_daily_v1 AS
 SELECT all_usage_by_key.day,
    all_usage_by_key.account_id,
    all_usage_by_key.key_id,
    (sum(all_usage_by_key.success_count))::bigint AS successes,
    (sum(all_usage_by_key.error_count))::bigint AS errors,
    (sum(all_usage_by_key.denied_count))::bigint AS denied,
    (sum(((all_usage_by_key.success_count + all_usage_by_key.error_count) + all_usage_by_key.denied_count)))::bigint AS requests,
    sum(all_usage_by_key.total_latency_ms) AS latency_sum_ms,
    (sum(all_usage_by_key.latency_count))::bigint AS latency_count,
    public.latency_percentile(public.sum_latency_buckets(all_usage_by_key.latency_buckets), (0.95)::double precision) AS p95_latency_ms
   FROM public.all_usage_by_key
  GROUP BY all_usage_by_key.day, all_usage_by_key.account_id, all_usage_by_key.key_id;

COMMENT ON VIEW public.usage_daily_v1 IS 'Requests by day (UTC), account and key.';

COMMENT ON COLUMN public.usage_daily_v1.day IS 'The day, in UTC.';

COMMENT ON COLUMN public.usage_daily_v1.account_id IS 'Whose key it is: accounts_v1.id.';

COMMENT ON COLUMN public.usage_daily_v1.key_id IS 'The key: keys_v1.id.';

COMMENT ON COLUMN public.usage_daily_v1.successes IS 'Requests let through that did not fail.';

COMMENT ON COLUMN public.usage_daily_v1.errors IS 'Requests let through whose reported status was 400 or more.';

COMMENT ON COLUMN public.usage_daily_v1.denied IS 'Requests that were refused.';

COMMENT ON COLUMN public.usage_daily_v1.requests IS 'The sum of successes, errors and denied.';

COMMENT ON COLUMN public.usage_daily_v1.latency_sum_ms IS 'Milliseconds of all requests with a reported latency. An average is sum(latency_sum_ms) / sum(latency_count).';

COMMENT ON COLUMN public.usage_daily_v1.latency_count IS 'Requests with a reported latency.';

COMMENT ON COLUMN public.usage_daily_v1.p95_latency_ms IS 'Milliseconds that 95 % of them did not exceed, within 5 %. Does not add up: neither sums nor averages of it mean anything.';

CREATE VIEW public.usage_endpoints_daily_v1 AS
 SELECT all_usage_by_endpoint.day,
    all_usage_by_endpoint.account_id,
    all_usage_by_endpoint.key_id,
    all_usage_by_endpoint.endpoint,
    (sum(all_usage_by_endpoint.success_count))::bigint AS successes,
    (sum(all_usage_by_endpoint.error_count))::bigint AS errors,
    (sum(all_usage_by_endpoint.denied_count))::bigint AS denied,
    (sum(((all_usage_by_endpoint.success_count + all_usage_by_endpoint.error_count) + all_usage_by_endpoint.denied_count)))::bigint AS requests,
    sum(all_usage_by_endpoint.total_latency_ms) AS latency_sum_ms,
    (sum(all_usage_by_endpoint.latency_count))::bigint AS latency_count,
    public.latency_percentile(public.sum_latency_buckets(all_usage_by_endpoint.latency_buckets), (0.95)::double precision) AS p95_latency_ms
   FROM public.all_usage_by_endpoint
  GROUP BY all_usage_by_endpoint.day, all_usage_by_endpoint.account_id, all_usage_by_endpoint.key_id, all_usage_by_endpoint.endpoint;

COMMENT ON VIEW public.usage_endpoints_daily_v1 IS 'Requests by day (UTC), account, key and endpoint. Larger than usage_daily_v1.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.day IS 'The day, in UTC.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.account_id IS 'Whose key it is: accounts_v1.id.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.key_id IS 'The key: keys_v1.id.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.endpoint IS 'As the gateway named it; "other" for what came beyond the 500 names of an account.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.successes IS 'Requests let through that did not fail.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.errors IS 'Requests let through whose reported status was 400 or more.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.denied IS 'Requests that were refused.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.requests IS 'The sum of successes, errors and denied.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.latency_sum_ms IS 'Milliseconds of all requests with a reported latency.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.latency_count IS 'Requests with a reported latency.';

COMMENT ON COLUMN public.usage_endpoints_daily_v1.p95_latency_ms IS 'Milliseconds that 95 % of them did not exceed, within 5 %. Does not add up.';

CREATE VIEW public.usage_hourly_v1 AS
 SELECT account_usage_hours.hour,
    account_usage_hours.account_id,
    account_usage_hours.success_count AS successes,
    account_usage_hours.error_count AS errors,
    account_usage_hours.denied_count AS denied,
    ((account_usage_hours.success_count + account_usage_hours.error_count) + account_usage_hours.denied_count) AS requests,
    account_usage_hours.total_latency_ms AS latency_sum_ms,
    account_usage_hours.latency_count,
    public.latency_percentile(account_usage_hours.latency_buckets, (0.95)::double precision) AS p95_latency_ms
   FROM public.account_usage_hours;

COMMENT ON VIEW public.usage_hourly_v1 IS 'Requests by hour and account.';

COMMENT ON COLUMN public.usage_hourly_v1.hour IS 'When the hour begins.';

COMMENT ON COLUMN public.usage_hourly_v1.account_id IS 'Whose keys they are: accounts_v1.id.';

COMMENT ON COLUMN public.usage_hourly_v1.successes IS 'Requests let through that did not fail.';

COMMENT ON COLUMN public.usage_hourly_v1.errors IS 'Requests let through whose reported status was 400 or more.';

COMMENT ON COLUMN public.usage_hourly_v1.denied IS 'Requests that were refused.';

COMMENT ON COLUMN public.usage_hourly_v1.requests IS 'The sum of successes, errors and denied.';

COMMENT ON COLUMN public.usage_hourly_v1.latency_sum_ms IS 'Milliseconds of all requests with a reported latency.';

COMMENT ON COLUMN public.usage_hourly_v1.latency_count IS 'Requests with a reported latency.';

COMMENT ON COLUMN public.usage_hourly_v1.p95_latency_ms IS 'Milliseconds that 95 % of them did not exceed, within 5 %. Does not add up.';

CREATE TABLE public.usage_sources (
    id uuid NOT NULL,
    flushed_number bigint NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT usage_sources_updated_at_finite CHECK (isfinite(updated_at))
)
WITH (fillfactor='50');

CREATE TABLE public.users (
    id uuid NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    email_verified_at timestamp with time zone,
    CONSTRAINT users_created_at_finite CHECK (isfinite(created_at)),
    CONSTRAINT users_email_lower CHECK (((email = lower(email)) AND ((length(email) >= 3) AND (length(email) <= 254)))),
    CONSTRAINT users_email_verified_at_finite CHECK (isfinite(email_verified_at))
);

ALTER TABLE ONLY public.key_usage ATTACH PARTITION public.key_usage_default DEFAULT;

ALTER TABLE ONLY public.packed_account_usage ATTACH PARTITION public.packed_account_usage_default DEFAULT;

ALTER TABLE ONLY public.packed_usage ATTACH PARTITION public.packed_usage_default DEFAULT;

ALTER TABLE ONLY public.rate_limit_counts ATTACH PARTITION public.rate_limit_counts_0 FOR VALUES IN ('0');

ALTER TABLE ONLY public.account_endpoints
    ADD CONSTRAINT account_endpoints_number_unique UNIQUE (account_id, number);

ALTER TABLE ONLY public.account_endpoints
    ADD CONSTRAINT account_endpoints_pkey PRIMARY KEY (account_id, endpoint);

ALTER TABLE ONLY public.account_requests
    ADD CONSTRAINT account_requests_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY public.account_usage_hours
    ADD CONSTRAINT account_usage_hours_pkey PRIMARY KEY (account_id, hour);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_key_hash_unique UNIQUE (key_hash);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.apis
    ADD CONSTRAINT apis_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.apis
    ADD CONSTRAINT apis_slug_unique UNIQUE (slug);

ALTER TABLE ONLY public.attempt_counts
    ADD CONSTRAINT attempt_counts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.audit_events
    ADD CONSTRAINT audit_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.audit_heads
    ADD CONSTRAINT audit_heads_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY public.credit_holders
    ADD CONSTRAINT credit_holders_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.credit_leases
    ADD CONSTRAINT credit_leases_pkey PRIMARY KEY (credits_id, holder_id);

ALTER TABLE ONLY public.credits
    ADD CONSTRAINT credits_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY public.idempotent_requests
    ADD CONSTRAINT idempotent_requests_pkey PRIMARY KEY (account_id, key_hash);

ALTER TABLE ONLY public.import_forms
    ADD CONSTRAINT import_forms_pkey PRIMARY KEY (form);

ALTER TABLE ONLY public.installation
    ADD CONSTRAINT installation_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.invalidation_head
    ADD CONSTRAINT invalidation_head_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.invalidation_log
    ADD CONSTRAINT invalidation_log_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.invalidation_log
    ADD CONSTRAINT invalidation_log_seq_unique UNIQUE (seq);

ALTER TABLE ONLY public.invalidation_server
    ADD CONSTRAINT invalidation_server_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.key_activity
    ADD CONSTRAINT key_activity_pkey PRIMARY KEY (account_id, key_id);

ALTER TABLE ONLY public.key_expiry_notices
    ADD CONSTRAINT key_expiry_notices_pkey PRIMARY KEY (key_id, expires_at, days);

ALTER TABLE ONLY public.key_permissions
    ADD CONSTRAINT key_permissions_pkey PRIMARY KEY (key_id, permission_id);

ALTER TABLE ONLY public.key_policies
    ADD CONSTRAINT key_policies_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY public.key_roles
    ADD CONSTRAINT key_roles_pkey PRIMARY KEY (key_id, role_id);

ALTER TABLE ONLY public.key_usage
    ADD CONSTRAINT key_usage_pkey PRIMARY KEY (account_id, key_id, day, endpoint);

ALTER TABLE ONLY public.key_usage_default
    ADD CONSTRAINT key_usage_default_pkey PRIMARY KEY (account_id, key_id, day, endpoint);

ALTER TABLE ONLY public.limit_namespaces
    ADD CONSTRAINT limit_namespaces_name_hash_unique UNIQUE (name_hash);

ALTER TABLE ONLY public.limit_namespaces
    ADD CONSTRAINT limit_namespaces_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.limit_overrides
    ADD CONSTRAINT limit_overrides_identifier_unique UNIQUE (namespace_id, identifier);

ALTER TABLE ONLY public.limit_overrides
    ADD CONSTRAINT limit_overrides_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.long_rate_limit_counts
    ADD CONSTRAINT long_rate_limit_counts_pkey PRIMARY KEY (subject_id, limit_digest, window_index, instance_id);

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_pkey PRIMARY KEY (user_id, account_id);

ALTER TABLE ONLY public.one_time_tokens
    ADD CONSTRAINT one_time_tokens_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY public.packed_account_usage
    ADD CONSTRAINT packed_account_usage_pkey PRIMARY KEY (account_id, day);

ALTER TABLE ONLY public.packed_account_usage_default
    ADD CONSTRAINT packed_account_usage_default_pkey PRIMARY KEY (account_id, day);

ALTER TABLE ONLY public.packed_usage
    ADD CONSTRAINT packed_usage_pkey PRIMARY KEY (account_id, key_id, day);

ALTER TABLE ONLY public.packed_usage_default
    ADD CONSTRAINT packed_usage_default_pkey PRIMARY KEY (account_id, key_id, day);

ALTER TABLE ONLY public.packed_usage_totals
    ADD CONSTRAINT packed_usage_totals_pkey PRIMARY KEY (day);

ALTER TABLE ONLY public.permissions
    ADD CONSTRAINT permissions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.permissions
    ADD CONSTRAINT permissions_slug_unique UNIQUE (slug);

ALTER TABLE ONLY public.plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.rate_limit_counts
    ADD CONSTRAINT rate_limit_counts_pkey PRIMARY KEY (slot, subject_id, limit_digest, window_index, instance_id);

ALTER TABLE ONLY public.rate_limit_counts_0
    ADD CONSTRAINT rate_limit_counts_0_pkey PRIMARY KEY (slot, subject_id, limit_digest, window_index, instance_id);

ALTER TABLE ONLY public.rate_limit_windows
    ADD CONSTRAINT rate_limit_windows_pkey PRIMARY KEY (subject_id, limit_digest);

ALTER TABLE ONLY public.role_permissions
    ADD CONSTRAINT role_permissions_pkey PRIMARY KEY (role_id, permission_id);

ALTER TABLE ONLY public.roles
    ADD CONSTRAINT roles_name_unique UNIQUE (name);

ALTER TABLE ONLY public.roles
    ADD CONSTRAINT roles_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.second_factors
    ADD CONSTRAINT second_factors_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY public.second_factors
    ADD CONSTRAINT second_factors_staff_id_unique UNIQUE (staff_id);

ALTER TABLE ONLY public.second_factors
    ADD CONSTRAINT second_factors_user_id_unique UNIQUE (user_id);

ALTER TABLE ONLY public.service_token_activity
    ADD CONSTRAINT service_token_activity_pkey PRIMARY KEY (token_id);

ALTER TABLE ONLY public.service_tokens
    ADD CONSTRAINT service_tokens_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.service_tokens
    ADD CONSTRAINT service_tokens_replaces_unique UNIQUE (replaces_id);

ALTER TABLE ONLY public.service_tokens
    ADD CONSTRAINT service_tokens_token_hash_unique UNIQUE (token_hash);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_id_unique UNIQUE (id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY public.settings_history
    ADD CONSTRAINT settings_history_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.signups
    ADD CONSTRAINT signups_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.staff_confirmations
    ADD CONSTRAINT staff_confirmations_account_unique UNIQUE (account_id);

ALTER TABLE ONLY public.staff_confirmations
    ADD CONSTRAINT staff_confirmations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.staff
    ADD CONSTRAINT staff_email_unique UNIQUE (email);

ALTER TABLE ONLY public.staff
    ADD CONSTRAINT staff_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.staff_sessions
    ADD CONSTRAINT staff_sessions_id_unique UNIQUE (id);

ALTER TABLE ONLY public.staff_sessions
    ADD CONSTRAINT staff_sessions_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY public.usage_batches
    ADD CONSTRAINT usage_batches_pkey PRIMARY KEY (token_id, batch_id);

ALTER TABLE ONLY public.usage_sources
    ADD CONSTRAINT usage_sources_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_email_unique UNIQUE (email);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

CREATE INDEX account_requests_created_at_idx ON public.account_requests USING btree (created_at);

CREATE INDEX account_requests_key_hash_idx ON public.account_requests USING btree (key_hash);

CREATE INDEX account_usage_hours_hour_idx ON public.account_usage_hours USING btree (hour);

CREATE INDEX accounts_credits_idx ON public.accounts USING btree (credits_id) WHERE (credits_id IS NOT NULL);

CREATE UNIQUE INDEX accounts_external_id_unique ON public.accounts USING btree (external_id) WHERE (deleted_at IS NULL);

CREATE UNIQUE INDEX accounts_house_api_unique ON public.accounts USING btree (house_api_id) WHERE (deleted_at IS NULL);

CREATE INDEX accounts_name_trigram_idx ON public.accounts USING gin (name public.gin_trgm_ops);

CREATE INDEX api_keys_account_idx ON public.api_keys USING btree (account_id, id DESC);

CREATE INDEX api_keys_api_idx ON public.api_keys USING btree (api_id) WHERE (api_id IS NOT NULL);

CREATE INDEX api_keys_credits_idx ON public.api_keys USING btree (credits_id) WHERE (credits_id IS NOT NULL);

CREATE INDEX api_keys_expires_at_idx ON public.api_keys USING btree (expires_at) WHERE ((expires_at IS NOT NULL) AND (revoked_at IS NULL) AND (rolled_at IS NULL));

CREATE UNIQUE INDEX api_keys_import_hash_unique ON public.api_keys USING btree (import_form, import_hash) WHERE (import_hash IS NOT NULL);

CREATE INDEX api_keys_key_start_idx ON public.api_keys USING btree (key_start text_pattern_ops);

CREATE INDEX audit_events_account_idx ON public.audit_events USING btree (account_id, id DESC);

CREATE INDEX audit_events_action_idx ON public.audit_events USING btree (account_id, action, id DESC);

CREATE INDEX audit_events_actor_idx ON public.audit_events USING btree (account_id, actor_id, id DESC);

CREATE INDEX audit_events_actor_kind_idx ON public.audit_events USING btree (account_id, actor_kind, id DESC) WHERE (actor_kind <> 'user'::text);

CREATE INDEX audit_events_at_idx ON public.audit_events USING btree (account_id, at);

CREATE UNIQUE INDEX audit_events_chain_unique ON public.audit_events USING btree (account_id NULLS FIRST, seq) NULLS NOT DISTINCT;

CREATE INDEX audit_events_target_idx ON public.audit_events USING btree (account_id, target_id, id DESC);

CREATE INDEX credit_leases_account_idx ON public.credit_leases USING btree (account_id) WHERE (granted > settled);

CREATE INDEX credit_leases_holder_idx ON public.credit_leases USING btree (holder_id);

CREATE INDEX credits_refill_at_idx ON public.credits USING btree (refill_at) WHERE (refill_at IS NOT NULL);

CREATE INDEX erasures_unfinished_idx ON public.erasures USING btree (created_at) WHERE (finished_at IS NULL);

CREATE INDEX idempotent_requests_created_at_idx ON public.idempotent_requests USING btree (created_at);

CREATE INDEX idempotent_requests_sealed_secret_idx ON public.idempotent_requests USING btree (created_at) WHERE (sealed_secret IS NOT NULL);

CREATE INDEX invalidation_log_at_idx ON public.invalidation_log USING btree (at);

CREATE INDEX invitations_account_idx ON public.invitations USING btree (account_id, id DESC);

CREATE UNIQUE INDEX invitations_open_unique ON public.invitations USING btree (account_id, email) WHERE ((accepted_at IS NULL) AND (revoked_at IS NULL));

CREATE INDEX key_activity_busy_idx ON public.key_activity USING btree (magnitude) WHERE (magnitude IS NOT NULL);

CREATE INDEX key_activity_idle_idx ON public.key_activity USING btree (key_id, idle_since);

CREATE INDEX key_permissions_permission_idx ON public.key_permissions USING btree (permission_id);

CREATE INDEX key_roles_role_idx ON public.key_roles USING btree (role_id);

CREATE INDEX limit_overrides_namespace_idx ON public.limit_overrides USING btree (namespace_id, id);

CREATE INDEX long_rate_limit_counts_ended_at_idx ON public.long_rate_limit_counts USING btree (ended_at);

CREATE INDEX mails_due_at_idx ON public.mails USING btree (due_at) WHERE (state = 'waiting'::text);

CREATE INDEX mails_finished_at_idx ON public.mails USING btree (finished_at) WHERE (finished_at IS NOT NULL);

CREATE INDEX mails_recipient_idx ON public.mails USING btree (recipient, kind, created_at);

CREATE INDEX memberships_account_idx ON public.memberships USING btree (account_id);

CREATE INDEX one_time_tokens_account_idx ON public.one_time_tokens USING btree (account_id) WHERE (account_id IS NOT NULL);

CREATE INDEX one_time_tokens_email_idx ON public.one_time_tokens USING btree (email, purpose);

CREATE INDEX one_time_tokens_expires_at_idx ON public.one_time_tokens USING btree (expires_at);

CREATE INDEX one_time_tokens_user_idx ON public.one_time_tokens USING btree (user_id) WHERE (user_id IS NOT NULL);

CREATE INDEX role_permissions_permission_idx ON public.role_permissions USING btree (permission_id);

CREATE INDEX sessions_expires_at_idx ON public.sessions USING btree (expires_at);

CREATE INDEX sessions_membership_idx ON public.sessions USING btree (user_id, account_id);

CREATE INDEX settings_history_subject_idx ON public.settings_history USING btree (kind, subject, id);

CREATE INDEX settings_history_until_idx ON public.settings_history USING btree (until);

CREATE INDEX signups_created_at_idx ON public.signups USING btree (created_at);

CREATE INDEX signups_email_idx ON public.signups USING btree (email);

CREATE INDEX staff_confirmations_expires_at_idx ON public.staff_confirmations USING btree (expires_at);

CREATE INDEX staff_sessions_expires_at_idx ON public.staff_sessions USING btree (expires_at);

CREATE INDEX staff_sessions_staff_idx ON public.staff_sessions USING btree (staff_id);

CREATE INDEX usage_batches_received_at_idx ON public.usage_batches USING btree (received_at);

CREATE INDEX users_email_trigram_idx ON public.users USING gin (email public.gin_trgm_ops);

ALTER INDEX public.key_usage_pkey ATTACH PARTITION public.key_usage_default_pkey;

ALTER INDEX public.packed_account_usage_pkey ATTACH PARTITION public.packed_account_usage_default_pkey;

ALTER INDEX public.packed_usage_pkey ATTACH PARTITION public.packed_usage_default_pkey;

ALTER INDEX public.rate_limit_counts_pkey ATTACH PARTITION public.rate_limit_counts_0_pkey;

CREATE TRIGGER accounts_invalidate_delete AFTER DELETE ON public.accounts REFERENCING OLD TABLE AS old_accounts FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_accounts();

CREATE TRIGGER accounts_invalidate_truncate AFTER TRUNCATE ON public.accounts FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_everything();

CREATE TRIGGER accounts_invalidate_update AFTER UPDATE ON public.accounts REFERENCING OLD TABLE AS old_accounts FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_accounts();

CREATE TRIGGER accounts_keep_delete AFTER DELETE ON public.accounts REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_accounts();

CREATE TRIGGER accounts_keep_update AFTER UPDATE ON public.accounts REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_accounts();

CREATE TRIGGER api_keys_invalidate_delete AFTER DELETE ON public.api_keys REFERENCING OLD TABLE AS old_keys FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_keys();

CREATE TRIGGER api_keys_invalidate_truncate AFTER TRUNCATE ON public.api_keys FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_everything();

CREATE TRIGGER api_keys_invalidate_update AFTER UPDATE ON public.api_keys REFERENCING OLD TABLE AS old_keys FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_keys();

CREATE TRIGGER api_keys_keep_delete AFTER DELETE ON public.api_keys REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_api_keys();

CREATE TRIGGER api_keys_keep_update AFTER UPDATE ON public.api_keys REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_api_keys();

CREATE TRIGGER api_keys_log_insert AFTER INSERT ON public.api_keys REFERENCING NEW TABLE AS new_keys FOR EACH STATEMENT EXECUTE FUNCTION public.log_new_keys();

CREATE TRIGGER api_keys_note_imports AFTER INSERT ON public.api_keys REFERENCING NEW TABLE AS new_keys FOR EACH STATEMENT EXECUTE FUNCTION public.note_import_forms();

CREATE TRIGGER api_keys_note_made_at AFTER UPDATE OF created_at ON public.api_keys FOR EACH ROW WHEN ((old.created_at IS DISTINCT FROM new.created_at)) EXECUTE FUNCTION public.note_made_at();

CREATE TRIGGER api_keys_note_new AFTER INSERT ON public.api_keys REFERENCING NEW TABLE AS new_keys FOR EACH STATEMENT EXECUTE FUNCTION public.note_new_keys();

CREATE TRIGGER api_keys_revision BEFORE UPDATE ON public.api_keys FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION public.count_key_revision();

CREATE TRIGGER apis_invalidate AFTER DELETE OR UPDATE OR TRUNCATE ON public.apis FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_catalog();

CREATE TRIGGER apis_keep_delete AFTER DELETE ON public.apis REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_apis();

CREATE TRIGGER apis_keep_update AFTER UPDATE ON public.apis REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_apis();

CREATE TRIGGER audit_events_advance AFTER INSERT ON public.audit_events REFERENCING NEW TABLE AS chained_events FOR EACH STATEMENT EXECUTE FUNCTION public.advance_audit_heads();

CREATE TRIGGER audit_events_append_only BEFORE DELETE OR UPDATE OF id, account_id, at, actor_kind, actor_id, action, target_kind, target_id, seq, prev_hash, hash, redacted_by, redacted_hashes OR TRUNCATE ON public.audit_events FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER audit_events_chain BEFORE INSERT ON public.audit_events FOR EACH ROW EXECUTE FUNCTION public.chain_audit_event();

CREATE TRIGGER audit_events_redact BEFORE UPDATE ON public.audit_events FOR EACH ROW EXECUTE FUNCTION public.redact_audit_event();

CREATE CONSTRAINT TRIGGER audit_events_redaction_told AFTER UPDATE ON public.audit_events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.check_audit_redaction();

CREATE TRIGGER audit_heads_append_only BEFORE DELETE OR TRUNCATE ON public.audit_heads FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER audit_heads_guard BEFORE INSERT OR UPDATE ON public.audit_heads FOR EACH STATEMENT EXECUTE FUNCTION public.guard_audit_heads();

CREATE TRIGGER credits_invalidate_delete AFTER DELETE ON public.credits FOR EACH ROW EXECUTE FUNCTION public.invalidate_credits();

CREATE TRIGGER credits_invalidate_truncate AFTER TRUNCATE ON public.credits FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_everything();

CREATE TRIGGER credits_invalidate_update AFTER UPDATE ON public.credits FOR EACH ROW WHEN ((old.revision IS DISTINCT FROM new.revision)) EXECUTE FUNCTION public.invalidate_credits();

CREATE CONSTRAINT TRIGGER import_forms_announce AFTER INSERT ON public.import_forms DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.announce_import_form();

CREATE CONSTRAINT TRIGGER invalidation_log_number AFTER INSERT ON public.invalidation_log DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.number_invalidation();

CREATE TRIGGER key_permissions_invalidate AFTER UPDATE OR TRUNCATE ON public.key_permissions FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_everything();

CREATE TRIGGER key_permissions_keep_delete AFTER DELETE ON public.key_permissions REFERENCING OLD TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_key_permissions();

CREATE TRIGGER key_permissions_keep_insert AFTER INSERT ON public.key_permissions REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_key_permissions();

CREATE TRIGGER key_permissions_touch_delete AFTER DELETE ON public.key_permissions REFERENCING OLD TABLE AS changed_grants FOR EACH STATEMENT EXECUTE FUNCTION public.touch_granted_keys();

CREATE TRIGGER key_permissions_touch_insert AFTER INSERT ON public.key_permissions REFERENCING NEW TABLE AS changed_grants FOR EACH STATEMENT EXECUTE FUNCTION public.touch_granted_keys();

CREATE TRIGGER key_roles_invalidate AFTER UPDATE OR TRUNCATE ON public.key_roles FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_everything();

CREATE TRIGGER key_roles_keep_delete AFTER DELETE ON public.key_roles REFERENCING OLD TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_key_roles();

CREATE TRIGGER key_roles_keep_insert AFTER INSERT ON public.key_roles REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_key_roles();

CREATE TRIGGER key_roles_touch_delete AFTER DELETE ON public.key_roles REFERENCING OLD TABLE AS changed_grants FOR EACH STATEMENT EXECUTE FUNCTION public.touch_granted_keys();

CREATE TRIGGER key_roles_touch_insert AFTER INSERT ON public.key_roles REFERENCING NEW TABLE AS changed_grants FOR EACH STATEMENT EXECUTE FUNCTION public.touch_granted_keys();

CREATE TRIGGER limit_namespaces_invalidate_delete AFTER DELETE ON public.limit_namespaces REFERENCING OLD TABLE AS old_namespaces FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_limit_namespaces();

CREATE TRIGGER limit_namespaces_invalidate_truncate AFTER TRUNCATE ON public.limit_namespaces FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_everything();

CREATE TRIGGER limit_namespaces_invalidate_update AFTER UPDATE ON public.limit_namespaces REFERENCING OLD TABLE AS old_namespaces FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_limit_namespaces();

CREATE TRIGGER limit_namespaces_log_insert AFTER INSERT ON public.limit_namespaces REFERENCING NEW TABLE AS new_namespaces FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_limit_namespaces();

CREATE TRIGGER limit_overrides_invalidate_delete AFTER DELETE ON public.limit_overrides REFERENCING OLD TABLE AS old_overrides FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_overridden_namespaces();

CREATE TRIGGER limit_overrides_invalidate_insert AFTER INSERT ON public.limit_overrides REFERENCING NEW TABLE AS new_overrides FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_overridden_namespaces();

CREATE TRIGGER limit_overrides_invalidate_truncate AFTER TRUNCATE ON public.limit_overrides FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_everything();

CREATE TRIGGER limit_overrides_invalidate_update AFTER UPDATE ON public.limit_overrides REFERENCING OLD TABLE AS old_overrides NEW TABLE AS new_overrides FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_overridden_namespaces();

CREATE TRIGGER packed_usage_sum_delete AFTER DELETE ON public.packed_usage REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION public.sum_packed_usage();

CREATE TRIGGER packed_usage_sum_insert AFTER INSERT ON public.packed_usage REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.sum_packed_usage();

CREATE TRIGGER packed_usage_sum_update AFTER UPDATE ON public.packed_usage REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.sum_packed_usage();

CREATE TRIGGER permissions_invalidate AFTER DELETE OR UPDATE OR TRUNCATE ON public.permissions FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_catalog();

CREATE TRIGGER permissions_keep_delete AFTER DELETE ON public.permissions REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_permissions();

CREATE TRIGGER permissions_keep_update AFTER UPDATE ON public.permissions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_permissions();

CREATE TRIGGER plans_invalidate AFTER DELETE OR UPDATE OR TRUNCATE ON public.plans FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_everything();

CREATE TRIGGER plans_keep_delete AFTER DELETE ON public.plans REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_plans();

CREATE TRIGGER plans_keep_update AFTER UPDATE ON public.plans REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_plans();

CREATE TRIGGER role_permissions_invalidate AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.role_permissions FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_catalog();

CREATE TRIGGER role_permissions_keep_delete AFTER DELETE ON public.role_permissions REFERENCING OLD TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_role_permissions();

CREATE TRIGGER role_permissions_keep_insert AFTER INSERT ON public.role_permissions REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_role_permissions();

CREATE TRIGGER roles_invalidate AFTER DELETE OR UPDATE OR TRUNCATE ON public.roles FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_catalog();

CREATE TRIGGER roles_keep_delete AFTER DELETE ON public.roles REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_roles();

CREATE TRIGGER roles_keep_update AFTER UPDATE ON public.roles REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.keep_roles();

CREATE TRIGGER service_tokens_invalidate_delete AFTER DELETE ON public.service_tokens REFERENCING OLD TABLE AS old_tokens FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_service_tokens();

CREATE TRIGGER service_tokens_invalidate_truncate AFTER TRUNCATE ON public.service_tokens FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_everything();

CREATE TRIGGER service_tokens_invalidate_update AFTER UPDATE ON public.service_tokens REFERENCING OLD TABLE AS old_tokens FOR EACH STATEMENT EXECUTE FUNCTION public.invalidate_service_tokens();

CREATE TRIGGER service_tokens_log_insert AFTER INSERT ON public.service_tokens REFERENCING NEW TABLE AS new_tokens FOR EACH STATEMENT EXECUTE FUNCTION public.log_new_service_tokens();

CREATE TRIGGER staff_revision BEFORE UPDATE ON public.staff FOR EACH ROW WHEN (((old.role IS DISTINCT FROM new.role) OR (old.disabled_at IS DISTINCT FROM new.disabled_at))) EXECUTE FUNCTION public.count_staff_revision();

ALTER TABLE ONLY public.account_requests
    ADD CONSTRAINT account_requests_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_credits_fkey FOREIGN KEY (credits_id) REFERENCES public.credits(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_house_api_fkey FOREIGN KEY (house_api_id) REFERENCES public.apis(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_plan_fkey FOREIGN KEY (plan) REFERENCES public.plans(name) ON UPDATE CASCADE;

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_api_fkey FOREIGN KEY (api_id) REFERENCES public.apis(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_credits_fkey FOREIGN KEY (credits_id) REFERENCES public.credits(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.audit_events
    ADD CONSTRAINT audit_events_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.credit_leases
    ADD CONSTRAINT credit_leases_credits_fkey FOREIGN KEY (credits_id) REFERENCES public.credits(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.credit_leases
    ADD CONSTRAINT credit_leases_holder_fkey FOREIGN KEY (holder_id) REFERENCES public.credit_holders(id);

ALTER TABLE ONLY public.credits
    ADD CONSTRAINT credits_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.idempotent_requests
    ADD CONSTRAINT idempotent_requests_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_plan_fkey FOREIGN KEY (plan) REFERENCES public.plans(name) ON UPDATE CASCADE;

ALTER TABLE ONLY public.key_permissions
    ADD CONSTRAINT key_permissions_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.key_permissions
    ADD CONSTRAINT key_permissions_key_fkey FOREIGN KEY (key_id) REFERENCES public.api_keys(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.key_permissions
    ADD CONSTRAINT key_permissions_permission_fkey FOREIGN KEY (permission_id) REFERENCES public.permissions(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.key_policies
    ADD CONSTRAINT key_policies_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.key_roles
    ADD CONSTRAINT key_roles_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.key_roles
    ADD CONSTRAINT key_roles_key_fkey FOREIGN KEY (key_id) REFERENCES public.api_keys(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.key_roles
    ADD CONSTRAINT key_roles_role_fkey FOREIGN KEY (role_id) REFERENCES public.roles(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.limit_overrides
    ADD CONSTRAINT limit_overrides_namespace_fkey FOREIGN KEY (namespace_id) REFERENCES public.limit_namespaces(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.one_time_tokens
    ADD CONSTRAINT one_time_tokens_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.one_time_tokens
    ADD CONSTRAINT one_time_tokens_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.role_permissions
    ADD CONSTRAINT role_permissions_permission_fkey FOREIGN KEY (permission_id) REFERENCES public.permissions(id);

ALTER TABLE ONLY public.role_permissions
    ADD CONSTRAINT role_permissions_role_fkey FOREIGN KEY (role_id) REFERENCES public.roles(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.second_factors
    ADD CONSTRAINT second_factors_staff_fkey FOREIGN KEY (staff_id) REFERENCES public.staff(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.second_factors
    ADD CONSTRAINT second_factors_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.service_token_activity
    ADD CONSTRAINT service_token_activity_token_fkey FOREIGN KEY (token_id) REFERENCES public.service_tokens(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.service_tokens
    ADD CONSTRAINT service_tokens_replaces_fkey FOREIGN KEY (replaces_id) REFERENCES public.service_tokens(id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_membership_fkey FOREIGN KEY (user_id, account_id) REFERENCES public.memberships(user_id, account_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.staff_confirmations
    ADD CONSTRAINT staff_confirmations_account_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.staff_sessions
    ADD CONSTRAINT staff_sessions_staff_fkey FOREIGN KEY (staff_id) REFERENCES public.staff(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.usage_batches
    ADD CONSTRAINT usage_batches_token_fkey FOREIGN KEY (token_id) REFERENCES public.service_tokens(id) ON DELETE CASCADE;

ALTER TABLE public.account_endpoints ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.account_requests ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.account_usage_hours ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.accounts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.api_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.audit_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.audit_heads ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.credit_leases ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.credits ENABLE ROW LEVEL SECURITY;

CREATE POLICY current_account ON public.account_endpoints TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.account_requests TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.account_usage_hours TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.accounts TO latchkey_portal USING ((id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.api_keys TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.audit_events TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.audit_heads TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.credit_leases TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.credits TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.idempotent_requests TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.invitations TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.key_activity TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.key_expiry_notices TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.key_permissions TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.key_policies TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.key_roles TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.key_usage TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.mails TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.memberships TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.one_time_tokens TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.packed_account_usage TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.packed_usage TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.sessions TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.settings_history TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.staff_confirmations TO latchkey_portal USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY current_account ON public.users TO latchkey_portal USING ((EXISTS ( SELECT
   FROM public.memberships membership
  WHERE ((membership.user_id = users.id) AND (membership.account_id = ( SELECT public.current_account() AS current_account))))));

ALTER TABLE public.idempotent_requests ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.invitations ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.key_activity ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.key_expiry_notices ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.key_permissions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.key_policies ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.key_roles ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.key_usage ENABLE ROW LEVEL SECURITY;

CREATE POLICY latchkey_analyst ON public.account_endpoints TO latchkey_analyst USING (true);

CREATE POLICY latchkey_analyst ON public.account_usage_hours TO latchkey_analyst USING (true);

CREATE POLICY latchkey_analyst ON public.accounts TO latchkey_analyst USING (true);

CREATE POLICY latchkey_analyst ON public.api_keys TO latchkey_analyst USING (true);

CREATE POLICY latchkey_analyst ON public.key_activity TO latchkey_analyst USING (true);

CREATE POLICY latchkey_analyst ON public.key_usage TO latchkey_analyst USING (true);

CREATE POLICY latchkey_analyst ON public.packed_account_usage TO latchkey_analyst USING (true);

CREATE POLICY latchkey_analyst ON public.packed_usage TO latchkey_analyst USING (true);

CREATE POLICY latchkey_gateway ON public.account_endpoints TO latchkey_gateway USING (true);

CREATE POLICY latchkey_gateway ON public.account_usage_hours TO latchkey_gateway USING (true);

CREATE POLICY latchkey_gateway ON public.accounts TO latchkey_gateway USING (true);

CREATE POLICY latchkey_gateway ON public.api_keys TO latchkey_gateway USING (true);

CREATE POLICY latchkey_gateway ON public.credit_leases TO latchkey_gateway USING (true);

CREATE POLICY latchkey_gateway ON public.credits TO latchkey_gateway USING (true);

CREATE POLICY latchkey_gateway ON public.key_activity TO latchkey_gateway USING (true);

CREATE POLICY latchkey_gateway ON public.key_permissions TO latchkey_gateway USING (true);

CREATE POLICY latchkey_gateway ON public.key_roles TO latchkey_gateway USING (true);

CREATE POLICY latchkey_gateway ON public.key_usage TO latchkey_gateway USING (true);

CREATE POLICY latchkey_identity ON public.accounts TO latchkey_identity USING (true);

CREATE POLICY latchkey_identity ON public.invitations TO latchkey_identity USING (true);

CREATE POLICY latchkey_identity ON public.mails TO latchkey_identity USING (true);

CREATE POLICY latchkey_identity ON public.memberships TO latchkey_identity USING (true);

CREATE POLICY latchkey_identity ON public.one_time_tokens TO latchkey_identity USING (true);

CREATE POLICY latchkey_identity ON public.sessions TO latchkey_identity USING (true);

CREATE POLICY latchkey_identity ON public.users TO latchkey_identity USING (true);

CREATE POLICY latchkey_jobs ON public.account_requests TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.account_usage_hours TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.accounts TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.api_keys TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.credit_leases TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.credits TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.idempotent_requests TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.key_expiry_notices TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.key_policies TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.mails TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.memberships TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.one_time_tokens TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.sessions TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.settings_history TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.staff_confirmations TO latchkey_jobs USING (true);

CREATE POLICY latchkey_jobs ON public.users TO latchkey_jobs USING (true);

CREATE POLICY latchkey_staff ON public.users TO latchkey_staff USING (true);

CREATE POLICY logins ON public.audit_events FOR INSERT TO latchkey_identity WITH CHECK ((target_kind = ANY (ARRAY['user'::text, 'staff'::text])));

ALTER TABLE public.mails ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.memberships ENABLE ROW LEVEL SECURITY;

CREATE POLICY newcomers ON public.users FOR INSERT TO latchkey_portal WITH CHECK (true);

ALTER TABLE public.one_time_tokens ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.packed_account_usage ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.packed_usage ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.sessions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.settings_history ENABLE ROW LEVEL SECURITY;

CREATE POLICY staff_act ON public.accounts TO latchkey_staff USING ((id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.api_keys TO latchkey_staff USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.audit_events TO latchkey_staff USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.credit_leases TO latchkey_staff USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.credits TO latchkey_staff USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.key_activity TO latchkey_staff USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.key_permissions TO latchkey_staff USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.key_policies TO latchkey_staff USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.key_roles TO latchkey_staff USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.mails FOR INSERT TO latchkey_staff WITH CHECK ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.memberships TO latchkey_staff USING ((account_id = ( SELECT public.current_account() AS current_account)));

CREATE POLICY staff_act ON public.staff_confirmations TO latchkey_staff USING ((account_id = ( SELECT public.current_account() AS current_account)));

ALTER TABLE public.staff_confirmations ENABLE ROW LEVEL SECURITY;

CREATE POLICY staff_lists ON public.staff_confirmations TO latchkey_staff USING ((account_id IS NULL));

CREATE POLICY staff_look ON public.account_requests FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.accounts FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.api_keys FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.audit_events FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.audit_heads FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.credit_leases FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.credits FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.key_activity FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.key_permissions FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.key_policies FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.key_roles FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.memberships FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY staff_look ON public.staff_confirmations FOR SELECT TO latchkey_staff USING (true);

CREATE POLICY system_events ON public.audit_events FOR INSERT TO latchkey_identity, latchkey_staff, latchkey_jobs WITH CHECK ((account_id IS NULL));

ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA public TO latchkey_portal;
GRANT USAGE ON SCHEMA public TO latchkey_identity;
GRANT USAGE ON SCHEMA public TO latchkey_gateway;
GRANT USAGE ON SCHEMA public TO latchkey_staff;
GRANT USAGE ON SCHEMA public TO latchkey_analyst;
GRANT USAGE ON SCHEMA public TO latchkey_jobs;

REVOKE ALL ON FUNCTION public.advance_audit_heads() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.announce_import_form() FROM PUBLIC;

GRANT SELECT,INSERT ON TABLE public.audit_events TO latchkey_portal;
GRANT INSERT ON TABLE public.audit_events TO latchkey_identity;
GRANT SELECT,INSERT ON TABLE public.audit_events TO latchkey_staff;
GRANT INSERT ON TABLE public.audit_events TO latchkey_jobs;

GRANT SELECT ON TABLE public.credits TO latchkey_portal;
GRANT SELECT,UPDATE ON TABLE public.credits TO latchkey_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.credits TO latchkey_staff;
GRANT SELECT,UPDATE ON TABLE public.credits TO latchkey_jobs;

GRANT UPDATE(created_at) ON TABLE public.credits TO latchkey_portal;

REVOKE ALL ON FUNCTION public.begin_erasure(person uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.begin_erasure(person uuid) TO latchkey_identity;

REVOKE ALL ON FUNCTION public.begin_invalidation_epoch() FROM PUBLIC;
GRANT ALL ON FUNCTION public.begin_invalidation_epoch() TO latchkey_staff;

REVOKE ALL ON FUNCTION public.chain_audit_event() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.check_audit_redaction() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.delete_current_account() FROM PUBLIC;
GRANT ALL ON FUNCTION public.delete_current_account() TO latchkey_portal;

REVOKE ALL ON FUNCTION public.drop_usage_partition(before date) FROM PUBLIC;
GRANT ALL ON FUNCTION public.drop_usage_partition(before date) TO latchkey_jobs;

REVOKE ALL ON FUNCTION public.ensure_usage_partitions(first date, months integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.ensure_usage_partitions(first date, months integer) TO latchkey_jobs;

REVOKE ALL ON FUNCTION public.erase_key_maker(person uuid, account uuid, key_count bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.erase_key_maker(person uuid, account uuid, key_count bigint) TO latchkey_identity;

REVOKE ALL ON FUNCTION public.expire_rate_limit_counts() FROM PUBLIC;
GRANT ALL ON FUNCTION public.expire_rate_limit_counts() TO latchkey_jobs;

REVOKE ALL ON FUNCTION public.expire_rate_limit_windows() FROM PUBLIC;
GRANT ALL ON FUNCTION public.expire_rate_limit_windows() TO latchkey_jobs;

REVOKE ALL ON FUNCTION public.finish_erasure(person uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.finish_erasure(person uuid) TO latchkey_identity;

REVOKE ALL ON FUNCTION public.forget_people(people uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.forget_people(people uuid[]) TO latchkey_portal;

REVOKE ALL ON FUNCTION public.go_on_erasing(person uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.go_on_erasing(person uuid) TO latchkey_identity;

REVOKE ALL ON FUNCTION public.grant_analytics(role_name name) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.grant_portal(role_name name) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.import_keys(imported json) FROM PUBLIC;
GRANT ALL ON FUNCTION public.import_keys(imported json) TO latchkey_staff;

REVOKE ALL ON FUNCTION public.invalidate_accounts() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.invalidate_catalog() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.invalidate_credits() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.invalidate_everything() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.invalidate_keys() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.invalidate_limit_namespaces() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.invalidate_overridden_namespaces() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.invalidate_service_tokens() FROM PUBLIC;

GRANT SELECT ON TABLE public.credit_holders TO latchkey_portal;
GRANT SELECT,INSERT,UPDATE ON TABLE public.credit_holders TO latchkey_gateway;
GRANT SELECT ON TABLE public.credit_holders TO latchkey_staff;
GRANT SELECT,DELETE ON TABLE public.credit_holders TO latchkey_jobs;

GRANT UPDATE(heard_at) ON TABLE public.credit_holders TO latchkey_jobs;

GRANT UPDATE(silent_count) ON TABLE public.credit_holders TO latchkey_jobs;

REVOKE ALL ON FUNCTION public.is_in_invalidation_history(seq bigint, mark uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.is_in_invalidation_history(seq bigint, mark uuid) TO latchkey_portal;
GRANT ALL ON FUNCTION public.is_in_invalidation_history(seq bigint, mark uuid) TO latchkey_gateway;

REVOKE ALL ON FUNCTION public.isolate_accounts(tenant_table regclass, account_column name) FROM PUBLIC;

GRANT SELECT,INSERT ON TABLE public.accounts TO latchkey_portal;
GRANT SELECT ON TABLE public.accounts TO latchkey_identity;
GRANT SELECT ON TABLE public.accounts TO latchkey_staff;

GRANT SELECT(id) ON TABLE public.accounts TO latchkey_gateway;
GRANT SELECT(id) ON TABLE public.accounts TO latchkey_analyst;
GRANT SELECT(id) ON TABLE public.accounts TO latchkey_jobs;

GRANT UPDATE(name) ON TABLE public.accounts TO latchkey_portal;
GRANT SELECT(name) ON TABLE public.accounts TO latchkey_analyst;
GRANT SELECT(name) ON TABLE public.accounts TO latchkey_jobs;
GRANT UPDATE(name) ON TABLE public.accounts TO latchkey_staff;

GRANT SELECT(plan) ON TABLE public.accounts TO latchkey_gateway;
GRANT UPDATE(plan) ON TABLE public.accounts TO latchkey_staff;
GRANT SELECT(plan) ON TABLE public.accounts TO latchkey_analyst;
GRANT SELECT(plan) ON TABLE public.accounts TO latchkey_jobs;

GRANT SELECT(suspended_at) ON TABLE public.accounts TO latchkey_gateway;
GRANT UPDATE(suspended_at) ON TABLE public.accounts TO latchkey_staff;
GRANT SELECT(suspended_at) ON TABLE public.accounts TO latchkey_analyst;
GRANT SELECT(suspended_at) ON TABLE public.accounts TO latchkey_jobs;

GRANT UPDATE(suspension_reason) ON TABLE public.accounts TO latchkey_staff;

GRANT SELECT(created_at) ON TABLE public.accounts TO latchkey_analyst;

GRANT UPDATE(shared_limit_per_minute) ON TABLE public.accounts TO latchkey_portal;
GRANT SELECT(shared_limit_per_minute) ON TABLE public.accounts TO latchkey_gateway;

GRANT UPDATE(rate_limit_mode) ON TABLE public.accounts TO latchkey_portal;
GRANT SELECT(rate_limit_mode) ON TABLE public.accounts TO latchkey_gateway;

GRANT UPDATE(kind) ON TABLE public.accounts TO latchkey_staff;

GRANT UPDATE(external_id) ON TABLE public.accounts TO latchkey_staff;
GRANT SELECT(external_id) ON TABLE public.accounts TO latchkey_analyst;

GRANT UPDATE(metadata) ON TABLE public.accounts TO latchkey_staff;

GRANT SELECT(credits_id) ON TABLE public.accounts TO latchkey_gateway;
GRANT UPDATE(credits_id) ON TABLE public.accounts TO latchkey_staff;

GRANT SELECT(named_limits) ON TABLE public.accounts TO latchkey_gateway;
GRANT UPDATE(named_limits) ON TABLE public.accounts TO latchkey_staff;

GRANT SELECT ON TABLE public.apis TO latchkey_portal;
GRANT SELECT ON TABLE public.apis TO latchkey_gateway;
GRANT SELECT,INSERT,DELETE ON TABLE public.apis TO latchkey_staff;

GRANT SELECT(id) ON TABLE public.apis TO latchkey_analyst;

GRANT UPDATE(slug) ON TABLE public.apis TO latchkey_staff;
GRANT SELECT(slug) ON TABLE public.apis TO latchkey_analyst;

GRANT UPDATE(name) ON TABLE public.apis TO latchkey_staff;

GRANT UPDATE(key_prefix) ON TABLE public.apis TO latchkey_staff;

GRANT UPDATE(key_bytes) ON TABLE public.apis TO latchkey_staff;

GRANT UPDATE(is_protected) ON TABLE public.apis TO latchkey_staff;

GRANT UPDATE(endpoint_limits) ON TABLE public.apis TO latchkey_staff;

GRANT INSERT,UPDATE ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT ON TABLE public.api_keys TO latchkey_staff;

GRANT SELECT(id) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(id) ON TABLE public.api_keys TO latchkey_gateway;
GRANT SELECT(id) ON TABLE public.api_keys TO latchkey_analyst;
GRANT SELECT(id) ON TABLE public.api_keys TO latchkey_jobs;

GRANT SELECT(account_id) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(account_id) ON TABLE public.api_keys TO latchkey_gateway;
GRANT SELECT(account_id) ON TABLE public.api_keys TO latchkey_analyst;
GRANT SELECT(account_id) ON TABLE public.api_keys TO latchkey_jobs;

GRANT SELECT(name) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(name) ON TABLE public.api_keys TO latchkey_gateway;
GRANT SELECT(name) ON TABLE public.api_keys TO latchkey_analyst;
GRANT SELECT(name) ON TABLE public.api_keys TO latchkey_jobs;

GRANT SELECT(key_start) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(key_start) ON TABLE public.api_keys TO latchkey_analyst;
GRANT SELECT(key_start) ON TABLE public.api_keys TO latchkey_jobs;
GRANT SELECT(key_start) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(key_hash) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(environment) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(environment) ON TABLE public.api_keys TO latchkey_gateway;
GRANT SELECT(environment) ON TABLE public.api_keys TO latchkey_analyst;

GRANT SELECT(scopes) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(scopes) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(rate_limit_per_minute) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(rate_limit_per_minute) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(allowed_ips) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(allowed_ips) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(expires_at) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(expires_at) ON TABLE public.api_keys TO latchkey_gateway;
GRANT SELECT(expires_at) ON TABLE public.api_keys TO latchkey_analyst;
GRANT SELECT(expires_at) ON TABLE public.api_keys TO latchkey_jobs;

GRANT SELECT(disabled_at) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(disabled_at) ON TABLE public.api_keys TO latchkey_gateway;
GRANT SELECT(disabled_at) ON TABLE public.api_keys TO latchkey_analyst;

GRANT SELECT(revoked_at) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(revoked_at) ON TABLE public.api_keys TO latchkey_gateway;
GRANT UPDATE(revoked_at) ON TABLE public.api_keys TO latchkey_staff;
GRANT SELECT(revoked_at) ON TABLE public.api_keys TO latchkey_analyst;
GRANT SELECT(revoked_at) ON TABLE public.api_keys TO latchkey_jobs;

GRANT SELECT(rolled_at) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(rolled_at) ON TABLE public.api_keys TO latchkey_analyst;
GRANT SELECT(rolled_at) ON TABLE public.api_keys TO latchkey_jobs;

GRANT SELECT(created_at) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(created_at) ON TABLE public.api_keys TO latchkey_gateway;
GRANT SELECT(created_at) ON TABLE public.api_keys TO latchkey_analyst;
GRANT SELECT(created_at) ON TABLE public.api_keys TO latchkey_jobs;

GRANT SELECT(rate_limit_mode) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(rate_limit_mode) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(limit_names) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(limit_names) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(limit_values) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(limit_values) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(limit_window_seconds) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(limit_window_seconds) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(revision) ON TABLE public.api_keys TO latchkey_portal;

GRANT SELECT(description) ON TABLE public.api_keys TO latchkey_portal;

GRANT SELECT(tags) ON TABLE public.api_keys TO latchkey_portal;

GRANT SELECT(metadata) ON TABLE public.api_keys TO latchkey_portal;

GRANT SELECT(created_by_kind) ON TABLE public.api_keys TO latchkey_portal;

GRANT SELECT(created_by_id) ON TABLE public.api_keys TO latchkey_portal;

GRANT SELECT(created_by_name) ON TABLE public.api_keys TO latchkey_portal;

GRANT SELECT(enabled_at) ON TABLE public.api_keys TO latchkey_portal;

GRANT SELECT(lineage_id) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(lineage_id) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(api_id) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(api_id) ON TABLE public.api_keys TO latchkey_gateway;
GRANT SELECT(api_id) ON TABLE public.api_keys TO latchkey_analyst;

GRANT SELECT(has_grants) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(has_grants) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(credits_id) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(credits_id) ON TABLE public.api_keys TO latchkey_gateway;
GRANT SELECT(credits_id) ON TABLE public.api_keys TO latchkey_jobs;
GRANT UPDATE(credits_id) ON TABLE public.api_keys TO latchkey_staff;

GRANT SELECT(named_limits) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(named_limits) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(key_prefix) ON TABLE public.api_keys TO latchkey_portal;

GRANT SELECT(key_bytes) ON TABLE public.api_keys TO latchkey_portal;

GRANT SELECT(import_form) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(import_hash) ON TABLE public.api_keys TO latchkey_gateway;

GRANT SELECT(resources) ON TABLE public.api_keys TO latchkey_portal;
GRANT SELECT(resources) ON TABLE public.api_keys TO latchkey_gateway;
GRANT UPDATE(resources) ON TABLE public.api_keys TO latchkey_staff;

GRANT SELECT ON TABLE public.permissions TO latchkey_portal;
GRANT SELECT ON TABLE public.permissions TO latchkey_gateway;
GRANT SELECT,INSERT,DELETE ON TABLE public.permissions TO latchkey_staff;

GRANT UPDATE(slug) ON TABLE public.permissions TO latchkey_staff;

GRANT UPDATE(description) ON TABLE public.permissions TO latchkey_staff;

GRANT SELECT ON TABLE public.plans TO latchkey_portal;
GRANT SELECT ON TABLE public.plans TO latchkey_identity;
GRANT SELECT ON TABLE public.plans TO latchkey_gateway;
GRANT SELECT,INSERT ON TABLE public.plans TO latchkey_staff;
GRANT SELECT ON TABLE public.plans TO latchkey_analyst;
GRANT SELECT ON TABLE public.plans TO latchkey_jobs;

GRANT UPDATE(key_cap) ON TABLE public.plans TO latchkey_staff;

GRANT UPDATE(scopes) ON TABLE public.plans TO latchkey_staff;

GRANT UPDATE(rate_limit_per_minute_max) ON TABLE public.plans TO latchkey_staff;

GRANT UPDATE(max_key_lifetime_days) ON TABLE public.plans TO latchkey_staff;

GRANT UPDATE(api_ids) ON TABLE public.plans TO latchkey_staff;

GRANT UPDATE(role_ids) ON TABLE public.plans TO latchkey_staff;

GRANT SELECT ON TABLE public.roles TO latchkey_portal;
GRANT SELECT ON TABLE public.roles TO latchkey_gateway;
GRANT SELECT,INSERT,DELETE ON TABLE public.roles TO latchkey_staff;

GRANT UPDATE(name) ON TABLE public.roles TO latchkey_staff;

GRANT UPDATE(description) ON TABLE public.roles TO latchkey_staff;

REVOKE ALL ON FUNCTION public.keep_accounts() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.keep_api_keys() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.keep_apis() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.keep_key_permissions() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.keep_key_roles() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.keep_permissions() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.keep_plans() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.keep_role_permissions() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.keep_roles() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.lock_accounts(ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.lock_accounts(ids uuid[]) TO latchkey_staff;

REVOKE ALL ON FUNCTION public.lock_audit_head(event public.audit_events, OUT seq bigint, OUT hash bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.log_new_keys() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.log_new_service_tokens() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.make_external_accounts(ids uuid[], names text[], external_ids text[], event_ids uuid[], by_kind text, by_id uuid, by_name text, by_ip inet, detail text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.make_external_accounts(ids uuid[], names text[], external_ids text[], event_ids uuid[], by_kind text, by_id uuid, by_name text, by_ip inet, detail text) TO latchkey_staff;

REVOKE ALL ON FUNCTION public.move_keys(target uuid, moved uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.move_keys(target uuid, moved uuid[]) TO latchkey_staff;

REVOKE ALL ON FUNCTION public.note_import_forms() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.note_made_at() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.note_new_keys() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.number_invalidation() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.open_to(tenant_table regclass, VARIADIC role_names name[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.open_to_staff(tenant_table regclass, account_column name) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.pack_usage(before date, counter_count_max integer, after_account uuid, after_key uuid, after_day date, OUT counter_count bigint, OUT last_account uuid, OUT last_key uuid, OUT last_day date) FROM PUBLIC;
GRANT ALL ON FUNCTION public.pack_usage(before date, counter_count_max integer, after_account uuid, after_key uuid, after_day date, OUT counter_count bigint, OUT last_account uuid, OUT last_key uuid, OUT last_day date) TO latchkey_jobs;

REVOKE ALL ON FUNCTION public.place_usage() FROM PUBLIC;
GRANT ALL ON FUNCTION public.place_usage() TO latchkey_jobs;

REVOKE ALL ON FUNCTION public.redact_audit_event() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.redact_audit_events(person uuid, trail uuid, after bigint, event_count bigint, OUT last bigint, OUT redacted bigint, OUT digest text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.redact_audit_events(person uuid, trail uuid, after bigint, event_count bigint, OUT last bigint, OUT redacted bigint, OUT digest text) TO latchkey_identity;

REVOKE ALL ON FUNCTION public.settings_at(wanted_kind text, wanted_subject text, moment timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.settings_at(wanted_kind text, wanted_subject text, moment timestamp with time zone) TO latchkey_staff;

REVOKE ALL ON FUNCTION public.settings_kept_since() FROM PUBLIC;
GRANT ALL ON FUNCTION public.settings_kept_since() TO latchkey_staff;

REVOKE ALL ON FUNCTION public.touch_granted_keys() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.unplaced_usage_count() FROM PUBLIC;
GRANT ALL ON FUNCTION public.unplaced_usage_count() TO latchkey_jobs;

REVOKE ALL ON FUNCTION public.use_imported_keys(ids uuid[], hashes bytea[], starts text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.use_imported_keys(ids uuid[], hashes bytea[], starts text[]) TO latchkey_gateway;

GRANT SELECT ON TABLE public.account_endpoints TO latchkey_portal;
GRANT SELECT,INSERT ON TABLE public.account_endpoints TO latchkey_gateway;
GRANT SELECT ON TABLE public.account_endpoints TO latchkey_analyst;

GRANT INSERT ON TABLE public.account_requests TO latchkey_portal;
GRANT SELECT ON TABLE public.account_requests TO latchkey_staff;
GRANT SELECT,DELETE ON TABLE public.account_requests TO latchkey_jobs;

GRANT UPDATE(created_at) ON TABLE public.account_requests TO latchkey_jobs;

GRANT SELECT ON TABLE public.account_usage_hours TO latchkey_portal;
GRANT SELECT,INSERT,UPDATE ON TABLE public.account_usage_hours TO latchkey_gateway;
GRANT SELECT ON TABLE public.account_usage_hours TO latchkey_analyst;
GRANT SELECT,DELETE,UPDATE ON TABLE public.account_usage_hours TO latchkey_jobs;

GRANT SELECT ON TABLE public.key_usage TO latchkey_portal;
GRANT SELECT,INSERT,UPDATE ON TABLE public.key_usage TO latchkey_gateway;
GRANT SELECT ON TABLE public.key_usage TO latchkey_analyst;

GRANT SELECT ON TABLE public.packed_usage TO latchkey_portal;
GRANT SELECT ON TABLE public.packed_usage TO latchkey_analyst;

GRANT SELECT,INSERT,UPDATE ON TABLE public.attempt_counts TO latchkey_identity;
GRANT SELECT,DELETE ON TABLE public.attempt_counts TO latchkey_jobs;

GRANT SELECT ON TABLE public.audit_heads TO latchkey_portal;
GRANT SELECT ON TABLE public.audit_heads TO latchkey_staff;

GRANT SELECT ON TABLE public.credit_leases TO latchkey_portal;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.credit_leases TO latchkey_gateway;
GRANT SELECT,UPDATE ON TABLE public.credit_leases TO latchkey_staff;
GRANT SELECT,DELETE ON TABLE public.credit_leases TO latchkey_jobs;

GRANT UPDATE(asked) ON TABLE public.credit_leases TO latchkey_portal;

GRANT SELECT ON TABLE public.erasures TO latchkey_identity;

GRANT SELECT,INSERT,UPDATE ON TABLE public.idempotent_requests TO latchkey_portal;
GRANT SELECT,DELETE ON TABLE public.idempotent_requests TO latchkey_jobs;

GRANT UPDATE(sealed_secret) ON TABLE public.idempotent_requests TO latchkey_jobs;

GRANT SELECT ON TABLE public.installation TO latchkey_gateway;

GRANT SELECT ON TABLE public.instances TO latchkey_portal;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.instances TO latchkey_gateway;
GRANT SELECT ON TABLE public.instances TO latchkey_staff;
GRANT SELECT,DELETE ON TABLE public.instances TO latchkey_jobs;

GRANT SELECT ON TABLE public.invalidation_head TO latchkey_portal;
GRANT SELECT ON TABLE public.invalidation_head TO latchkey_gateway;
GRANT SELECT ON TABLE public.invalidation_head TO latchkey_staff;

GRANT SELECT ON TABLE public.invalidation_log TO latchkey_gateway;
GRANT SELECT,DELETE ON TABLE public.invalidation_log TO latchkey_jobs;

GRANT SELECT ON TABLE public.invalidation_server TO latchkey_portal;
GRANT SELECT ON TABLE public.invalidation_server TO latchkey_gateway;

GRANT UPDATE(postmaster_started_at) ON TABLE public.invalidation_server TO latchkey_gateway;

GRANT UPDATE(head_oid) ON TABLE public.invalidation_server TO latchkey_gateway;

GRANT UPDATE(since) ON TABLE public.invalidation_server TO latchkey_gateway;

GRANT SELECT,INSERT ON TABLE public.invitations TO latchkey_portal;
GRANT SELECT ON TABLE public.invitations TO latchkey_identity;

GRANT UPDATE(accepted_at) ON TABLE public.invitations TO latchkey_identity;

GRANT UPDATE(revoked_at) ON TABLE public.invitations TO latchkey_portal;

GRANT SELECT ON TABLE public.jobs TO latchkey_staff;
GRANT SELECT,INSERT,UPDATE ON TABLE public.jobs TO latchkey_jobs;

GRANT SELECT ON TABLE public.key_activity TO latchkey_portal;
GRANT SELECT,INSERT,UPDATE ON TABLE public.key_activity TO latchkey_gateway;
GRANT SELECT ON TABLE public.key_activity TO latchkey_staff;
GRANT SELECT ON TABLE public.key_activity TO latchkey_analyst;

GRANT SELECT,INSERT ON TABLE public.key_permissions TO latchkey_portal;
GRANT SELECT ON TABLE public.key_permissions TO latchkey_gateway;
GRANT SELECT,INSERT,DELETE ON TABLE public.key_permissions TO latchkey_staff;

GRANT SELECT,INSERT ON TABLE public.key_roles TO latchkey_portal;
GRANT SELECT ON TABLE public.key_roles TO latchkey_gateway;
GRANT SELECT,INSERT,DELETE ON TABLE public.key_roles TO latchkey_staff;

GRANT SELECT ON TABLE public.role_permissions TO latchkey_portal;
GRANT SELECT ON TABLE public.role_permissions TO latchkey_gateway;
GRANT SELECT,INSERT,DELETE ON TABLE public.role_permissions TO latchkey_staff;

GRANT SELECT ON TABLE public.key_effective_permissions TO latchkey_portal;
GRANT SELECT ON TABLE public.key_effective_permissions TO latchkey_gateway;
GRANT SELECT ON TABLE public.key_effective_permissions TO latchkey_staff;

GRANT SELECT,INSERT,DELETE ON TABLE public.key_expiry_notices TO latchkey_jobs;

GRANT SELECT,INSERT,UPDATE ON TABLE public.key_policies TO latchkey_portal;
GRANT SELECT ON TABLE public.key_policies TO latchkey_staff;
GRANT SELECT ON TABLE public.key_policies TO latchkey_jobs;

GRANT SELECT ON TABLE public.limit_namespaces TO latchkey_gateway;
GRANT SELECT,INSERT,DELETE ON TABLE public.limit_namespaces TO latchkey_staff;

GRANT UPDATE(name) ON TABLE public.limit_namespaces TO latchkey_staff;

GRANT SELECT ON TABLE public.limit_overrides TO latchkey_gateway;
GRANT SELECT,INSERT,DELETE ON TABLE public.limit_overrides TO latchkey_staff;

GRANT UPDATE(limit_value) ON TABLE public.limit_overrides TO latchkey_staff;

GRANT UPDATE(window_milliseconds) ON TABLE public.limit_overrides TO latchkey_staff;

GRANT SELECT,INSERT,UPDATE ON TABLE public.long_rate_limit_counts TO latchkey_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.long_rate_limit_counts TO latchkey_jobs;

GRANT SELECT,INSERT,DELETE ON TABLE public.mails TO latchkey_portal;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.mails TO latchkey_identity;
GRANT INSERT ON TABLE public.mails TO latchkey_staff;
GRANT SELECT,INSERT,DELETE ON TABLE public.mails TO latchkey_jobs;

GRANT SELECT,INSERT,DELETE ON TABLE public.memberships TO latchkey_portal;
GRANT SELECT,UPDATE ON TABLE public.memberships TO latchkey_identity;
GRANT SELECT ON TABLE public.memberships TO latchkey_staff;

GRANT SELECT(account_id) ON TABLE public.memberships TO latchkey_jobs;

GRANT SELECT(user_id) ON TABLE public.memberships TO latchkey_jobs;

GRANT UPDATE(role) ON TABLE public.memberships TO latchkey_portal;
GRANT SELECT(role) ON TABLE public.memberships TO latchkey_jobs;

GRANT INSERT ON TABLE public.one_time_tokens TO latchkey_portal;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.one_time_tokens TO latchkey_identity;
GRANT SELECT,DELETE ON TABLE public.one_time_tokens TO latchkey_jobs;

GRANT SELECT(account_id) ON TABLE public.one_time_tokens TO latchkey_portal;

GRANT SELECT(subject_id) ON TABLE public.one_time_tokens TO latchkey_portal;

GRANT SELECT(used_at),UPDATE(used_at) ON TABLE public.one_time_tokens TO latchkey_portal;

GRANT SELECT ON TABLE public.packed_account_usage TO latchkey_portal;
GRANT SELECT ON TABLE public.packed_account_usage TO latchkey_analyst;

GRANT SELECT ON TABLE public.packed_usage_totals TO latchkey_analyst;

GRANT SELECT,INSERT,UPDATE ON TABLE public.rate_limit_counts TO latchkey_gateway;

GRANT SELECT,INSERT,UPDATE ON TABLE public.rate_limit_windows TO latchkey_gateway;

GRANT SELECT ON TABLE public.running_invalidation_server TO latchkey_portal;
GRANT SELECT ON TABLE public.running_invalidation_server TO latchkey_gateway;

GRANT SELECT ON TABLE public.schema_migrations TO latchkey_gateway;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.second_factors TO latchkey_identity;

GRANT SELECT,INSERT,UPDATE ON TABLE public.service_token_activity TO latchkey_gateway;
GRANT SELECT ON TABLE public.service_token_activity TO latchkey_staff;

GRANT SELECT ON TABLE public.service_tokens TO latchkey_gateway;
GRANT INSERT ON TABLE public.service_tokens TO latchkey_staff;

GRANT SELECT(id) ON TABLE public.service_tokens TO latchkey_staff;

GRANT SELECT(name) ON TABLE public.service_tokens TO latchkey_staff;

GRANT SELECT(permissions) ON TABLE public.service_tokens TO latchkey_staff;

GRANT SELECT(expires_at),UPDATE(expires_at) ON TABLE public.service_tokens TO latchkey_staff;

GRANT SELECT(revoked_at),UPDATE(revoked_at) ON TABLE public.service_tokens TO latchkey_staff;

GRANT SELECT(created_at) ON TABLE public.service_tokens TO latchkey_staff;

GRANT SELECT(environment) ON TABLE public.service_tokens TO latchkey_staff;

GRANT SELECT(rolled_at),UPDATE(rolled_at) ON TABLE public.service_tokens TO latchkey_staff;

GRANT SELECT(replaces_id) ON TABLE public.service_tokens TO latchkey_staff;

GRANT SELECT(api_ids) ON TABLE public.service_tokens TO latchkey_staff;

GRANT DELETE ON TABLE public.sessions TO latchkey_portal;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sessions TO latchkey_identity;
GRANT SELECT,DELETE,UPDATE ON TABLE public.sessions TO latchkey_jobs;

GRANT SELECT(account_id) ON TABLE public.sessions TO latchkey_portal;

GRANT SELECT(user_id) ON TABLE public.sessions TO latchkey_portal;

GRANT SELECT,DELETE ON TABLE public.settings_history TO latchkey_jobs;

GRANT UPDATE(until) ON TABLE public.settings_history TO latchkey_jobs;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.signups TO latchkey_identity;
GRANT SELECT,DELETE ON TABLE public.signups TO latchkey_jobs;

GRANT SELECT,DELETE ON TABLE public.staff TO latchkey_identity;
GRANT INSERT ON TABLE public.staff TO latchkey_staff;

GRANT SELECT(id) ON TABLE public.staff TO latchkey_staff;

GRANT SELECT(email) ON TABLE public.staff TO latchkey_staff;

GRANT SELECT(name) ON TABLE public.staff TO latchkey_staff;

GRANT SELECT(role) ON TABLE public.staff TO latchkey_staff;
GRANT UPDATE(role) ON TABLE public.staff TO latchkey_identity;

GRANT UPDATE(password_hash) ON TABLE public.staff TO latchkey_identity;

GRANT SELECT(disabled_at) ON TABLE public.staff TO latchkey_staff;
GRANT UPDATE(disabled_at) ON TABLE public.staff TO latchkey_identity;

GRANT SELECT(created_at) ON TABLE public.staff TO latchkey_staff;

GRANT SELECT,INSERT,DELETE ON TABLE public.staff_confirmations TO latchkey_staff;
GRANT SELECT,DELETE ON TABLE public.staff_confirmations TO latchkey_jobs;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.staff_sessions TO latchkey_identity;
GRANT SELECT,DELETE,UPDATE ON TABLE public.staff_sessions TO latchkey_jobs;

GRANT SELECT,INSERT ON TABLE public.usage_batches TO latchkey_gateway;
GRANT SELECT,DELETE,UPDATE ON TABLE public.usage_batches TO latchkey_jobs;

GRANT SELECT ON TABLE public.usage_by_account TO latchkey_portal;
GRANT SELECT ON TABLE public.usage_by_account TO latchkey_analyst;

GRANT SELECT ON TABLE public.usage_by_endpoint TO latchkey_portal;
GRANT SELECT ON TABLE public.usage_by_endpoint TO latchkey_analyst;

GRANT SELECT ON TABLE public.usage_by_key TO latchkey_portal;
GRANT SELECT ON TABLE public.usage_by_key TO latchkey_analyst;

GRANT SELECT ON TABLE public.usage_complete_v1 TO latchkey_portal;
GRANT SELECT ON TABLE public.usage_complete_v1 TO latchkey_analyst;

GRANT SELECT,INSERT,UPDATE ON TABLE public.usage_sources TO latchkey_gateway;
GRANT SELECT,DELETE,UPDATE ON TABLE public.usage_sources TO latchkey_jobs;

GRANT INSERT ON TABLE public.users TO latchkey_portal;
GRANT SELECT ON TABLE public.users TO latchkey_identity;

GRANT SELECT(id) ON TABLE public.users TO latchkey_portal;
GRANT SELECT(id) ON TABLE public.users TO latchkey_staff;
GRANT SELECT(id) ON TABLE public.users TO latchkey_jobs;

GRANT SELECT(email) ON TABLE public.users TO latchkey_portal;
GRANT UPDATE(email) ON TABLE public.users TO latchkey_identity;
GRANT SELECT(email) ON TABLE public.users TO latchkey_staff;
GRANT SELECT(email) ON TABLE public.users TO latchkey_jobs;

GRANT UPDATE(password_hash) ON TABLE public.users TO latchkey_identity;

GRANT SELECT(created_at) ON TABLE public.users TO latchkey_portal;
GRANT SELECT(created_at) ON TABLE public.users TO latchkey_staff;

GRANT SELECT(email_verified_at),UPDATE(email_verified_at) ON TABLE public.users TO latchkey_identity;

