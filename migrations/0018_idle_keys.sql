-- Keys that are not used: each key has a row of activity from the beginning, and the day of its last use is indexed. A day
-- and not a moment, so that a flush that counts another use on the same day stays within the page (HOT).
alter table key_activity
  alter last_used_at drop not null,
  -- When the key was made.
  add column made_at timestamptz;
insert into key_activity (account_id, key_id, made_at) select account_id, id, created_at from api_keys order by 1, 2
on conflict (account_id, key_id) do update set made_at = excluded.made_at;
alter table key_activity
  -- Since when it has not been used, in UTC.
  add column idle_since date
    generated always as ((coalesce(last_used_at, made_at) at time zone 'UTC')::date) stored;
-- In the order in which they are listed; the day is looked at in the index.
create index key_activity_idle_idx on key_activity (key_id, idle_since);

create function note_new_keys() returns trigger language plpgsql security definer as $$
begin
  insert into key_activity (account_id, key_id, made_at)
  select account_id, id, created_at from new_keys order by account_id, id
  on conflict (account_id, key_id) do update set made_at = excluded.made_at;
  return null;
end $$;

create trigger api_keys_note_new after insert on api_keys
  referencing new table as new_keys for each statement execute function note_new_keys();

-- Whatever changes when a key was made, by hand.
create function note_made_at() returns trigger language plpgsql security definer as $$
begin
  update key_activity set made_at = new.created_at where account_id = new.account_id and key_id = new.id;
  return null;
end $$;

create trigger api_keys_note_made_at after update of created_at on api_keys
  for each row when (old.created_at is distinct from new.created_at) execute function note_made_at();

do $$
declare
  signature regprocedure;
begin
  foreach signature in array array['note_new_keys()', 'note_made_at()']::regprocedure[] loop
    execute format('alter function %s set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
  end loop;
end $$;
