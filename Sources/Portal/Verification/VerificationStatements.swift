import Foundation
import Postgres

/// The columns that ``FoundKey`` expects, from `verifiableKeyTables`.
private let verifiableKeyColumns = """
  key.key_hash, \(verifiableSettingColumns),
  case when key.api_id is not null or plan.api_ids is not null then \(apis("id")) end as api_ids,
  case when key.api_id is not null or plan.api_ids is not null then \(apis("slug")) end as api_slugs,
  case when \(hasEffectiveGrants) then \(effectiveRoles) end as roles,
  case when \(hasEffectiveGrants) then \(effectivePermissions) end as permissions,
  key.resources,
  case when key.api_id is not null then (
    select api.endpoint_limits_digest from apis api where api.id = key.api_id) end as endpoint_limits_digest,
  key.credits_id, account.credits_id as account_credits_id
  """

/// The columns of a `VerifiableKey` before its apis, its roles and its permissions, for `api_keys key`,
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

/// The ids of the apis that `api_keys key` and `plans plan` have in common, unless that is all, as rows of `common`.
let commonAPIs = """
  unnest(case
      when key.api_id is null then plan.api_ids
      when plan.api_ids is null or key.api_id = any (plan.api_ids) then array[key.api_id]
    end) common (id)
  """

/// A column of these apis, as an array in the order of the ids.
private func apis(_ column: String) -> String {
  "array(select api.\(column) from \(commonAPIs) join apis api on api.id = common.id order by api.id)"
}

private let verifiableKeyTables = """
  api_keys key
  join accounts account on account.id = key.account_id
  join plans plan on plan.name = account.plan
  """

/// A key, restricted by its plan, and the position of the log at which it was read. If there is no key, the result is
/// one row with only the position. A key that cannot be decoded fails by itself: the other rows are for other callers.
struct FoundKey {
  let position: LogPosition
  /// The forms of which there are imported keys. The same in all rows, like the next.
  let importForms: ImportForms
  /// Imported keys that were not found by their own hash, or whose start is not known yet.
  let firstUses: [FirstUse]
  let found: (hash: SecretHash, key: Result<VerifiableKey, PostgresError>)?

  init(row: inout PostgresRow) throws(PostgresError) {
    position = try LogPosition(columns: &row)
    importForms = ImportForms(names: try row.next())
    let (ids, hashes) = (try row.next([UUID]?.self) ?? [], try row.next([SecretHash]?.self) ?? [])
    firstUses = zip(ids, hashes).map { FirstUse(keyID: $0, hash: $1) }
    guard let hash = try row.next(SecretHash?.self) else {
      found = nil
      return
    }
    found = (hash, Result { () throws(PostgresError) in try VerifiableKey(columns: &row) })
  }
}

extension VerifiableKey {
  init(columns row: inout PostgresRow) throws(PostgresError) {
    let (id, lineageID, accountID, name, environment) = (
      try row.next(UUID.self), try row.next(UUID?.self), try row.next(UUID.self), try row.next(String.self),
      try row.next(Key.Environment.self)
    )
    let (scopes, planScopes) = (try row.next([String].self), try row.next([String].self))
    self.init(
      id: id, lineageID: lineageID, accountID: accountID, name: name, environment: environment,
      scopes: Scope.intersection(scopes, planScopes),
      rateLimitPerMinute: try row.next(), namedLimits: try [RateLimit](columns: &row),
      accountLimitPerMinute: try row.next(), accountLimits: try [RateLimit](column: row.next()),
      rateLimitMode: try row.next(), accountLimitMode: try row.next(),
      allowedIPs: try [AddressBlock](column: row.next()), expiresAt: try row.next(), isRevoked: try row.next(),
      isSuspended: try row.next(), isDisabled: try row.next(),
      grants: KeyGrants(
        apiID: try row.next(), apis: try [CatalogNamed](columns: &row), roles: try row.next([String]?.self) ?? [],
        permissions: try row.next([String]?.self) ?? [],
        resources: try ResourceScopes(column: row.next()).intersection(planScopes),
        endpointLimitsDigest: try row.next()),
      credits: KeyCredits(own: try row.next(), account: try row.next()))
  }
}

extension [CatalogNamed] {
  /// Reads two arrays: ids and names. Nil if they are null.
  fileprivate init?(columns row: inout PostgresRow) throws(PostgresError) {
    let (ids, names) = (try row.next([UUID]?.self), try row.next([String]?.self))
    guard let ids, let names else { return nil }
    self = zip(ids, names).map { CatalogNamed(id: $0, name: $1) }
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

/// An imported key that is used for the first time, and the hash of the text that was presented.
struct FirstUse: Sendable, Equatable {
  var keyID: UUID
  var hash: SecretHash
}

/// A presented text by its own hash, and what another system may have stored of it.
struct AskedImport: Sendable {
  var hash: SecretHash
  var imported: ImportedHash
}

/// Finds keys by hash, together with the position of the log in the same snapshot.
struct FindVerifiableKeys: PostgresStatement {
  static let sql = """
    select \(headColumns), head.import_forms, null::uuid[], null::bytea[], found.*
    from invalidation_head head left join (
      select \(verifiableKeyColumns) from \(verifiableKeyTables) where key.key_hash = any ($1)
    ) found on true
    """
  let hashes: [SecretHash]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(hashes) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> FoundKey { try FoundKey(row: &row) }
}

/// As ``FindVerifiableKeys``, and finds imported keys that have not been used. A text that is a key by its own hash is
/// no imported one; of several that it may be, the oldest counts.
struct FindImportedKeysToo: PostgresStatement {
  static let sql = """
    select \(headColumns), head.import_forms, used.ids, used.hashes, found.*
    from invalidation_head head cross join (
      select array_agg(id order by hash) as ids, array_agg(hash order by hash) as hashes from (
        select distinct on (hash) id, hash from (
          select key.id, asked.hash
          from unnest($2::text[], $3::bytea[], $4::bytea[]) asked (form, import_hash, hash)
          join api_keys key on key.import_form = asked.form and key.import_hash = asked.import_hash
          where key.import_hash is not null and key.key_hash is null
            and not exists (select from api_keys known where known.key_hash = asked.hash)
          union all
          select key.id, key.key_hash from api_keys key
          where key.key_hash = any ($1) and key.key_start is null and key.import_form is not null
        ) candidate
        order by hash, id) chosen
    ) used left join (
      select \(verifiableKeyColumns) from \(verifiableKeyTables) where key.key_hash = any ($1)
    ) found on true
    """
  let hashes: [SecretHash]
  let asked: [AskedImport]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      hashes, asked.map(\.imported.form.name), asked.map { PostgresBytes($0.imported.bytes) }, asked.map(\.hash))
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> FoundKey { try FoundKey(row: &row) }
}

/// Gives imported keys the hash and the start of what was presented. Returns the number of keys that had none.
struct UseImportedKeys: PostgresStatement {
  typealias Row = Int
  static let isRead = false
  static let sql = "select use_imported_keys($1, $2, $3)"
  let ids: [UUID]
  let hashes: [SecretHash]
  let starts: [String]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(ids, hashes, starts) }
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
    select \(headColumns), head.import_forms, null::uuid[], null::bytea[], found.*
    from invalidation_head head left join (
      select \(verifiableKeyColumns) from \(verifiableKeyTables) where key.id = any ($1)
    ) found on true
    """
  let ids: ArraySlice<UUID>
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Array(ids)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> FoundKey { try FoundKey(row: &row) }
}
