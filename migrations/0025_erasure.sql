-- Taking a person out of what is kept for good. What names them in an event is replaced, and the event keeps its hash,
-- which the next one names; so the chain stays as it is. Each replacement is told by an event of its own further on in
-- the chain, whose hashed reason stands for all events that it is about, as they were and as they are. docs/AUDIT.md
-- has it to the letter.
-- compatible-from: 0019

-- Who was erased. The id alone stays: it means nothing any more, and shows what comes too late.
create table erasures (
  user_id uuid constraint erasures_pkey primary key,
  -- What they were called by, for as long as there is something left of it.
  addresses text[] not null,
  created_at timestamptz not null default now() constraint erasures_created_at_finite check (isfinite(created_at)),
  finished_at timestamptz constraint erasures_finished_at_finite check (isfinite(finished_at)),
  constraint erasures_forgotten check (finished_at is null or addresses = '{}')
);

create index erasures_unfinished_idx on erasures (created_at) where finished_at is null;

grant select on erasures to latchkey_identity;

-- MARK: The trail

-- The numbers of the events that tell of it, and the hash of what was left each time, the oldest first.
alter table audit_events
  add column redacted_by bigint[] not null default '{}',
  add column redacted_hashes bytea[] not null default '{}';

drop trigger audit_events_append_only on audit_events;
create trigger audit_events_append_only before delete or truncate or update of
  id, account_id, at, actor_kind, actor_id, action, target_kind, target_id, seq, prev_hash, hash, redacted_by,
  redacted_hashes on audit_events
  for each statement execute function refuse_change();

-- Of an event that is there a person is taken out, and nothing else is changed. It is to be told by the event that the
-- transaction adds next.
create function redact_audit_event() returns trigger language plpgsql as $$
declare
  next_seq bigint;
begin
  if new.actor_name is distinct from old.actor_name and new.actor_name <> 'erased person'
    or new.ip is distinct from old.ip and new.ip is not null
    or new.reason is distinct from old.reason and new.reason not like '%erased person%'
    or new.ticket is distinct from old.ticket and new.ticket not like '%erased person%'
    or new.reason is null and old.reason is not null or new.ticket is null and old.ticket is not null
    or (new.actor_name, new.ip, new.reason, new.ticket) is not distinct from
      (old.actor_name, old.ip, old.reason, old.ticket)
  then
    raise exception 'audit_events is append-only' using errcode = 'insufficient_privilege';
  end if;
  select seq + 1 into strict next_seq from audit_heads
  where account_id = coalesce(old.account_id, '00000000-0000-0000-0000-000000000000') for update;
  new.redacted_by := old.redacted_by || next_seq;
  new.redacted_hashes := old.redacted_hashes || audit_event_hash(new);
  return new;
end $$;

create trigger audit_events_redact before update on audit_events
  for each row execute function redact_audit_event();

create function check_audit_redaction() returns trigger language plpgsql as $$
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

create constraint trigger audit_events_redaction_told after update on audit_events
  deferrable initially deferred for each row execute function check_audit_redaction();

-- As it was, and nobody does anything any more once they are erased: a request that was under way fails, with all that
-- it changed. Looked for behind the lock of the head, which the erasure takes as well: one of the two waits for the
-- other.
create or replace function chain_audit_event() returns trigger language plpgsql security definer
  -- A plan that was made when there were few events would look at all of a statement's for each.
  set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  chain constant uuid := coalesce(new.account_id, '00000000-0000-0000-0000-000000000000');
  head audit_heads;
begin
  -- An event ahead of its head is of this statement, which has locked the head. Two statements, because the index is
  -- reached by each of the two conditions, and not by both in one.
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
    -- Once for a statement, for its events are one actor's.
    if new.actor_kind = 'user' and new.actor_name <> 'erased person'
      and exists (select from erasures where user_id = new.actor_id)
    then
      raise exception '% is erased', new.actor_id
        using errcode = 'check_violation', constraint = 'audit_events_actor_present';
    end if;
  end if;
  new.redacted_by := '{}';
  new.redacted_hashes := '{}';
  new.seq := head.seq + 1;
  new.prev_hash := head.hash;
  new.hash := audit_event_hash(new);
  return new;
end $$;

-- MARK: Erasing

-- Matches a text that has one of these addresses, and not as a part of a longer one.
create function address_pattern(addresses text[]) returns text language sql immutable as $$
  select '(?<![[:alnum:]._%+-])(?:' || string_agg(
      regexp_replace(address, '([^[:alnum:]])', '\\\1', 'g'), '|' order by length(address) desc, address)
    || ')(?![[:alnum:]_-]|\.[[:alnum:]])'
  from unnest(addresses) address
$$;

-- Ends what a person has: sessions, memberships, factors, tokens, mails, and the row itself, so that nobody logs in as
-- them and their address is free. Answers with the events that are to be told of it. Fails by `memberships_last_owner`
-- where an account that has other members or keys would be left without an owner; one that has neither ends with its
-- last member.
create function begin_erasure(person uuid)
  returns table (account_id uuid, action text, target_kind text, target_id uuid, reason text) language plpgsql as $$
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

  update accounts set deleted_at = now(), suspended_at = coalesce(suspended_at, now()) where id = any (ended);
  -- What somebody alone had may be called by them.
  update accounts set name = 'erased account'
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

-- What is left of somebody whose erasure has begun: the trails that may name them, that of no account as zeros. What
-- they were called by before is noted first, for redacting takes it out of the trails; not what is somebody else's by
-- now. Takes them out of invitations and mails.
create function go_on_erasing(person uuid) returns setof uuid language plpgsql as $$
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

-- Takes an erased person out of the keys that they made in an account, some at a time; how many.
create function erase_key_maker(person uuid, account uuid, key_count bigint) returns bigint language plpgsql as $$
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

-- Takes an erased person out of so many events of a trail, behind `after`. `last`: where to go on; null at the end.
-- Where `redacted` is not 0, the transaction tells it with its next event in this trail, whose reason has `digest`.
create function redact_audit_events(
  person uuid, trail uuid, after bigint, event_count bigint, out last bigint, out redacted bigint, out digest text
) language plpgsql as $$
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
    or event.at <= erasure.created_at and (event.reason ~* pattern or event.ticket ~* pattern);
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

-- Forgets what the person was called by, when nothing is left of it.
create function finish_erasure(person uuid) returns void language sql as $$
  update erasures set addresses = '{}', finished_at = now() where user_id = person and finished_at is null
$$;

do $$
declare
  signature regprocedure;
  grantee name;
begin
  for signature, grantee in values
    ('chain_audit_event()'::regprocedure, null::name),
    ('redact_audit_event()', null),
    ('check_audit_redaction()', null),
    ('begin_erasure(uuid)', 'latchkey_identity'),
    ('go_on_erasing(uuid)', 'latchkey_identity'),
    ('erase_key_maker(uuid, uuid, bigint)', 'latchkey_identity'),
    ('redact_audit_events(uuid, uuid, bigint, bigint)', 'latchkey_identity'),
    ('finish_erasure(uuid)', 'latchkey_identity')
  loop
    execute format('alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
    if grantee is not null then
      execute format('grant execute on function %s to %I', signature, grantee);
    end if;
  end loop;
end $$;
