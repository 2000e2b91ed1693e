import Foundation
import JSON
import Postgres

/// The accounts among those asked for that exist, with the rules for their keys.
struct FindImportAccounts: PostgresStatement {
  typealias Row = ImportAccount
  static let sql = """
    select account.id, account.external_id, account.kind, account.suspended_at is not null, \(planColumns),
      \(keyPolicyColumns), case when plan.key_cap is null or account.kind = 'house' then 0 else (
        select \(liveKeyCount) from api_keys key where key.account_id = account.id) end
    from accounts account join plans plan on plan.name = account.plan
    left join key_policies policy on policy.account_id = account.id
    where account.deleted_at is null and (account.id = any ($1) or account.external_id = any ($2))
    """
  let ids: [UUID]
  let externalIDs: [String]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(ids, externalIDs) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> ImportAccount {
    ImportAccount(
      id: try row.next(), externalID: try row.next(), kind: try row.next(), isSuspended: try row.next(),
      rules: try KeyRules(row: &row), liveKeyCount: try row.next())
  }
}

/// Locks accounts until the end of the transaction, except house accounts.
struct LockAccounts: PostgresStatement {
  static let isRead = false
  static let sql = "select lock_accounts($1)"
  let ids: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(ids) }
}

/// Makes external accounts, each with an event in its trail. Returns the ids of those that nobody else made meanwhile.
struct MakeExternalAccounts: PostgresStatement {
  typealias Row = UUID
  static let isRead = false
  static let sql = "select make_external_accounts($1, $2, $3, $4, $5, $6, $7, $8::text::inet, $9)"
  let externalIDs: [String]
  let caller: Caller
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      externalIDs.map { _ in UUID.version7() }, externalIDs.map { ManagedAccount.name(for: $0) }, externalIDs,
      externalIDs.map { _ in UUID.version7() }, caller.actor.kind, caller.actor.id, caller.actor.name, caller.ip,
      AuditDetail(nil, by: caller)?.text)
  }
}

/// The keys that have one of these hashes: imported ones, and those that were made here.
struct FindImportedKeys: PostgresStatement {
  struct Row: Sendable {
    let id: UUID
    let accountID: UUID
    let hash: ImportedHash
  }
  static let sql = """
    select key.id, key.account_id, asked.form, asked.hash
    from unnest($1::text[], $2::bytea[]) asked (form, hash)
    join api_keys key on key.import_form = asked.form and key.import_hash = asked.hash
    where key.import_hash is not null
    union all
    select key.id, key.account_id, 'sha256', key.key_hash from api_keys key
    where key.key_hash = any ($3) and key.import_form is distinct from 'sha256'
    """
  let hashes: [ImportedHash]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      hashes.map(\.form.name), hashes.map { PostgresBytes($0.bytes) },
      hashes.filter { $0.form == .native }.map { PostgresBytes($0.bytes) })
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    let (id, accountID, name) = (try row.next(UUID.self), try row.next(UUID.self), try row.next(String.self))
    guard let form = ImportForm(name: name) else { throw PostgresError(.decoding, "an unknown form of a hash") }
    return Row(
      id: id, accountID: accountID, hash: ImportedHash(form: form, bytes: try row.next(PostgresBytes.self).bytes))
  }
}

/// Adds imported keys in one statement. Returns the ids of those that were not there yet.
struct ImportKeys: PostgresStatement {
  struct NewKey: Sendable {
    var id: UUID
    var accountID: UUID
    var key: KeyImport
  }

  typealias Row = UUID
  static let isRead = false
  static let sql = "select import_keys($1::text::json)"
  let keys: [NewKey]
  let creator: Actor
  func bind(_ bindings: inout PostgresBindings) {
    var json = JSONWriter()
    json.array(keys) { json, new in json.object { $0.fields(of: new, by: creator) } }
    bindings.append(json.text)
  }
}

extension JSONWriter {
  /// A row of `import_keys`.
  fileprivate mutating func fields(of new: ImportKeys.NewKey, by creator: Actor) {
    let settings = new.key.settings
    let limits = NarrowLimits(settings.limits)
    field("id", new.id)
    field("account_id", new.accountID)
    field("name", settings.name)
    field("key_start", new.key.start)
    field("form", new.key.hash.form.name)
    field("hash", new.key.hash.hex)
    field("environment", settings.environment.rawValue)
    field("scopes", settings.scopes)
    field("rate_limit_per_minute", settings.rateLimitPerMinute)
    field("limit_names", limits.names)
    field("limit_values", json: numbers(limits.limits))
    field("limit_window_seconds", json: numbers(limits.seconds))
    field("named_limits", json: limits.json)
    field("rate_limit_mode", settings.rateLimitMode.rawValue)
    field("allowed_ips", settings.allowedIPs?.map(\.description))
    field("expires_at", settings.expiresAt)
    field("enabled", new.key.isEnabled)
    field("description", settings.description)
    field("tags", settings.tags)
    field("metadata", settings.metadata)
    field("by_kind", creator.kind.rawValue)
    field("by_id", creator.id)
    field("by_name", creator.name)
    field("api_id", settings.apiID)
    field("key_prefix", settings.prefix)
    field("key_bytes", settings.byteLength)
  }

  private func numbers(_ numbers: [Int32]) -> String { "[" + numbers.map { "\($0)" }.joined(separator: ",") + "]" }
}
