-- Audit trail: the head of a chain is written once for a statement, not once for an event, which left as many versions of
-- it behind, each to be passed over by the next. Within the statement an event follows the one that was inserted last.
--
-- Numbers, hashes and the order of locks stay as they were. Whoever removes the last events still leaves a gap, because
-- the head counts wherever it is ahead of them.
create or replace function chain_audit_event() returns trigger language plpgsql security definer
  -- A plan that was made when there were few events would look at all of a statement's for each.
  set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  chain constant uuid := coalesce(new.account_id, '00000000-0000-0000-0000-000000000000');
  head audit_heads;
begin
  -- An event ahead of its head is of this statement, which has locked the head. Two statements, because the index is reached
  -- by each of the two conditions, and not by both in one.
  if new.account_id is null then
    select last.seq, last.hash into head.seq, head.hash
    from audit_heads known, lateral (
      select seq, hash from audit_events where account_id is null
      -- As the index has them: of a condition like this it is not known that it leaves one value alone.
      order by account_id desc nulls last, seq desc limit 1) last
    where known.account_id = chain and last.seq > known.seq;
  else
    select last.seq, last.hash into head.seq, head.hash
    from audit_heads known, lateral (
      select seq, hash from audit_events where account_id = new.account_id order by seq desc limit 1) last
    where known.account_id = chain and last.seq > known.seq;
  end if;
  if not found then
    perform from accounts where id = new.account_id for key share;
    select * into head from audit_heads where account_id = chain for update;
    if not found then
      insert into audit_heads (account_id, seq, hash) values (chain, 0, decode(repeat('00', 32), 'hex'))
      on conflict do nothing;
      select * into strict head from audit_heads where account_id = chain for update;
    end if;
  end if;
  new.seq := head.seq + 1;
  new.prev_hash := head.hash;
  new.hash := audit_event_hash(new);
  return new;
end $$;

-- As it is: what it calls depends on the database's encoding. A function that says less than that is not put in line, which
-- made hashing three times as dear.
alter function audit_field(text) stable;

-- Takes what the statement has inserted, which must continue the chain from where the head says that it ends.
create function advance_audit_heads() returns trigger language plpgsql security definer as $$
declare
  broken uuid;
begin
  with chains as materialized (
    select coalesce(account_id, '00000000-0000-0000-0000-000000000000') as account_id, count(*) as count,
      min(seq) as first_seq, (array_agg(prev_hash order by seq))[1] as first_prev_hash,
      max(seq) as last_seq, (array_agg(hash order by seq desc))[1] as last_hash
    from chained_events group by 1
  ), advanced as (
    update audit_heads head set seq = last_seq, hash = last_hash from chains
    where head.account_id = chains.account_id and first_seq = head.seq + 1 and first_prev_hash = head.hash
      and last_seq = head.seq + count
    returning head.account_id
  )
  select account_id into broken from chains where account_id not in (select account_id from advanced) limit 1;
  if found then
    raise exception 'the events of % do not continue its audit trail', broken
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;

create trigger audit_events_advance after insert on audit_events
  referencing new table as chained_events for each statement execute function advance_audit_heads();

-- A row that "on conflict do nothing" leaves out is no event, and no longer advances the head.
drop trigger audit_heads_check on audit_heads;
drop function check_audit_head();

do $$ begin
  execute format('alter function chain_audit_event() set search_path = %I, pg_temp', current_schema());
  execute format('alter function advance_audit_heads() set search_path = %I, pg_temp', current_schema());
end $$;
revoke execute on function advance_audit_heads() from public;
