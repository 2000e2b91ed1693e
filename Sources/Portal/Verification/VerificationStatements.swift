import Foundation
import Postgres

/// The columns that ``FoundKey`` expects, from `verifiableKeyTables`.
private let verifiableKeyColumns = """
  key.key_hash, \(verifiableSettingColumns),
  case when key.api_id is not null then (select api.slug from apis api where api.id = key.api_id) end,
  case when key.has_grants then array(
    select role.name from key_roles held join roles role on role.id = held.role_id
    where held.account_id = key.account_id and held.key_id = key.id order by role.name collate "C") end as roles,
  case when key.has_grants then array(
    select permission.slug
    from key_effective_permissions held join permissions permission on permission.id = held.permission_id
    where held.account_id = key.account_id and held.key_id = key.id
    order by permission.slug collate "C") end as permissions,
  case when key.api_id is not null then (
    select api.endpoint_limits_digest from apis api where api.id = key.api_id) end as endpoint_limits_digest,
  key.credits_id, account.credits_id as account_credits_id
  """

/// The columns of a `VerifiableKey` before the slug of its api, its roles and its permissions, for `api_keys key`,
/// `accounts account` and `plans plan`, or for rows of these types.
let verifiableSettingColumns = """
  key.id, key.lineage_id, key.account_id, key.name, key.environment, key.scopes, plan.scopes,
  least(key.rate_limit_per_minute, plan.rate_limit_per_minute_max), key.limit_names,
  key.limit_values::bigint[], key.limit_window_seconds::bigint[], key.named_limits::text,
  account.shared_limit_per_minute, account.named_limits::text as account_limits, key.rate_limit_mode,
  account.rate_limit_mode, key.allowed_ips::text[], \(effectiveExpiry),
  key.revoked_at is not null, account.suspended_at is not null, key.disabled_at is not null,
  key.api_id
  """

private let verifiableKeyTables = """
  api_keys key
  join accounts account on account.id = key.account_id
  join plans plan on plan.name = account.plan
  """

/// A key, restricted by its plan, and the position of the log at which it was read. If there is no key, the result is
/// one row with only the position. A key that cannot be decoded fails by itself: the other rows are for other callers.
struct FoundKey {
  let position: LogPosition
  let found: (hash: SecretHash, key: Result<VerifiableKey, PostgresError>)?

  init(row: inout PostgresRow) throws(PostgresError) {
    position = try LogPosition(columns: &row)
    guard let hash = try row.next(SecretHash?.self) else {
      found = nil
      return
    }
    found = (hash, Result { () throws(PostgresError) in try VerifiableKey(columns: &row) })
  }
}

extension VerifiableKey {
  init(columns row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), lineageID: try row.next(), accountID: try row.next(), name: try row.next(),
      environment: try row.next(), scopes: Scope.intersection(try row.next(), try row.next()),
      rateLimitPerMinute: try row.next(), namedLimits: try [RateLimit](columns: &row),
      accountLimitPerMinute: try row.next(), accountLimits: try [RateLimit](column: row.next()),
      rateLimitMode: try row.next(), accountLimitMode: try row.next(),
      allowedIPs: try [AddressBlock](column: row.next()), expiresAt: try row.next(), isRevoked: try row.next(),
      isSuspended: try row.next(), isDisabled: try row.next(),
      grants: KeyGrants(
        apiID: try row.next(), apiSlug: try row.next(), roles: try row.next([String]?.self) ?? [],
        permissions: try row.next([String]?.self) ?? [], endpointLimitsDigest: try row.next()),
      credits: KeyCredits(own: try row.next(), account: try row.next()))
  }
}

/// The endpoint limits of apis that have any. Those that cannot be decoded fail by themselves.
struct FindEndpointLimits: PostgresStatement {
  static let sql = """
    select id, endpoint_limits_digest, endpoint_limits::text from apis
    where id = any ($1) and endpoint_limits is not null
    """
  let apiIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(apiIDs) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CompiledEndpointLimits {
    CompiledEndpointLimits(
      apiID: try row.next(), digest: try row.next(),
      limits: Result { () throws(PostgresError) in try EndpointLimits(column: row.next()) })
  }
}

/// Finds keys by hash, together with the position of the log in the same snapshot.
struct FindVerifiableKeys: PostgresStatement {
  static let sql = """
    select \(headColumns), found.* from invalidation_head head left join (
      select \(verifiableKeyColumns) from \(verifiableKeyTables) where key.key_hash = any ($1)
    ) found on true
    """
  let hashes: [SecretHash]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(hashes) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> FoundKey { try FoundKey(row: &row) }
}

/// Opens a cursor over the keys, most recently used first.
struct DeclareRecentlyUsedKeys: PostgresStatement {
  static let sql = """
    declare recently_used_keys no scroll cursor for
    select key_id from key_activity where last_used_at is not null order by last_used_at desc
    """
}

/// The next keys of the cursor.
struct FetchRecentlyUsedKeys: PostgresStatement {
  typealias Row = UUID
  static let countMax = 1_000
  static let sql = "fetch \(countMax) from recently_used_keys"
}

/// Finds keys by ID, as ``FindVerifiableKeys`` does by hash.
struct FindVerifiableKeysByID: PostgresStatement {
  static let sql = """
    select \(headColumns), found.* from invalidation_head head left join (
      select \(verifiableKeyColumns) from \(verifiableKeyTables) where key.id = any ($1)
    ) found on true
    """
  let ids: ArraySlice<UUID>
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Array(ids)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> FoundKey { try FoundKey(row: &row) }
}
