import Foundation
import Postgres

struct InsertServiceToken: PostgresStatement {
  static let sql = "insert into service_tokens (id, name, token_hash, permissions) values ($1, $2, $3, $4)"
  let id: UUID
  let name: String
  let secret: SecretHash
  let permissions: [ServiceToken.Permission]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(id, name, PostgresBytes(secret.bytes), permissions.map(\.rawValue))
  }
}

/// Since when it is revoked, holding its row until the end of the transaction.
struct LockServiceToken: PostgresStatement {
  static let sql = "select revoked_at from service_tokens where id = $1 for update"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Date? { try row.next() }
}

struct RevokeServiceToken: PostgresStatement {
  static let sql = "update service_tokens set revoked_at = now() where id = $1 returning revoked_at"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Date { try row.next() }
}
