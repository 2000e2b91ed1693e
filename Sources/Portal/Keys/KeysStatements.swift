import Foundation
import Postgres

extension Key.Status: PostgresCodable {}

/// The columns of a `Key`, in the order in which `Key.init(row:)` reads them, from `keyTables`.
private let keyColumns = """
  key.id, key.account_id, key.name, key.key_start, key.environment, key.scopes, key.rate_limit_per_minute,
  key.limit_names, key.limit_values::bigint[], key.limit_window_seconds::bigint[],
  key.named_limits::text, key.rate_limit_mode, key.allowed_ips::text[], key.expires_at, key.revoked_at,
  key.disabled_at, key.rolled_at, account.suspended_at,
  activity.last_used_at, coalesce(activity.total_requests, 0), key.created_at,
  key.description, key.tags, key.metadata, key.created_by_kind, key.created_by_id, key.created_by_name, key.revision,
  key.api_id, key.key_prefix, key.key_bytes, key.resources, \(grantColumns), \(creditColumns), \(planColumns),
  \(keyPolicyColumns)
  """

/// The names of the roles of `api_keys key`, the slugs of its direct permissions, those of all its permissions, and the
/// names of all its roles.
private let grantColumns = """
  case when key.has_grants then array(
    select role.name from key_roles held join roles role on role.id = held.role_id
    where held.account_id = key.account_id and held.key_id = key.id order by role.name collate "C") else '{}' end,
  case when key.has_grants then array(
    select permission.slug from key_permissions held join permissions permission on permission.id = held.permission_id
    where held.account_id = key.account_id and held.key_id = key.id order by permission.slug collate "C") else '{}' end,
  case when \(hasEffectiveGrants) then \(effectivePermissions) else '{}' end,
  case when \(hasEffectiveGrants) then \(effectiveRoles) else '{}' end
  """

/// Whether `api_keys key` may have roles or permissions, its own or those that `plans plan` gives it.
let hasEffectiveGrants = "(key.has_grants or plan.role_ids <> '{}')"

/// The names of the roles that `api_keys key` has, itself or by `plans plan`, as an array.
let effectiveRoles = """
  array(
    select role.name from roles role where role.id in (
      select held.role_id from key_roles held where held.account_id = key.account_id and held.key_id = key.id
      union all select unnest(plan.role_ids))
    order by role.name collate "C")
  """

/// The slugs of the permissions that `api_keys key` has, directly or by one of these roles, as an array.
let effectivePermissions = """
  array(
    select permission.slug from permissions permission where permission.id in (
      select held.permission_id from key_effective_permissions held
      where held.account_id = key.account_id and held.key_id = key.id
      union all
      select included.permission_id from role_permissions included where included.role_id = any (plan.role_ids))
    order by permission.slug collate "C")
  """

private let keyTables = tables(joinedTo: "api_keys")

private func tables(joinedTo keys: String) -> String {
  """
  \(keys) key
  join accounts account on account.id = key.account_id and account.deleted_at is null
  join plans plan on plan.name = account.plan
  left join key_policies policy on policy.account_id = key.account_id
  left join key_activity activity on activity.account_id = key.account_id and activity.key_id = key.id
  left join credits bucket on bucket.account_id = key.account_id and bucket.id = key.credits_id
  """
}

/// Keys in descending order of id, newest first. The page is selected first and joined with the other tables of a `Key`
/// afterwards, because an account may have ten thousand keys. `condition` refers to `api_keys key`, `accounts account`
/// and `plans plan`.
func newestKeys(where condition: String, limit: String) -> String {
  """
  with found as materialized (
    select key.id, key.account_id, key.name, key.key_start, key.environment, key.scopes, key.rate_limit_per_minute,
      key.limit_names, key.limit_values, key.limit_window_seconds, key.rate_limit_mode, key.allowed_ips, key.expires_at,
      key.revoked_at, key.disabled_at, key.rolled_at, key.created_at, key.description, key.tags, key.metadata,
      key.created_by_kind, key.created_by_id, key.created_by_name, key.revision, key.api_id, key.key_prefix,
      key.key_bytes, key.has_grants, key.credits_id, key.named_limits, key.resources
    from api_keys key
      join accounts account on account.id = key.account_id and account.deleted_at is null
      join plans plan on plan.name = account.plan
    where \(condition)
    order by key.id desc
    limit \(limit)
  )
  select \(keyColumns) from \(tables(joinedTo: "found"))
  order by key.id desc
  """
}

/// All keys of accounts that are not deleted, in the order of their ids, with further columns after those of a `Key`.
func allKeys(columns: String) -> String {
  "select \(keyColumns), \(columns) from \(keyTables) order by key.id"
}

/// The earlier of a key's own expiry and the end of the plan's maximum lifetime, for `api_keys key` and `plans plan`.
let effectiveExpiry = """
  least(key.expires_at, key.created_at + make_interval(hours => 24 * plan.max_key_lifetime_days))
  """

extension Key {
  init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), accountID: try row.next(), name: try row.next(), start: try row.next(),
      environment: try row.next(), scopes: try row.next(), rateLimitPerMinute: try row.next(),
      limits: try [RateLimit](columns: &row), rateLimitMode: try row.next(),
      allowedIPs: try [AddressBlock](column: row.next()), expiresAt: try row.next(), revokedAt: try row.next(),
      disabledAt: try row.next(), rolledAt: try row.next(), accountSuspendedAt: try row.next(),
      lastUsedAt: try row.next(), totalRequests: try row.next(), createdAt: try row.next(), description: try row.next(),
      tags: try row.next(), metadata: try row.next(), createdBy: try Creator(columns: &row), revision: try row.next(),
      apiID: try row.next(), prefix: try row.next(), byteLength: try row.next(),
      resources: try ResourceScopes(column: row.next()), roles: try row.next(),
      permissions: try row.next(), effectivePermissions: try row.next(), effectiveRoles: try row.next(),
      credits: try CreditBalance(columns: &row), rules: try KeyRules(row: &row))
  }
}

extension Key.Creator {
  init?(columns row: inout PostgresRow) throws(PostgresError) {
    let (kind, id, name) = (try row.next(String?.self), try row.next(UUID?.self), try row.next(String?.self))
    guard let kind, let name else { return nil }
    self.init(kind: kind, id: id, name: name)
  }
}

extension [RateLimit] {
  /// Reads four columns: arrays of names, amounts and windows in seconds, and ``json``, which takes their place unless
  /// it is null. Throws `.decoding` for values out of range.
  init(columns row: inout PostgresRow) throws(PostgresError) {
    let (names, limits, seconds) = (
      try row.next([String].self), try row.next([Int].self), try row.next([Int].self)
    )
    guard limits.allSatisfy({ (0...Int(Int32.max)).contains($0) }),
      seconds.allSatisfy({ (1...NarrowLimits.windowSecondsMax).contains($0) })
    else { throw PostgresError(.decoding, "a limit is out of range") }
    let text = try row.next(String?.self)
    self =
      text == nil
      ? zip(names, zip(limits, seconds)).map { RateLimit(name: $0, limit: $1.0, windowSeconds: $1.1) }
      : try [RateLimit](column: text)
  }
}

/// The columns of a key's named limits. Those that a server of an older version can apply are where it looks for them.
struct NarrowLimits {
  static let countMax = 8
  static let windowSecondsMax = 86_400

  let names: [String]
  let limits: [Int32]
  let seconds: [Int32]
  /// Nil if the other columns have all limits; otherwise they are empty.
  let json: String?

  init(_ limits: [RateLimit]) {
    let areNarrow =
      limits.count <= Self.countMax
      && limits.allSatisfy { limit in
        limit.bucket == nil && limit.isAutomatic && limit.windowMilliseconds % 1_000 == 0
          && limit.windowSeconds <= Self.windowSecondsMax
      }
    let narrow = areNarrow ? limits : []
    names = narrow.map(\.name)
    self.limits = narrow.map { Int32(clamping: $0.limit) }
    seconds = narrow.map { Int32(clamping: $0.windowSeconds) }
    json = areNarrow ? nil : limits.json
  }
}

extension [AddressBlock] {
  init?(column texts: [String]?) throws(PostgresError) {
    guard let texts else { return nil }
    self = texts.compactMap { AddressBlock($0) }
    guard count == texts.count else { throw PostgresError(.decoding, "allowed_ips contains an invalid address") }
  }
}

extension ResourceScopes {
  /// Null means none.
  init(column text: String?) throws(PostgresError) {
    guard let text else {
      self = .none
      return
    }
    guard let resources = ResourceScopes(text: text) else {
      throw PostgresError(.decoding, "resources is not an object of lists of scopes")
    }
    self = resources
  }

  /// What the column has for it.
  var column: String? { isEmpty ? nil : text }
}

/// The lineage of `api_keys key`: the id of its first key, which is the key's own id before the first roll.
private let lineage = "coalesce(key.lineage_id, key.id)"

/// The number of keys that count towards the cap, for `api_keys key` and `plans plan`. A key and its predecessor in its
/// grace count once. A predecessor whose successor is revoked or expired counts as well: otherwise rolling keys and
/// revoking the successors would yield any number of working keys. A key that was rolled before lineages were
/// introduced does not count.
let liveKeyCount = """
  count(distinct \(lineage)) filter (
    where key.revoked_at is null and (key.rolled_at is null or key.lineage_id is not null)
      and coalesce(\(effectiveExpiry), 'infinity') > now())
  """

/// The number of keys that count towards the account's cap. 0 without a cap: then there may be too many to count.
struct CountLiveKeys: PostgresStatement {
  typealias Row = Int
  static let sql = """
    select case when (
      select plan.key_cap from accounts account join plans plan on plan.name = account.plan where account.id = $1
    ) is null then 0 else (
      select \(liveKeyCount)
      from api_keys key join accounts account on account.id = key.account_id
      join plans plan on plan.name = account.plan
      where key.account_id = $1 and \(lineage) is distinct from (
        select \(lineage) from api_keys key where key.account_id = $1 and key.id = $2)
    ) end
    """
  let accountID: UUID
  /// A key to leave out, with its whole lineage.
  var otherThan: UUID?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, otherThan) }
}

struct InsertKey: PostgresStatement {
  typealias Row = Date
  static let sql = """
    insert into api_keys
      (id, account_id, name, key_start, key_hash, environment, scopes, rate_limit_per_minute, allowed_ips, expires_at,
      limit_names, limit_values, limit_window_seconds, rate_limit_mode, description, tags, metadata, created_by_kind,
      created_by_id, created_by_name, lineage_id, api_id, credits_id, named_limits, resources, key_prefix, key_bytes)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text[]::cidr[], $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
      (select \(lineage) from api_keys key where key.account_id = $2 and key.id = $21), $22, $23,
      $24::text::jsonb, $25, $26, $27)
    returning created_at
    """
  let id: UUID
  let accountID: UUID
  let settings: KeySettings
  let secret: Secret
  let creator: Actor
  /// The key that the new key succeeds.
  var predecessorID: UUID?
  /// Its credits; nil: unlimited.
  var bucketID: UUID?
  func bind(_ bindings: inout PostgresBindings) {
    let limits = NarrowLimits(settings.limits)
    bindings.append(
      id, accountID, settings.name, KeyFormat.start(of: secret), secret.hash, settings.environment, settings.scopes,
      settings.rateLimitPerMinute.map { Int32($0) }, settings.allowedIPs.map { $0.map(\.description) },
      settings.expiresAt, limits.names, limits.limits, limits.seconds, settings.rateLimitMode, settings.description,
      settings.tags, settings.metadata, creator.kind, creator.id, creator.name, predecessorID, settings.apiID,
      bucketID, limits.json, settings.resources.column, settings.prefix, settings.byteLength.map { Int32($0) })
  }
}

struct FindKey: PostgresStatement {
  static let sql = "select \(keyColumns) from \(keyTables) where key.account_id = $1 and key.id = $2"
  let accountID: UUID
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Key { try Key(row: &row) }
}

/// Like `FindKey`, and locks the key's row until the end of the transaction. The account must be locked first.
struct LockKey: PostgresStatement {
  static let sql = FindKey.sql + " for update of key"
  let accountID: UUID
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Key { try Key(row: &row) }
}

/// The other keys of a key's lineage that are still in the grace of a roll, locked as by `LockKey`. Only their own
/// expiry is considered: a key that expired by its plan could become valid again under another plan.
struct LockPredecessors: PostgresStatement {
  static let sql = """
    select \(keyColumns) from \(keyTables)
    where key.account_id = $1 and key.id <> $2 and key.rolled_at is not null and key.revoked_at is null
      and coalesce(key.expires_at, 'infinity') > now()
      and key.lineage_id = (select \(lineage) from api_keys key where key.account_id = $1 and key.id = $2)
    order by key.id
    for update of key
    """
  let accountID: UUID
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Key { try Key(row: &row) }
}

/// Newest first, starting below `before`. Parameters that the filter leaves open are null. A custom plan for a given
/// status keeps one branch of the `case`, whose conditions the planner can estimate: it reads keys in descending order
/// of id and stops at the limit.
struct ListKeys: PostgresStatement {
  static var isRead: Bool { true }
  private static let isUnblocked = "key.revoked_at is null and account.suspended_at is null"

  static let sql = newestKeys(
    where: """
      key.account_id = $1 and ($2::uuid is null or key.id < $2) and ($3::text is null or case $3
        when 'revoked' then key.revoked_at is not null
        when 'suspended' then key.revoked_at is null and account.suspended_at is not null
        when 'disabled' then \(isUnblocked) and key.disabled_at is not null
        when 'expired' then \(isUnblocked) and key.disabled_at is null and (\(effectiveExpiry) <= now()) is true
        when 'active' then \(isUnblocked) and key.disabled_at is null and (\(effectiveExpiry) <= now()) is not true
      end)
      and ($4::text[] is null or key.tags @> $4)
      and ($5::text is null or key.name ilike $5 or key.description ilike $5 or key.key_start ilike $5)
      and ($6::text is null or key.environment = $6)
      and ($8::uuid[] is null or key.api_id is null or key.api_id = any ($8))
      """,
    limit: "$7")
  let accountID: UUID
  let filter: KeyFilter
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      accountID, before, filter.status, filter.tags.isEmpty ? nil : filter.tags, filter.text?.anywhere,
      filter.environment, count, filter.apiIDs)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Key { try Key(row: &row) }
}

/// Writes all settings, which were read while the key was locked.
struct UpdateKey: PostgresStatement {
  static let sql = """
    update api_keys set
      name = $3, scopes = $4, rate_limit_per_minute = $5, limit_names = $6, limit_values = $7,
      limit_window_seconds = $8, rate_limit_mode = $9, allowed_ips = $10::text[]::cidr[], expires_at = $11,
      description = $12, tags = $13, metadata = $14, api_id = $16, named_limits = $17::text::jsonb, resources = $18,
      key_prefix = $19, key_bytes = $20,
      disabled_at = case when $15 then null else coalesce(disabled_at, now()) end,
      enabled_at = case when $15 and disabled_at is not null then now() else enabled_at end
    where account_id = $1 and id = $2
    """
  let accountID: UUID
  let id: UUID
  let settings: KeySettings
  let isEnabled: Bool
  func bind(_ bindings: inout PostgresBindings) {
    let limits = NarrowLimits(settings.limits)
    bindings.append(
      accountID, id, settings.name, settings.scopes, settings.rateLimitPerMinute.map { Int32($0) }, limits.names,
      limits.limits, limits.seconds, settings.rateLimitMode, settings.allowedIPs.map { $0.map(\.description) },
      settings.expiresAt, settings.description, settings.tags, settings.metadata, isEnabled, settings.apiID,
      limits.json, settings.resources.column, settings.prefix, settings.byteLength.map { Int32($0) })
  }
}

struct SetKeyResources: PostgresStatement {
  static let sql = "update api_keys set resources = $3 where account_id = $1 and id = $2"
  let accountID: UUID
  let id: UUID
  let resources: ResourceScopes
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, id, resources.column) }
}

/// Revokes a key unless it is revoked already. `expires_at` stays, so that the intended expiry remains visible.
struct RevokeKey: PostgresStatement {
  typealias Row = Date
  static let sql = """
    update api_keys set revoked_at = now()
    where account_id = $1 and id = $2 and revoked_at is null
    returning revoked_at
    """
  let accountID: UUID
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, id) }
}

/// The number of keys that ``RevokeAllKeys`` would revoke.
struct CountUnrevokedKeys: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from api_keys where account_id = $1 and revoked_at is null"
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
}

/// Revokes keys that are not revoked yet, at most ``countMax`` of them. Returns their ids.
struct RevokeAllKeys: PostgresStatement {
  typealias Row = UUID
  /// An account whose plan has no cap may have any number of keys.
  static let countMax = 10_000
  static let sql = """
    update api_keys set revoked_at = now() where account_id = $1 and id in (
      select id from api_keys where account_id = $1 and revoked_at is null order by id limit \(countMax))
    returning id
    """
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
}

/// Marks a key as rolled. Without a grace it is revoked immediately; with one it expires after the grace, but never
/// later than it would have. The first key of a lineage gets its own id as lineage.
struct RetireRolledKey: PostgresStatement {
  static let sql = """
    update api_keys key set
      rolled_at = now(),
      lineage_id = \(lineage),
      revoked_at = case when $3::bigint = 0 then now() end,
      expires_at = case when $3::bigint = 0 then expires_at
        else least(coalesce(expires_at, 'infinity'), now() + make_interval(secs => $3)) end
    where account_id = $1 and id = $2
    """
  let accountID: UUID
  let id: UUID
  let graceSeconds: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, id, graceSeconds) }
}
