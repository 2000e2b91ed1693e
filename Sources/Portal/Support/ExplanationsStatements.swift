import Foundation
import Postgres

/// Since when a key is in its states, for `api_keys key` and `accounts account`, or for rows of these types.
private let stateColumns = "key.created_at, key.revoked_at, account.suspended_at, key.disabled_at"

struct KeyStates: Sendable {
  var createdAt: Date
  var revokedAt: Date?
  var suspendedAt: Date?
  var disabledAt: Date?

  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    createdAt = try row.next()
    revokedAt = try row.next()
    suspendedAt = try row.next()
    disabledAt = try row.next()
  }
}

extension JudgedKey {
  init(key: VerifiableKey, _ states: KeyStates) {
    self.init(
      key: key, createdAt: states.createdAt, revokedAt: states.revokedAt, suspendedAt: states.suspendedAt,
      disabledAt: states.disabledAt)
  }
}

struct FindKeyStates: PostgresStatement {
  static let sql = """
    select \(stateColumns) from api_keys key join accounts account on account.id = key.account_id where key.id = $1
    """
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> KeyStates { try KeyStates(row: &row) }
}

/// The settings of a key as they were at a moment, in the columns of verification, and since when settings are kept.
/// Names of keys are not kept, and neither are credits.
struct FindSettingsAt: PostgresStatement {
  static let isRead = true
  static let sql = """
    select settings_kept_since(), found.* from (select) one left join (
      select \(stateColumns), \(verifiableSettingColumns),
        case when key.api_id is not null or plan.api_ids is not null then \(apis("(api.settings->>'id')::uuid")) end,
        case when key.api_id is not null or plan.api_ids is not null then \(apis("api.settings->>'slug'")) end,
        array(
          select held.name from (
            select settings_at('role', role.id, $2)->>'name' from (\(roleIDs)) role (id)) held (name)
          where held.name is not null order by held.name collate "C"),
        array(
          select held.slug from (
            select settings_at('permission', permission.id, $2)->>'slug' from (
              select jsonb_array_elements_text(settings_at('key_permissions', key.id::text, $2))
              union
              select jsonb_array_elements_text(settings_at('role_permissions', role.id, $2))
              from (\(roleIDs)) role (id)) permission (id)
            ) held (slug)
          where held.slug is not null order by held.slug collate "C"),
        key.resources,
        null::text, null::uuid, null::uuid, settings_at('api', key.api_id::text, $2)->>'endpoint_limits'
      from jsonb_populate_record(null::api_keys, settings_at('key', $1::uuid::text, $2) || '{"name": ""}') key
      cross join jsonb_populate_record(null::accounts, settings_at('account', key.account_id::text, $2)) account
      cross join jsonb_populate_record(null::plans, settings_at('plan', account.plan, $2)) plan
      where key.created_at <= $2) found on true
    """
  /// Of what was in common between `api_keys key` and `plans plan` at the moment $2.
  private static func apis(_ value: String) -> String {
    """
    array(
      select \(value) from \(commonAPIs) cross join settings_at('api', common.id::text, $2) api (settings)
      where api.settings is not null order by common.id)
    """
  }

  /// The ids of the roles of the key and of its plan, as texts.
  private static let roleIDs = """
    select jsonb_array_elements_text(settings_at('key_roles', key.id::text, $2))
    union select unnest(plan.role_ids)::text
    """

  /// Nil if there is no such key.
  let id: UUID?
  let at: Date
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, at) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (keptSince: Date?, key: JudgedKey?) {
    let (keptSince, createdAt) = (try row.next(Date?.self), try row.next(Date?.self))
    guard let createdAt else { return (keptSince, nil) }
    let (revokedAt, suspendedAt, disabledAt) = (
      try row.next(Date?.self), try row.next(Date?.self), try row.next(Date?.self)
    )
    var key = try VerifiableKey(columns: &row)
    if let text = try row.next(String?.self), let grants = key.grants, let apiID = grants.apiID {
      let limits = Result<EndpointLimits, PostgresError>.success(try EndpointLimits(column: text))
      key.grants = KeyGrants(grants, CompiledEndpointLimits(apiID: apiID, digest: "", limits: limits))
    }
    return (
      keptSince,
      JudgedKey(
        key: key, createdAt: createdAt, revokedAt: revokedAt, suspendedAt: suspendedAt, disabledAt: disabledAt)
    )
  }
}

/// Moves the time since when the history is complete, before what is older is deleted.
struct MoveSettingsBeginning: PostgresStatement {
  static let sql = """
    update settings_history set until = now() - make_interval(days => $1)
    where kind = 'beginning' and until < now() - make_interval(days => $1)
    """
  let days: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Int32(clamping: days)) }
}

/// Deletes versions that were over before the history begins.
struct DeleteOldSettings: PostgresStatement {
  static let sql = """
    delete from settings_history where id in (
      select old.id from settings_history old
      where old.kind <> 'beginning' and old.until < (select until from settings_history where kind = 'beginning')
      order by old.until limit $1)
    """
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(limit) }
}
