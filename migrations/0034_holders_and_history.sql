-- The holder of a key acts with the key itself: such events have an actor of the kind `key`. The next file checks the
-- events that were there before. Collectors read the trails with a service token.
-- compatible-from: 0019

alter table audit_events
  drop constraint audit_events_actor_kind_known,
  -- No row can fail, because the constraint before it was narrower.
  add constraint audit_events_actor_kind_known
    check (actor_kind in ('user', 'staff', 'command', 'job', 'token', 'key')) not valid;
