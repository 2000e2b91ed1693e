-- Sessions that can be shown and ended one by one, the second factor, and accounts that their owners deleted.

alter table sessions
  -- What may be shown; the token's hash is not.
  add column id uuid not null default gen_random_uuid(),
  add column last_seen_at timestamptz not null default now(),
  add column ip inet,
  add column user_agent text constraint sessions_user_agent_length check (length(user_agent) <= 256),
  add constraint sessions_id_unique unique (id);

alter table staff_sessions
  add column id uuid not null default gen_random_uuid(),
  add column last_seen_at timestamptz not null default now(),
  add column ip inet,
  add column user_agent text constraint staff_sessions_user_agent_length check (length(user_agent) <= 256),
  add constraint staff_sessions_id_unique unique (id);

-- A person's second factor by time (TOTP, RFC 6238); without confirmed_at it is only being set up.
create table second_factors (
  person_id uuid constraint second_factors_pkey primary key generated always as (coalesce(user_id, staff_id)) stored,
  user_id uuid constraint second_factors_user_id_unique unique
    constraint second_factors_user_fkey references users (id) on delete cascade,
  staff_id uuid constraint second_factors_staff_id_unique unique
    constraint second_factors_staff_fkey references staff (id) on delete cascade,
  -- Twenty bytes, encrypted under the deployment's SECRET_KEY (AES-256-GCM: nonce, ciphertext, tag).
  sealed_secret bytea not null constraint second_factors_sealed_secret_length check (length(sealed_secret) = 48),
  -- The step of time whose code was used last; none up to it is taken again.
  last_step bigint not null default 0,
  confirmed_at timestamptz,
  -- SHA-256 of the codes that are left; each goes with its use.
  recovery_code_hashes bytea[] not null default '{}'
    constraint second_factors_recovery_codes_count check (cardinality(recovery_code_hashes) <= 10),
  created_at timestamptz not null default now(),
  constraint second_factors_one_person check (num_nonnulls(user_id, staff_id) = 1)
);

-- A person's, of no account: those who find out who is logged in see it, and nobody else.
grant select, insert, update, delete on second_factors to latchkey_identity;

-- A changed address is to be confirmed anew.
grant update (email) on users to latchkey_identity;

-- Its keys are revoked, nobody can log in to it, and nobody finds it; what it did stays.
alter table accounts add column deleted_at timestamptz
  constraint accounts_deleted_suspended check (deleted_at is null or suspended_at is not null);

-- What is confirmed may also be the address that a user wants to have from now on.
alter table one_time_tokens
  drop constraint one_time_tokens_purpose_known,
  add constraint one_time_tokens_purpose_known
    check (purpose in ('password_reset', 'email_verification', 'email_change', 'sign_up', 'invitation'));

-- Whose invitations end with their rights. NULL: it was made before this was noted.
alter table invitations add column inviter_id uuid;

-- Takes address, password and second factor from those of some people who are in no account any more, so that the address
-- can sign up again; their rows stay, because others name them. With its owner's rights: nobody else needs to be able to
-- change a stranger. Their rows are to be locked before, so that of two accounts that end, or are left, at the same time the
-- second sees the first.
create function forget_people(people uuid[]) returns void language sql security definer as $$
  with forgotten as (
    update users person set
      email = 'deleted+' || person.id || '@deleted.invalid', password_hash = '', email_verified_at = null
    where person.id = any (people) and not exists (
      select from memberships membership join accounts account on account.id = membership.account_id
      where membership.user_id = person.id and account.deleted_at is null)
    returning person.id
  ), factors as (
    delete from second_factors using forgotten where second_factors.user_id = forgotten.id
  )
  delete from one_time_tokens using forgotten where one_time_tokens.user_id = forgotten.id
$$;

-- Ends the current account, all of it but what happened there. With its owner's rights, as above.
create function delete_current_account() returns timestamptz language plpgsql security definer as $$
declare
  ended constant uuid := current_account();
begin
  delete from sessions where account_id = ended;
  delete from one_time_tokens where account_id = ended;
  update invitations set revoked_at = now() where account_id = ended and accepted_at is null and revoked_at is null;
  update accounts set deleted_at = now(), suspended_at = coalesce(suspended_at, now()) where id = ended;
  perform forget_people(array(select user_id from memberships where account_id = ended));
  return now();
end $$;

do $$
declare
  signature regprocedure;
begin
  foreach signature in array array['forget_people(uuid[])', 'delete_current_account()']::regprocedure[] loop
    execute format('alter function %s set search_path = %I, pg_temp', signature, current_schema());
    execute format('revoke execute on function %s from public', signature);
    execute format('grant execute on function %s to latchkey_portal', signature);
  end loop;
end $$;
