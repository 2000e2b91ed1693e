import Foundation
import Postgres

/// Finds the keys with these ids or hashes, of all accounts that are not deleted. An imported key that was not used yet
/// is found by the hash that it was imported by.
struct FindListedKeys: PostgresStatement {
  static let isRead = true
  static let sql = """
    select key.id, key.account_id, key.key_hash, key.import_form, key.import_hash, key.revoked_at
    from api_keys key join accounts account on account.id = key.account_id and account.deleted_at is null
    where key.id in (
      select id from api_keys where id = any ($1)
      union select id from api_keys where key_hash = any ($2)
      union select imported.id from unnest($3::text[], $4::bytea[]) asked (form, hash)
        join api_keys imported on imported.import_form = asked.form and imported.import_hash = asked.hash
        where imported.import_hash is not null and (imported.key_hash is null or imported.import_form = 'sha256'))
    """
  let ids: [UUID]
  let hashes: [SecretHash]
  var imports: [ImportedHash] = []
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(ids, hashes, imports.map(\.form.name), imports.map { PostgresBytes($0.bytes) })
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> KeyList.Found {
    let (id, accountID, hash) = (try row.next(UUID.self), try row.next(UUID.self), try row.next(SecretHash?.self))
    let form = try row.next(String?.self).flatMap { ImportForm(name: $0) }
    let bytes = try row.next(PostgresBytes?.self)?.bytes
    return KeyList.Found(
      id: id, accountID: accountID, hash: hash,
      imported: form.flatMap { form in bytes.map { ImportedHash(form: form, bytes: $0) } },
      revokedAt: try row.next())
  }
}

/// Locks some keys of an account, in the order of their ids. The account must be locked first.
struct LockListedKeys: PostgresStatement {
  struct Row: Sendable {
    var id: UUID
    var revokedAt: Date?
    var name: String
    /// Nil while only the hash of an imported key is known.
    var start: String?
  }
  static let sql = """
    select id, revoked_at, name, key_start from api_keys where account_id = $1 and id = any ($2) order by id for update
    """
  let accountID: UUID
  let ids: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, ids) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    Row(id: try row.next(), revokedAt: try row.next(), name: try row.next(), start: try row.next())
  }
}

/// Revokes keys of an account that are locked and not revoked yet.
struct RevokeListedKeys: PostgresStatement {
  static let sql = """
    update api_keys set revoked_at = now()
    where account_id = $1 and id = any ($2) and revoked_at is null
    returning id, revoked_at
    """
  let accountID: UUID
  let ids: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, ids) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (id: UUID, revokedAt: Date) {
    (try row.next(), try row.next())
  }
}
