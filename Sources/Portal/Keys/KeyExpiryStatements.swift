import Foundation
import Postgres

/// Enqueues notices to owners and admins for keys that expire within 14, 3 or 1 days, by their own expiry or by the
/// plan's maximum lifetime: one notice per key and number of days. Keys that were created within that number of days
/// of their expiry get none, and neither do rolled keys. Returns the number of keys.
struct NoteExpiringKeys: PostgresStatement {
  typealias Row = Int
  static let sql = """
    with candidate as (
      select id from api_keys
      where expires_at > now() and expires_at <= now() + make_interval(days => $2::integer)
        and revoked_at is null and rolled_at is null
      union
      select key.id
      from plans plan join accounts account on account.plan = plan.name join api_keys key on key.account_id = account.id
      where key.created_at <= now() + make_interval(hours => 24 * ($2::integer - plan.max_key_lifetime_days))
        and key.revoked_at is null and key.rolled_at is null
    ), expiring as (
      select key.id, key.account_id, account.name as account_name, key.name, key.key_start, expiry.expires_at,
        within.days
      from candidate
      join api_keys key on key.id = candidate.id
      join accounts account on account.id = key.account_id
      join plans plan on plan.name = account.plan
      cross join lateral (select \(effectiveExpiry) as expires_at) expiry
      cross join lateral (
        select min(days) as days from unnest($1::bigint[]) days
        where expiry.expires_at <= now() + make_interval(days => days::integer)) within
      where expiry.expires_at > now() and account.suspended_at is null
        and key.created_at < expiry.expires_at - make_interval(days => within.days::integer)
        and not exists (
          select from key_expiry_notices notice
          where notice.key_id = key.id and notice.expires_at = expiry.expires_at and notice.days = within.days)
      order by expiry.expires_at limit $3
    ), noted as (
      insert into key_expiry_notices (account_id, key_id, expires_at, days)
      select account_id, id, expires_at, days from expiring
      on conflict do nothing
      returning key_id
    ), put as (
      insert into mails (id, kind, recipient, account_id, user_id, subject_id, parameters)
      select gen_random_uuid(), $4, person.email, expiring.account_id, person.id, expiring.id, jsonb_build_object(
        'accountName', expiring.account_name, 'keyName', expiring.name, 'keyStart', expiring.key_start,
        'expiresAt', to_char(expiring.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'))
      from noted
      join expiring on expiring.id = noted.key_id
      join memberships membership on membership.account_id = expiring.account_id
      join users person on person.id = membership.user_id
      where membership.role in ('owner', 'admin')
    )
    select count(*) from noted
    """
  /// Days before the expiry.
  static let days = [14, 3, 1]
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(Self.days, Self.days.max() ?? 0, limit, Mail.Kind.keyExpiring)
  }
}

struct DeleteOldExpiryNotices: PostgresStatement {
  static let sql = "delete from key_expiry_notices where expires_at < now()"
}
