import Foundation
import Postgres

/// The columns of `key_policies policy`, with defaults for an account that has no row there.
let keyPolicyColumns = """
  coalesce(policy.expiry_required, false), policy.max_lifetime_days, coalesce(policy.allowlist_required, false),
  policy.allowed_scopes, policy.disable_after_idle_days
  """

extension KeyRules {
  /// Reads the plan's columns, then the policy's.
  init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      plan: try Plan(row: &row),
      policy: KeyPolicy(
        isExpiryRequired: try row.next(), maxLifetimeDays: try row.next(), isAllowlistRequired: try row.next(),
        allowedScopes: try row.next(), disableAfterIdleDays: try row.next()))
  }
}

/// Separate from `LockAccount` and to be executed after it, so that it sees what was committed during the wait for the
/// lock.
struct FindKeyRules: PostgresStatement {
  static let sql = """
    select \(planColumns), \(keyPolicyColumns)
    from accounts account join plans plan on plan.name = account.plan
    left join key_policies policy on policy.account_id = account.id
    where account.id = $1 and account.deleted_at is null
    """
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> KeyRules { try KeyRules(row: &row) }
}

struct SetKeyPolicy: PostgresStatement {
  static let sql = """
    insert into key_policies
      (account_id, expiry_required, max_lifetime_days, allowlist_required, allowed_scopes, disable_after_idle_days)
    values ($1, $2, $3, $4, $5, $6)
    on conflict (account_id) do update set
      expiry_required = excluded.expiry_required, max_lifetime_days = excluded.max_lifetime_days,
      allowlist_required = excluded.allowlist_required, allowed_scopes = excluded.allowed_scopes,
      disable_after_idle_days = excluded.disable_after_idle_days
    """
  let accountID: UUID
  let policy: KeyPolicy
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      accountID, policy.isExpiryRequired, policy.maxLifetimeDays.map { Int32($0) }, policy.isAllowlistRequired,
      policy.allowedScopes, policy.disableAfterIdleDays.map { Int32($0) })
  }
}

/// The accounts whose policy disables idle keys, ordered by id.
struct ListIdlePolicies: PostgresStatement {
  typealias Row = UUID
  static let sql = """
    select account_id from key_policies
    where disable_after_idle_days is not null and ($1::uuid is null or account_id > $1)
    order by account_id
    limit $2
    """
  let after: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(after, count) }
}

/// Disables keys that have been idle since they were created, enabled or last used, whichever is latest. Keys that are
/// expired or revoked stay as they are. Returns the ids of the disabled keys.
struct DisableIdleKeys: PostgresStatement {
  typealias Row = UUID
  static let sql = """
    update api_keys key set disabled_at = now()
    from key_policies policy
    where key.account_id = $1 and policy.account_id = key.account_id
      and key.disabled_at is null and key.revoked_at is null and (key.expires_at is null or key.expires_at > now())
      and now() - make_interval(hours => 24 * policy.disable_after_idle_days) > greatest(
        key.created_at, key.enabled_at, (
          select activity.last_used_at from key_activity activity
          where activity.account_id = key.account_id and activity.key_id = key.id))
    returning key.id
    """
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
}
