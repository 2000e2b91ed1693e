-- Checks the events that were there before the file that came before this one. Reads and changes go on meanwhile.
-- compatible-from: 0019

-- Only vacuuming and changes of the schema wait for this lock, and are waited for.
set local lock_timeout = '30s';

alter table audit_events validate constraint audit_events_actor_kind_known;
