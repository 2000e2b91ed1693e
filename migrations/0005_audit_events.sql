-- Who did what to a tenant, and why; readable by the tenant. Written in the transaction of the change itself, and
-- only ever added to.

create table audit_events (
  id uuid constraint audit_events_pkey primary key,
  account_id uuid not null constraint audit_events_account_fkey references accounts (id),
  at timestamptz not null default now(),
  actor_kind text not null constraint audit_events_actor_kind_known check (actor_kind in ('user', 'staff', 'command')),
  actor_id uuid,
  actor_name text not null,
  action text not null,
  target_kind text not null,
  target_id uuid not null,
  reason text,
  ticket text,
  ip inet
);

create index audit_events_account_idx on audit_events (account_id, id desc);

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;

create trigger audit_events_append_only before update or delete or truncate on audit_events
  for each statement execute function refuse_change();
