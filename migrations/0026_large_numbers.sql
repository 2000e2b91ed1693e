-- Statements that write many events of one trail, and the list of the busiest keys among many, take less time.
-- compatible-from: 0019

-- MARK: The trail

-- The encoding does not change. Fields that are always ASCII need no conversion, and most of them have a fixed length.
create or replace function audit_event_hash(event audit_events) returns bytea language sql stable parallel safe as $$
  select sha256(
    '\x6c617463686b65792d61756469742d31'::bytea  -- latchkey-audit-1
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
    || coalesce(int4send(length(abbrev(event.ip))) || decode(abbrev(event.ip), 'escape'), '\xffffffff')
    || coalesce('\x00000040'::bytea || decode(encode(event.prev_hash, 'hex'), 'escape'), '\xffffffff'))
$$;

-- Where the trail of an event ends: at the last event that the statement has inserted, else at the head, which is
-- locked.
create function lock_audit_head(event audit_events, out seq bigint, out hash bytea) language plpgsql
  -- A plan that was made when there were few events would look at all of a statement's for each.
  set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
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

-- Chains an event to the one before it. The setting `latchkey.audit_chain` holds that event's trail, the number of
-- events that the transaction has inserted up to it, its `seq` and its hash, so that nothing is looked up. The trigger
-- looks the end of the trail up where the statement begins, where the trail changes, and where the count shows that the
-- event before was not inserted ("on conflict do nothing"). Anybody can change a setting: advance_audit_heads() accepts
-- only events that continue the chain, each one from the one before.
create or replace function chain_audit_event() returns trigger language plpgsql security definer as $$
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

-- Accepts the events that the statement has inserted if the first one continues the chain from its head, each of the
-- others continues the one before, and no actor has been erased.
create or replace function advance_audit_heads() returns trigger language plpgsql security definer as $$
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

do $$
declare
  signature regprocedure;
begin
  foreach signature in array
    array['lock_audit_head(audit_events)', 'chain_audit_event()', 'advance_audit_heads()']::regprocedure[]
  loop
    execute format('alter function %s set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
  end loop;
end $$;

-- MARK: The busiest keys

-- How much was counted of a key in its life: four times the binary logarithm. It seldom changes, so that a flush stays
-- within the page (HOT). Null below 4096, where it would change often.
alter table key_activity
  add column magnitude smallint generated always as (
    case when verified_count::double precision + denied_count + reported_count >= 4096
      then floor(4 * ln(verified_count::double precision + denied_count + reported_count) / ln(2::double precision))
    end) stored;

create index key_activity_busy_idx on key_activity (magnitude) where magnitude is not null;
