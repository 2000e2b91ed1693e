-- How every instance learns that something it has cached has changed, whoever changed it: the portal, support, or a
-- bare update typed into psql.
--
-- invalidation_head.seq counts without gaps and in the order of commits, because whoever advances it holds the row's
-- lock until its commit. A sequence would do neither: a reader that polls it misses the late committer of a lower
-- number.

create table invalidation_head (
  only_row boolean constraint invalidation_head_pkey primary key default true
    constraint invalidation_head_single check (only_row),
  -- Changed after a restore or a failover that may have lost commits: whoever sees another one drops all it cached.
  epoch uuid not null default gen_random_uuid(),
  seq bigint not null default 0
);

insert into invalidation_head default values;

create table invalidation_log (
  id bigint generated always as identity constraint invalidation_log_pkey primary key,
  -- NULL only inside the transaction that wrote the row, until its commit.
  seq bigint constraint invalidation_log_seq_unique unique,
  kind text not null
    constraint invalidation_log_kind_known check (kind in ('key', 'account', 'service_token', 'everything')),
  account_id uuid,
  key_id uuid,
  token_id uuid,
  at timestamptz not null default now()
);

create index invalidation_log_at_idx on invalidation_log (at);

-- At commit, last and briefly: everything else locks in the order account, key, head.
create function number_invalidation() returns trigger language plpgsql as $$
begin
  with head as (update invalidation_head set seq = seq + 1 returning seq)
  update invalidation_log set seq = head.seq from head where id = new.id;
  -- Empty and always the same, so that PostgreSQL folds many into one; what changed stands in the log.
  perform pg_notify('latchkey_invalidation', '');
  return null;
end $$;

create constraint trigger invalidation_log_number after insert on invalidation_log
  deferrable initially deferred for each row execute function number_invalidation();

-- One row for one key; one row for the whole account as soon as a statement touches two keys of it.
create function invalidate_keys() returns trigger language plpgsql as $$
begin
  insert into invalidation_log (kind, account_id, key_id)
  select case when count(*) = 1 then 'key' else 'account' end, account_id,
    case when count(*) = 1 then min(id::text)::uuid end
  from old_keys group by account_id;
  return null;
end $$;

create trigger api_keys_invalidate_update after update on api_keys
  referencing old table as old_keys for each statement execute function invalidate_keys();
create trigger api_keys_invalidate_delete after delete on api_keys
  referencing old table as old_keys for each statement execute function invalidate_keys();

create function invalidate_accounts() returns trigger language plpgsql as $$
begin
  insert into invalidation_log (kind, account_id) select 'account', id from old_accounts;
  return null;
end $$;

create trigger accounts_invalidate_update after update on accounts
  referencing old table as old_accounts for each statement execute function invalidate_accounts();
create trigger accounts_invalidate_delete after delete on accounts
  referencing old table as old_accounts for each statement execute function invalidate_accounts();

create function invalidate_service_tokens() returns trigger language plpgsql as $$
begin
  insert into invalidation_log (kind, token_id) select 'service_token', id from old_tokens;
  return null;
end $$;

create trigger service_tokens_invalidate_update after update on service_tokens
  referencing old table as old_tokens for each statement execute function invalidate_service_tokens();
create trigger service_tokens_invalidate_delete after delete on service_tokens
  referencing old table as old_tokens for each statement execute function invalidate_service_tokens();

-- A plan may be that of any number of accounts, and changes rarely; so does a table that is emptied.
create function invalidate_everything() returns trigger language plpgsql as $$
begin
  insert into invalidation_log (kind) values ('everything');
  return null;
end $$;

create trigger plans_invalidate after update or delete or truncate on plans
  for each statement execute function invalidate_everything();
create trigger accounts_invalidate_truncate after truncate on accounts
  for each statement execute function invalidate_everything();
create trigger api_keys_invalidate_truncate after truncate on api_keys
  for each statement execute function invalidate_everything();
create trigger service_tokens_invalidate_truncate after truncate on service_tokens
  for each statement execute function invalidate_everything();

-- The running servers: each says how far it has applied the log. Revoking answers from here who has dropped the key.
create table instances (
  id uuid constraint instances_pkey primary key,
  name text not null,
  -- How long after a heartbeat the instance may go on answering from its cache, at the longest.
  lease_milliseconds integer not null,
  applied_seq bigint not null,
  heartbeat_at timestamptz not null default now(),
  started_at timestamptz not null default now(),
  -- By its own clock: everything that it counted before stands in the database. NULL: it has not said yet.
  usage_complete_through timestamptz
) with (fillfactor = 50);
