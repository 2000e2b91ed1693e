-- The holder of a key acts with the key itself: such events have an actor of the kind `key`. The next file checks the
-- events that were there before. Collectors read the trails with a service token.
-- compatible-from: 0019

alter table audit_events
  drop constraint audit_events_actor_kind_known,
  -- No row can fail, because the constraint before it was narrower.
  add constraint audit_events_actor_kind_known
    check (actor_kind in ('user', 'staff', 'command', 'job', 'token', 'key')) not valid;

alter table service_tokens
  drop constraint service_tokens_permissions_known,
  add constraint service_tokens_permissions_known check (
    cardinality(permissions) > 0
    and permissions <@ array[
      'keys.verify', 'usage.write', 'keys.read', 'keys.write', 'analytics.read', 'catalog.read', 'catalog.write',
      'keys.grant', 'accounts.read', 'accounts.write', 'audit.read'
    ]
  ),
  -- The trails are not kept by environment or by api.
  add constraint service_tokens_audit_unrestricted
    check (environment is null and api_ids is null or not 'audit.read' = any (permissions));

-- A request of staff may also name keys, of whatever accounts. Then it belongs to no account.
alter table staff_confirmations
  alter column account_id drop not null,
  add column key_ids uuid[] constraint staff_confirmations_key_ids_count check (cardinality(key_ids) between 1 and 1000),
  add constraint staff_confirmations_subject check ((account_id is null) = (key_ids is not null));

create policy staff_lists on staff_confirmations to latchkey_staff using (account_id is null);
