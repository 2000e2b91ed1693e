-- What analysts and their tools read: until when the numbers are final, and views whose names and columns stay.

-- Until when the numbers are final. An instance that was heard of within an hour is waited for, whether it lives or
-- not: it may come back with what it had counted. One that has not said anything yet has counted nothing from before
-- its start. With no instance at all nothing is outstanding. On a replica nothing is later than what has arrived there.
create view usage_complete_v1 as
select least(
  coalesce(case when pg_is_in_recovery() then pg_last_xact_replay_timestamp() end, now()),
  min(coalesce(usage_complete_through, started_at))
) as complete_through
from instances
where heartbeat_at > now() - interval '1 hour';

comment on view usage_complete_v1 is 'One row: until when the numbers of usage are final.';
comment on column usage_complete_v1.complete_through is
  'Every instance heard of within the last hour has written all that it counted before this moment.';

-- As LatencyHistogram.percentile in the portal: buckets grow by 1.05 / 0.95 from 0.1 ms.
create function latency_percentile(buckets bigint[], quantile double precision) returns double precision
  language sql immutable parallel safe as $$
  select 0.2 * power(1.05 / 0.95::double precision, place - 1) / (1.05 / 0.95::double precision + 1)
  from (
    select place, sum(count) over (order by place) as seen, sum(count) over () as total
    from unnest(buckets) with ordinality as bucket (count, place)
  ) ranked
  where total > 0 and seen >= greatest(1, ceil(quantile * total::double precision))
  order by place limit 1
$$;

create view usage_daily_v1 as
select day, account_id, key_id,
  sum(success_count)::bigint as successes, sum(error_count)::bigint as errors, sum(denied_count)::bigint as denied,
  sum(success_count + error_count + denied_count)::bigint as requests,
  sum(total_latency_ms) as latency_sum_ms, sum(latency_count)::bigint as latency_count,
  latency_percentile(sum_latency_buckets(latency_buckets), 0.95) as p95_latency_ms
from all_usage_by_key
group by day, account_id, key_id;

comment on view usage_daily_v1 is 'Requests by day (UTC), account and key.';
comment on column usage_daily_v1.day is 'The day, in UTC.';
comment on column usage_daily_v1.account_id is 'Whose key it is: accounts_v1.id.';
comment on column usage_daily_v1.key_id is 'The key: keys_v1.id.';
comment on column usage_daily_v1.successes is 'Requests let through that did not fail.';
comment on column usage_daily_v1.errors is 'Requests let through whose reported status was 400 or more.';
comment on column usage_daily_v1.denied is 'Requests that were refused.';
comment on column usage_daily_v1.requests is 'The sum of successes, errors and denied.';
comment on column usage_daily_v1.latency_sum_ms is
  'Milliseconds of all requests with a reported latency. An average is sum(latency_sum_ms) / sum(latency_count).';
comment on column usage_daily_v1.latency_count is 'Requests with a reported latency.';
comment on column usage_daily_v1.p95_latency_ms is
  'Milliseconds that 95 % of them did not exceed, within 5 %. Does not add up: neither sums nor averages of it mean anything.';

create view usage_endpoints_daily_v1 as
select day, account_id, key_id, endpoint,
  sum(success_count)::bigint as successes, sum(error_count)::bigint as errors, sum(denied_count)::bigint as denied,
  sum(success_count + error_count + denied_count)::bigint as requests,
  sum(total_latency_ms) as latency_sum_ms, sum(latency_count)::bigint as latency_count,
  latency_percentile(sum_latency_buckets(latency_buckets), 0.95) as p95_latency_ms
from all_usage_by_endpoint
group by day, account_id, key_id, endpoint;

comment on view usage_endpoints_daily_v1 is
  'Requests by day (UTC), account, key and endpoint. Larger than usage_daily_v1.';
comment on column usage_endpoints_daily_v1.day is 'The day, in UTC.';
comment on column usage_endpoints_daily_v1.account_id is 'Whose key it is: accounts_v1.id.';
comment on column usage_endpoints_daily_v1.key_id is 'The key: keys_v1.id.';
comment on column usage_endpoints_daily_v1.endpoint is
  'As the gateway named it; "other" for what came beyond the 500 names of an account.';
comment on column usage_endpoints_daily_v1.successes is 'Requests let through that did not fail.';
comment on column usage_endpoints_daily_v1.errors is 'Requests let through whose reported status was 400 or more.';
comment on column usage_endpoints_daily_v1.denied is 'Requests that were refused.';
comment on column usage_endpoints_daily_v1.requests is 'The sum of successes, errors and denied.';
comment on column usage_endpoints_daily_v1.latency_sum_ms is 'Milliseconds of all requests with a reported latency.';
comment on column usage_endpoints_daily_v1.latency_count is 'Requests with a reported latency.';
comment on column usage_endpoints_daily_v1.p95_latency_ms is
  'Milliseconds that 95 % of them did not exceed, within 5 %. Does not add up.';

create view usage_hourly_v1 as
select hour, account_id,
  success_count as successes, error_count as errors, denied_count as denied,
  success_count + error_count + denied_count as requests,
  total_latency_ms as latency_sum_ms, latency_count,
  latency_percentile(latency_buckets, 0.95) as p95_latency_ms
from account_usage_hours;

comment on view usage_hourly_v1 is 'Requests by hour and account.';
comment on column usage_hourly_v1.hour is 'When the hour begins.';
comment on column usage_hourly_v1.account_id is 'Whose keys they are: accounts_v1.id.';
comment on column usage_hourly_v1.successes is 'Requests let through that did not fail.';
comment on column usage_hourly_v1.errors is 'Requests let through whose reported status was 400 or more.';
comment on column usage_hourly_v1.denied is 'Requests that were refused.';
comment on column usage_hourly_v1.requests is 'The sum of successes, errors and denied.';
comment on column usage_hourly_v1.latency_sum_ms is 'Milliseconds of all requests with a reported latency.';
comment on column usage_hourly_v1.latency_count is 'Requests with a reported latency.';
comment on column usage_hourly_v1.p95_latency_ms is
  'Milliseconds that 95 % of them did not exceed, within 5 %. Does not add up.';

create view accounts_v1 as
select id, name, plan, suspended_at, created_at from accounts;

comment on view accounts_v1 is 'The customers'' accounts.';
comment on column accounts_v1.id is 'The account.';
comment on column accounts_v1.name is 'As its owner named it: anything may stand there.';
comment on column accounts_v1.plan is 'The plan''s name.';
comment on column accounts_v1.suspended_at is 'Since when none of its keys is accepted; NULL: they are.';
comment on column accounts_v1.created_at is 'When it was made.';

create view keys_v1 as
select key.id, key.account_id, key.name, key.key_start as start, key.environment, key.scopes, key.rate_limit_per_minute,
  case
    when key.revoked_at is not null then 'revoked'
    when account.suspended_at is not null then 'suspended'
    when key.disabled_at is not null then 'disabled'
    when key.expires_at <= now() then 'expired'
    else 'active' end as status,
  key.expires_at, key.disabled_at, key.rolled_at, key.revoked_at, key.created_at, activity.last_used_at,
  coalesce(activity.total_requests, 0) as total_requests
from api_keys key
  join accounts account on account.id = key.account_id
  left join key_activity activity on activity.account_id = key.account_id and activity.key_id = key.id;

comment on view keys_v1 is 'The customers'' keys, without anything that would open a door.';
comment on column keys_v1.id is 'The key.';
comment on column keys_v1.account_id is 'Whose it is: accounts_v1.id.';
comment on column keys_v1.name is 'As the customer named it: anything may stand there.';
comment on column keys_v1.start is 'Its first twelve characters, to recognise it by.';
comment on column keys_v1.environment is 'live or test.';
comment on column keys_v1.scopes is 'What it may be used for.';
comment on column keys_v1.rate_limit_per_minute is 'Requests a minute that it is good for.';
comment on column keys_v1.status is 'active, disabled, expired, revoked or suspended, now.';
comment on column keys_v1.expires_at is 'When it ends; NULL: never.';
comment on column keys_v1.disabled_at is 'When it was switched off.';
comment on column keys_v1.rolled_at is 'When it was replaced by a successor.';
comment on column keys_v1.revoked_at is 'When it was revoked.';
comment on column keys_v1.created_at is 'When it was made.';
comment on column keys_v1.last_used_at is 'When it was last shown or reported.';
comment on column keys_v1.total_requests is 'Requests in all.';

-- Lets a role read those views and nothing else; makes it, unable to log in, if there is none. Not called by any
-- migration, because making roles needs a right that not every server gives.
create function grant_analytics(role_name name) returns void language plpgsql as $$
begin
  if not exists (select from pg_roles where rolname = role_name) then
    execute format('create role %I nologin', role_name);
  end if;
  execute format('grant usage on schema %I to %I', current_schema(), role_name);
  execute format(
    'grant select on usage_daily_v1, usage_endpoints_daily_v1, usage_hourly_v1, usage_complete_v1, accounts_v1, keys_v1
     to %I', role_name);
end $$;

-- Anybody may call functions by default; this one acts with the rights of its caller, and still is nobody else's
-- business.
revoke execute on function grant_analytics(name) from public;
