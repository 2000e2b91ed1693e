import Foundation
import Postgres

/// Finds the keys with these ids or hashes, of all accounts that are not deleted.
struct FindListedKeys: PostgresStatement {
  static let isRead = true
  static let sql = """
    select key.id, key.account_id, key.key_hash, key.revoked_at
    from api_keys key join accounts account on account.id = key.account_id and account.deleted_at is null
    where key.id in (
      select id from api_keys where id = any ($1)
      union select id from api_keys where key_hash = any ($2))
    """
  let ids: [UUID]
  let hashes: [SecretHash]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(ids, hashes) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> KeyList.Found {
    KeyList.Found(
      id: try row.next(), accountID: try row.next(), hash: try row.next(), revokedAt: try row.next())
  }
}

/// Locks some keys of an account, in the order of their ids. The account must be locked first.
struct LockListedKeys: PostgresStatement {
  struct Row: Sendable {
    var id: UUID
    var revokedAt: Date?
    var name: String
    var start: String
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
