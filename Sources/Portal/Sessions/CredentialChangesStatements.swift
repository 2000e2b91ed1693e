import Foundation
import Postgres

struct FindOwnPassword<Session: PersonSession>: PostgresStatement {
  static var sql: String { "select password_hash from \(Session.personTable) where id = $1" }
  let personID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(personID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> PasswordHash {
    PasswordHash(stored: try row.next())
  }
}

/// Serializes changes of a person's credentials. Logins wait for the end of the transaction.
struct LockPerson<Session: PersonSession>: PostgresStatement {
  static var sql: String { FindOwnPassword<Session>.sql + " for update" }
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> PasswordHash {
    PasswordHash(stored: try row.next())
  }
}

/// Replaces the password if it is still the one that was read.
struct ReplacePassword<Session: PersonSession>: PostgresStatement {
  static var sql: String {
    "update \(Session.personTable) set password_hash = $3 where id = $1 and password_hash = $2"
  }
  let personID: UUID
  let from: PasswordHash
  let to: PasswordHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(personID, from.text, to.text) }
}

struct UpdateUserEmail: PostgresStatement {
  static let sql = "update users set email = $2, email_verified_at = case when $3 then now() end where id = $1"
  let userID: UUID
  let email: String
  let isVerified: Bool
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID, email, isVerified) }
}

/// Voids the tokens that would give a user another address, and deletes unsent mails with such tokens: an attacker who
/// had the old password may have requested them.
struct VoidEmailChanges: PostgresStatement {
  static let sql = """
    with unsent as (delete from mails where user_id = $1 and kind = 'email_change' and state = 'waiting')
    update one_time_tokens set used_at = now() where user_id = $1 and purpose = 'email_change' and used_at is null
    """
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID) }
}
