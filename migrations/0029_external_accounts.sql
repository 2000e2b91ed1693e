-- Accounts that a company's backend makes for its customers, before any person logs in to them. Their plan and their
-- keys may have no limits.
-- compatible-from: 0019
--
-- A server without this file cannot list the plans while it is still running, and cannot read what only a server with
-- it makes: external accounts, and keys without a limit per minute.

alter table plans
  -- NULL: none.
  alter column key_cap drop not null,
  alter column rate_limit_per_minute_max drop not null;

insert into plans (name, key_cap, scopes, rate_limit_per_minute_max) values ('external', null, '{*}', null)
on conflict (name) do nothing;

alter table accounts
  -- `customer`: people log in to it. `external`: a backend made it, and nobody has joined yet.
  add column kind text not null default 'customer'
    constraint accounts_kind_known check (kind in ('customer', 'external')),
  -- The company's own id of its customer. NULL: none.
  add column external_id text collate "C"
    constraint accounts_external_id_length check (length(external_id) between 1 and 200),
  -- A JSON object with the backend's order and digits, as that of a key.
  add column metadata text
    constraint accounts_metadata_size check (octet_length(metadata) <= 16384)
    constraint accounts_metadata_object check (json_typeof(metadata::json) = 'object');

-- An account that was deleted keeps its id, and does not stand in the way of a new one.
create unique index accounts_external_id_unique on accounts (external_id) where deleted_at is null;

alter table invitations
  -- The plan that an external account takes when its first person accepts. NULL: `default`.
  add column plan text constraint invitations_plan_fkey references plans (name) on update cascade;

alter table api_keys
  -- NULL: none of its own.
  alter column rate_limit_per_minute drop not null,
  drop constraint api_keys_scopes_count,
  -- No row can fail, because the constraint before it was narrower. The next file checks them.
  add constraint api_keys_scopes_count check (cardinality(scopes) <= 64) not valid;

comment on column keys_v1.rate_limit_per_minute is 'Requests a minute that it is good for; NULL: any number.';

alter table service_tokens
  drop constraint service_tokens_permissions_known,
  add constraint service_tokens_permissions_known check (
    cardinality(permissions) > 0
    and permissions <@ array[
      'keys.verify', 'usage.write', 'keys.read', 'keys.write', 'analytics.read', 'catalog.read', 'catalog.write',
      'keys.grant', 'accounts.read', 'accounts.write'
    ]
  ),
  -- What becomes of an account becomes of its keys of all environments and apis.
  add constraint service_tokens_accounts_unrestricted
    check (environment is null and api_ids is null or not 'accounts.write' = any (permissions));

-- Requests that made an account and came with an Idempotency-Key. Requests for something in an account are in
-- idempotent_requests; here the account does not exist yet when the key is looked for.
create table account_requests (
  account_id uuid constraint account_requests_pkey primary key
    constraint account_requests_account_fkey references accounts (id),
  -- SHA-256 of the service token's id and what the client sent as Idempotency-Key.
  key_hash bytea not null constraint account_requests_key_hash_length check (length(key_hash) = 32),
  -- SHA-256 of the route and the body.
  request_hash bytea not null constraint account_requests_request_hash_length check (length(request_hash) = 32),
  -- The account in the answer, as it was shown.
  shown_account text not null
    constraint account_requests_shown_account_object check (json_typeof(shown_account::json) = 'object'),
  created_at timestamptz not null default now()
    constraint account_requests_created_at_finite check (isfinite(created_at))
);

create index account_requests_key_hash_idx on account_requests (key_hash);
create index account_requests_created_at_idx on account_requests (created_at);

select isolate_accounts('account_requests');
create policy staff_look on account_requests for select to latchkey_staff using (true);
select open_to('account_requests', 'latchkey_jobs');
grant insert on account_requests to latchkey_portal;
grant select on account_requests to latchkey_staff;
-- A row that is locked before it is deleted has to be one that might be changed.
grant select, update (created_at), delete on account_requests to latchkey_jobs;

-- A backend changes accounts as staff do: in the one that it named.
grant update (name, kind, external_id, metadata) on accounts to latchkey_staff;

-- As before, and takes the metadata, in which a backend may have put something about people.
create or replace function delete_current_account() returns timestamptz language plpgsql as $$
declare
  ended constant uuid := current_account();
begin
  delete from sessions where account_id = ended;
  delete from one_time_tokens where account_id = ended;
  delete from account_requests where account_id = ended;
  update invitations set revoked_at = now() where account_id = ended and accepted_at is null and revoked_at is null;
  update accounts set deleted_at = now(), suspended_at = coalesce(suspended_at, now()), metadata = null
  where id = ended;
  perform forget_people(array(select user_id from memberships where account_id = ended));
  return now();
end $$;

-- As before, and what a backend has put into an account that ends with its last member goes with the name.
create or replace function begin_erasure(person uuid)
  returns table (account_id uuid, action text, target_kind text, target_id uuid, reason text) language plpgsql as $$
#variable_conflict use_column
declare
  address text;
  accounts_of uuid[];
  ended uuid[];
begin
  select users.email into address from users where users.id = person for update;
  if not found then return; end if;
  -- Before the accounts: whoever ends a session has its row, and then waits for the account to tell of it.
  delete from sessions where user_id = person;
  perform from accounts where id in (select memberships.account_id from memberships where user_id = person)
  order by id for update;
  select coalesce(array_agg(membership.account_id), '{}'),
    coalesce(array_agg(membership.account_id) filter (where not held.by_others and not held.by_keys), '{}')
  into accounts_of, ended
  from memberships membership join accounts account on account.id = membership.account_id, lateral (
    select
      exists (
        select from memberships other where other.account_id = account.id and other.user_id <> person) as by_others,
      exists (
        select from api_keys key where key.account_id = account.id and key.revoked_at is null
          and (key.expires_at is null or key.expires_at > now())) as by_keys) held
  where membership.user_id = person and account.deleted_at is null;
  if exists (
    select from memberships membership
    where membership.user_id = person and membership.role = 'owner'
      and membership.account_id = any (accounts_of) and membership.account_id <> all (ended)
      and not exists (
        select from memberships other where other.account_id = membership.account_id and other.user_id <> person
          and other.role = 'owner'))
  then
    raise exception 'an account would be left without an owner'
      using errcode = 'check_violation', constraint = 'memberships_last_owner';
  end if;

  -- By the time that it is now: what others did until the locks were there is before it.
  insert into erasures (user_id, addresses, created_at) values (person, array[address], clock_timestamp());
  return query
    with taken_back as (
      update invitations set revoked_at = now()
      where (inviter_id = person or account_id = any (ended)) and accepted_at is null and revoked_at is null
      returning id, account_id, email
    ), voided as (
      update one_time_tokens set used_at = now() from taken_back
      where one_time_tokens.subject_id = taken_back.id and one_time_tokens.used_at is null
    ), unsent as (
      delete from mails using taken_back
      where mails.subject_id = taken_back.id and mails.kind = 'invitation' and mails.state = 'waiting'
    )
    select account_id, 'invitation.revoked', 'invitation', id, email from taken_back;
  return query select id, 'user.erased', 'user', person, null::text from unnest(accounts_of) id;
  return query select id, 'account.deleted', 'account', id, null::text from unnest(ended) id;
  return query select null::uuid, 'user.erased', 'user', person, null::text;

  update accounts set deleted_at = now(), suspended_at = coalesce(suspended_at, now()), metadata = null
  where id = any (ended);
  delete from account_requests where account_id = any (ended);
  -- What somebody alone had may be called by them.
  update accounts set name = 'erased account', external_id = null, metadata = null
  where deleted_at is not null and id in (select memberships.account_id from memberships where user_id = person)
    and not exists (
      select from memberships other where other.account_id = accounts.id and other.user_id <> person);
  delete from one_time_tokens where email = address or account_id = any (ended);
  delete from mails where recipient = address or user_id = person;
  delete from signups where email = address;
  delete from memberships where user_id = person;
  -- With the second factor, by a foreign key.
  delete from users where id = person;
end $$;

do $$
declare
  signature regprocedure;
begin
  foreach signature in array array['delete_current_account()', 'begin_erasure(uuid)']::regprocedure[] loop
    execute format('alter function %s security definer set search_path = %I, pg_temp', signature, current_schema());
  end loop;
end $$;
