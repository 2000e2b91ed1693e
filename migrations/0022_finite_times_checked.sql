-- Checks the rows that were there before the file that came before this one. Reads and changes go on meanwhile.
-- compatible-from: 0019

-- Only vacuuming and changes of the schema wait for these locks, and are waited for.
set local lock_timeout = '30s';

do $$
declare
  target record;
begin
  for target in
    select format('%I', relname) as name, conname
    from pg_constraint join pg_class on pg_class.oid = conrelid
    -- Partitions are checked with what they are partitions of.
    where connamespace = current_schema()::regnamespace and contype = 'c' and conname like '%\_finite'
      and not convalidated and conislocal
    order by relname, conname
  loop
    execute format('alter table %s validate constraint %I', target.name, target.conname);
  end loop;
end $$;
