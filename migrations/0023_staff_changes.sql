-- What becomes of staff after they were made: another role, disabled, enabled, removed. The role that deals with logins
-- writes it, for it also ends their sessions.
-- compatible-from: 0019

alter table staff
  -- Counts the changes of what they may do.
  add column revision bigint not null default 1;

create function count_staff_revision() returns trigger language plpgsql as $$
begin
  new.revision := old.revision + 1;
  return new;
end $$;

create trigger staff_revision before update on staff
  for each row when ((old.role, old.disabled_at) is distinct from (new.role, new.disabled_at))
  execute function count_staff_revision();

grant update (role, disabled_at), delete on staff to latchkey_identity;
