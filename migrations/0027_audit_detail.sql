-- Audit events get a column for the program's own descriptions, such as the address of a removed person. `reason` and
-- `ticket` hold only what a person has stated. Existing events do not change: their descriptions stay in `reason`.
-- compatible-from: 0019

alter table audit_events add column detail text;

-- An event without a detail has the encoding that it always had. One with a detail has another label and, after
-- `ticket`, one more field. docs/AUDIT.md specifies both.
create or replace function audit_event_hash(event audit_events) returns bytea language sql stable parallel safe as $$
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

-- Accepts an update only if it removes a person from an event and changes nothing else. The transaction's next event
-- must record it. A text that is null stays null, and one that is not stays so: the label depends on it.
create or replace function redact_audit_event() returns trigger language plpgsql security definer as $$
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

-- Removes an erased person from up to `event_count` events of a trail, from the one after `after`. `last` is where the
-- next call continues, or null at the end of the trail. If `redacted` is not 0, the transaction's next event in this
-- trail must record it, with `digest` in its detail.
create or replace function redact_audit_events(
  person uuid, trail uuid, after bigint, event_count bigint, out last bigint, out redacted bigint, out digest text
) language plpgsql security definer as $$
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

do $$
declare
  signature regprocedure;
begin
  foreach signature in array
    array['redact_audit_event()', 'redact_audit_events(uuid, uuid, bigint, bigint)']::regprocedure[]
  loop
    execute format('alter function %s set search_path = %I, pg_temp', signature, current_schema());
  end loop;
end $$;
