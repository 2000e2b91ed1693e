-- A failover to a standby that had not received everything loses counters that were written. So a flush says which number
-- of its source the database must have already; where it has less, nothing is added, and what was lost comes first.
drop function flush_verdicts(uuid, bigint, uuid[], uuid[], timestamptz[], text[], bigint[], bigint[], timestamptz[]);

-- NULL if the counters were added; else the number that stands: this one or a later one if they were added before, or one
-- below the previous number.
create function flush_verdicts(
  source_id uuid, previous bigint, number bigint, accounts uuid[], keys uuid[], hours timestamptz[], endpoints text[],
  verified bigint[], denied bigint[], used_at timestamptz[]
) returns bigint language plpgsql as $$
begin
  if previous = 0 then
    insert into usage_sources as source (id, flushed_number) values (source_id, number)
    on conflict (id) do update set flushed_number = excluded.flushed_number, updated_at = now()
      where source.flushed_number < excluded.flushed_number;
  else
    update usage_sources set flushed_number = number, updated_at = now()
    where id = source_id and flushed_number >= previous and flushed_number < number;
  end if;
  if not found then
    return coalesce((select flushed_number from usage_sources where id = source_id), 0);
  end if;
  perform count_usage(accounts, keys, hours, endpoints, verified, denied, used_at, '{}', '{}', '{}', '{}', '{}');
  return null;
end $$;
