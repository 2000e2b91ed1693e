-- Who did what, to which tenant, and why; readable by the tenant. Written in the transaction of the change itself, and
-- only ever added to. Each event carries the hash of the one before it, so that whoever edits, removes or moves one,
-- with whatever rights, leaves a chain that does not add up. docs/AUDIT.md has the encoding to the letter.
--
-- An account's events are one chain; those that belong to no account (staff, service tokens, jobs) are another. The
-- database itself makes number and hash, so an event that somebody types into psql is chained like all others.

create table audit_events (
  id uuid constraint audit_events_pkey primary key,
  -- NULL: it belongs to no account.
  account_id uuid constraint audit_events_account_fkey references accounts (id),
  -- What the encoding can write, each time in one way.
  at timestamptz not null default now() constraint audit_events_at_range
    check (at between '0001-01-01 00:00:00+00' and '9999-12-31 23:59:59.999999+00'),
  actor_kind text not null constraint audit_events_actor_kind_known
    check (actor_kind in ('user', 'staff', 'command', 'job', 'token')),
  actor_id uuid,
  actor_name text not null,
  action text not null,
  target_kind text not null,
  target_id uuid,
  reason text,
  ticket text,
  ip inet,
  -- From 1, without gaps, in the order of commits.
  seq bigint not null,
  -- The hash of the event before; zeros for the first.
  prev_hash bytea not null constraint audit_events_prev_hash_length check (length(prev_hash) = 32),
  hash bytea not null constraint audit_events_hash_length check (length(hash) = 32)
);

create index audit_events_account_idx on audit_events (account_id, id desc);
create unique index audit_events_chain_unique on audit_events (account_id nulls first, seq) nulls not distinct;

-- What the trail is searched by, the newest first.
create index audit_events_action_idx on audit_events (account_id, action, id desc);
create index audit_events_actor_idx on audit_events (account_id, actor_id, id desc);
create index audit_events_target_idx on audit_events (account_id, target_id, id desc);
create index audit_events_at_idx on audit_events (account_id, at);
-- Nearly all are by users, and who looks for theirs need not look far.
create index audit_events_actor_kind_idx on audit_events (account_id, actor_kind, id desc)
  where actor_kind <> 'user';

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;

create trigger audit_events_append_only before update or delete or truncate on audit_events
  for each statement execute function refuse_change();

-- Four bytes of length, then the bytes; a length of ffffffff, and nothing, for NULL.
create function audit_field(value text) returns bytea language sql immutable parallel safe as $$
  select case
    when value is null then '\xffffffff'::bytea
    else int4send(octet_length(convert_to(value, 'UTF8'))) || convert_to(value, 'UTF8')
  end
$$;

create function audit_event_hash(event audit_events) returns bytea language sql stable parallel safe as $$
  select sha256(
    convert_to('latchkey-audit-1', 'UTF8') || audit_field(event.account_id::text) || audit_field(event.seq::text)
    || audit_field(event.id::text)
    || audit_field(to_char(event.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    || audit_field(event.actor_kind) || audit_field(event.actor_id::text) || audit_field(event.actor_name)
    || audit_field(event.action) || audit_field(event.target_kind) || audit_field(event.target_id::text)
    || audit_field(event.reason) || audit_field(event.ticket) || audit_field(abbrev(event.ip))
    || audit_field(encode(event.prev_hash, 'hex')))
$$;

-- How far each chain has come: whoever removes the last events has to forge this, too.
create table audit_heads (
  -- Zeros for the chain that belongs to no account.
  account_id uuid constraint audit_heads_pkey primary key,
  seq bigint not null,
  hash bytea not null constraint audit_heads_hash_length check (length(hash) = 32)
) with (fillfactor = 50);

-- Locks in the order account, chain head. The foreign key asks for the account as well, but only after the head is
-- locked: it would wait for whoever holds the account, who waits for the head. Everything else that a transaction locks
-- comes before its event; the head of the invalidation log follows at the commit.
create function chain_audit_event() returns trigger language plpgsql as $$
declare
  chain constant uuid := coalesce(new.account_id, '00000000-0000-0000-0000-000000000000');
  head audit_heads;
begin
  perform from accounts where id = new.account_id for key share;
  select * into head from audit_heads where account_id = chain for update;
  if not found then
    insert into audit_heads (account_id, seq, hash) values (chain, 0, decode(repeat('00', 32), 'hex'))
    on conflict do nothing;
    select * into strict head from audit_heads where account_id = chain for update;
  end if;
  new.seq := head.seq + 1;
  new.prev_hash := head.hash;
  new.hash := audit_event_hash(new);
  update audit_heads set seq = new.seq, hash = new.hash where account_id = chain;
  return new;
end $$;

create trigger audit_events_chain before insert on audit_events
  for each row execute function chain_audit_event();

create function guard_audit_heads() returns trigger language plpgsql as $$
begin
  if pg_trigger_depth() < 2 then
    raise exception 'audit_heads is written by audit_events alone' using errcode = 'insufficient_privilege';
  end if;
  return null;
end $$;

create trigger audit_heads_guard before insert or update on audit_heads
  for each statement execute function guard_audit_heads();
create trigger audit_heads_append_only before delete or truncate on audit_heads
  for each statement execute function refuse_change();

-- An insert with "on conflict do nothing" may advance the head and then leave no event: it fails at the commit.
create function check_audit_head() returns trigger language plpgsql as $$
declare
  is_there boolean;
begin
  if new.account_id = '00000000-0000-0000-0000-000000000000' then
    select exists (select from audit_events where account_id is null and seq = new.seq and hash = new.hash)
    into is_there;
  else
    select exists (select from audit_events where account_id = new.account_id and seq = new.seq and hash = new.hash)
    into is_there;
  end if;
  if not is_there then
    raise exception 'the audit trail of % has no event %', new.account_id, new.seq using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;

create constraint trigger audit_heads_check after insert or update on audit_heads
  deferrable initially deferred for each row when (new.seq > 0) execute function check_audit_head();
