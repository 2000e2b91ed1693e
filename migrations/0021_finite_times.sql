-- No time is infinite: no answer could write one, and every request that meets one fails. Rows that were there before
-- are checked by the file that follows, so that no table is locked while it is looked through.
-- compatible-from: 0019

-- What somebody typed for "never", and what 0012 has for "always".
update api_keys set expires_at = null where expires_at = 'infinity';
update service_tokens set expires_at = null where expires_at = 'infinity';
update invalidation_server set since = 'epoch' where since = '-infinity';
-- No table is altered while one of its triggers waits for the end of the transaction.
set constraints all immediate;

do $$
declare
  target record;
begin
  for target in
    select format('%I', relname) as name,
      string_agg(
        format('add constraint %I check (isfinite(%I)) not valid', relname || '_' || attname || '_finite', attname),
        ', ' order by attnum) as changes
    from pg_attribute join pg_class on pg_class.oid = attrelid
    -- What is added to a partitioned table holds for its partitions, those that are made later, too.
    where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p') and not relispartition
      and attnum > 0 and not attisdropped
      and atttypid in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
      and relname <> 'schema_migrations'
      -- Within four digits of a year already.
      and (relname <> 'audit_events' or attname <> 'at')
    group by relname
    -- Each lock is kept until all is done, so those come last that most requests would wait for.
    order by
      relname in ('sessions', 'service_tokens', 'accounts', 'api_keys', 'instances', 'invalidation_log'), relname
  loop
    execute format('alter table %s %s', target.name, target.changes);
  end loop;
end $$;
