-- Service tokens of one environment, that are rolled, and of which is known when they were last used; and what they do to
-- an account's keys.

alter table service_tokens
  -- The only one whose keys it knows of. NULL: all.
  add column environment text constraint service_tokens_environment_known check (environment in ('live', 'test')),
  -- When another took its place: it lives on until its grace is over, and is not rolled again.
  add column rolled_at timestamptz,
  -- The one whose place it took.
  add column replaces_id uuid constraint service_tokens_replaces_unique unique
    constraint service_tokens_replaces_fkey references service_tokens (id),
  -- What is summed up over accounts is not kept by environment.
  add constraint service_tokens_analytics_unrestricted
    check (environment is null or not 'analytics.read' = any (permissions));

-- Apart, because each change of a token drops it from the instances' caches.
create table service_token_activity (
  token_id uuid constraint service_token_activity_pkey primary key
    constraint service_token_activity_token_fkey references service_tokens (id) on delete cascade,
  -- A moment at which it was used; it may have been used again up to a minute later.
  last_used_at timestamptz not null
) with (fillfactor = 50);

grant select (environment, rolled_at, replaces_id), update (expires_at, rolled_at) on service_tokens to latchkey_staff;
grant select on service_token_activity to latchkey_staff;
grant select, insert, update on service_token_activity to latchkey_gateway;

alter table audit_events
  drop constraint audit_events_actor_kind_known,
  add constraint audit_events_actor_kind_known check (actor_kind in ('user', 'staff', 'command', 'job', 'token'));
alter table api_keys
  drop constraint api_keys_created_by_kind_known,
  add constraint api_keys_created_by_kind_known check (created_by_kind in ('user', 'staff', 'command', 'token'));
