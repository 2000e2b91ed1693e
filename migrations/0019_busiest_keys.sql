-- The busiest keys: what was counted of everybody on a packed day, so that a share needs no sum over all accounts.
create table packed_usage_totals (
  day date constraint packed_usage_totals_pkey primary key,
  success_count bigint not null,
  error_count bigint not null,
  denied_count bigint not null
);

create or replace function sum_packed_usage() returns trigger language plpgsql
  set enable_seqscan = off set enable_mergejoin = off set jit = off as $$
declare
  changes constant text := case TG_OP
    when 'INSERT' then 'select 1 as sign, added.* from added'
    when 'DELETE' then 'select -1 as sign, removed.* from removed'
    else 'select 1 as sign, added.* from added union all select -1, removed.* from removed' end;
begin
  perform pg_advisory_xact_lock(hashtext('pack_usage'));
  execute add_packed_account_usage(changes);
  execute format($statement$
    insert into packed_usage_totals as total (day, success_count, error_count, denied_count)
    select day, sum(sign * success_count), sum(sign * error_count), sum(sign * denied_count)
    from (%s) changes group by day order by day
    on conflict (day) do update set
      success_count = total.success_count + excluded.success_count,
      error_count = total.error_count + excluded.error_count,
      denied_count = total.denied_count + excluded.denied_count
    $statement$, changes);
  return null;
end $$;

select pg_advisory_xact_lock(hashtext('pack_usage'));
insert into packed_usage_totals (day, success_count, error_count, denied_count)
select day, sum(success_count), sum(error_count), sum(denied_count) from packed_account_usage group by day;

create or replace function drop_usage_partition(before date) returns text language plpgsql set lock_timeout = '2s' as $$
declare
  partition name;
  month date;
begin
  select child.relname, to_date(right(child.relname, -length(inhparent::regclass::text) - 1), 'YYYY_MM')
  into partition, month
  from pg_inherits join pg_class child on child.oid = inhrelid
  where inhparent in ('key_usage'::regclass, 'packed_usage'::regclass, 'packed_account_usage'::regclass)
    and child.relname ~ '_\d{4,}_\d\d$'
    and to_date(right(child.relname, -length(inhparent::regclass::text) - 1), 'YYYY_MM') + interval '1 month' <= before
  order by child.relname limit 1;
  if partition is not null then execute format('drop table %I', partition); end if;
  if partition ~ '^packed_usage_' then
    delete from packed_usage_totals where day >= month and day < month + interval '1 month';
  end if;
  return partition;
end $$;

-- What is replaced is no longer what it was made: with its owner's rights.
do $$ begin
  execute format(
    'alter function drop_usage_partition(date) security definer set search_path = %I, pg_temp', current_schema());
end $$;

grant select on packed_usage_totals to latchkey_analyst;
