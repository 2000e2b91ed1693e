-- A history that goes back is noticed. A failover to a standby that had not received everything, a restored backup, or a
-- crash that loses commits that did not wait for the disk makes a second history that gives the same numbers to other
-- changes. So each number comes with a random mark, and each row of the log says which mark it follows: who has applied
-- the log up to a mark sees whether a row continues that very history.

alter table invalidation_head
  add column mark uuid not null default gen_random_uuid(),
  -- That of the number before, where number_invalidation() leaves it for the row of the log.
  add column former_mark uuid;

-- NULL in rows of before.
alter table invalidation_log add column follows uuid;

create or replace function number_invalidation() returns trigger language plpgsql as $$
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

-- New keys and tokens are in the log, too, though they drop nothing: else a history that has lost nothing but new keys could
-- not be told from one that has them all. One row for a statement.
create function log_new_keys() returns trigger language plpgsql as $$
begin
  insert into invalidation_log (kind, account_id, key_id) select 'key', account_id, id from new_keys limit 1;
  return null;
end $$;
create trigger api_keys_log_insert after insert on api_keys
  referencing new table as new_keys for each statement execute function log_new_keys();

create function log_new_service_tokens() returns trigger language plpgsql as $$
begin
  insert into invalidation_log (kind, token_id) select 'service_token', id from new_tokens limit 1;
  return null;
end $$;
create trigger service_tokens_log_insert after insert on service_tokens
  referencing new table as new_tokens for each statement execute function log_new_service_tokens();

do $$
declare
  signature regprocedure;
begin
  foreach signature in array array['number_invalidation()', 'log_new_keys()', 'log_new_service_tokens()']::regprocedure[] loop
    execute format(
      'alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
  end loop;
end $$;

-- Which server has the database, and since when it was seen to: after it has changed, what the instances said of
-- themselves last may be lost, and for the length of a lease nobody can say that all have heard of a change.
create table invalidation_server (
  only_row boolean constraint invalidation_server_pkey primary key default true
    constraint invalidation_server_single check (only_row),
  postmaster_started_at timestamptz not null,
  head_oid oid not null,
  since timestamptz not null default clock_timestamp()
);

-- The start tells servers apart, also a copy of one that was started anew; the table's oid tells a restored copy in the
-- same server.
create view running_invalidation_server as
  select pg_postmaster_start_time() as postmaster_started_at, 'invalidation_head'::regclass::oid as head_oid;

insert into invalidation_server (postmaster_started_at, head_oid, since)
  select postmaster_started_at, head_oid, '-infinity' from running_invalidation_server;

grant select on invalidation_server, running_invalidation_server to latchkey_portal, latchkey_gateway;
grant update (postmaster_started_at, head_oid, since) on invalidation_server to latchkey_gateway;

-- Whether the log stands at, or has passed, the position with this seq and mark. Tells nothing of what is in the log.
create function is_in_invalidation_history(seq bigint, mark uuid) returns boolean language sql stable as $$
  select exists (select from invalidation_head head where head.seq = $1 and head.mark = $2)
    or exists (select from invalidation_log log where log.seq = $1 + 1 and log.follows = $2)
$$;

-- For what no mark can tell of: another epoch empties all caches. The seq is brought beyond what is in the log, in case the
-- head alone was put back; with the row that follows, the instances' answers count as receipts.
create function begin_invalidation_epoch() returns uuid language plpgsql as $$
declare
  begun uuid;
begin
  update invalidation_head
  set epoch = gen_random_uuid(), seq = greatest(seq, (select coalesce(max(log.seq), 0) from invalidation_log log))
  returning epoch into begun;
  insert into invalidation_log (kind) values ('everything');
  return begun;
end $$;

do $$
declare
  signature regprocedure;
begin
  foreach signature in array
    array['is_in_invalidation_history(bigint, uuid)', 'begin_invalidation_epoch()']::regprocedure[]
  loop
    execute format(
      'alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
  end loop;
end $$;
grant execute on function is_in_invalidation_history(bigint, uuid) to latchkey_portal, latchkey_gateway;
grant execute on function begin_invalidation_epoch() to latchkey_staff;
