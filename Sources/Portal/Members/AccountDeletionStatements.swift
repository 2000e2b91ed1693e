import Foundation
import Postgres

/// Marks the transaction's account as deleted, with all that goes with it; its function says what.
struct DeleteCurrentAccount: PostgresStatement {
  static let isRead = false
  static let sql = "select delete_current_account()"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Date { try row.next() }
}

/// All people in an account, in one order, until the end of the transaction.
struct LockMembers: PostgresStatement {
  static let sql = """
    select person.id from users person join memberships membership on membership.user_id = person.id
    where membership.account_id = $1
    order by person.id
    for update of person
    """
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UUID { try row.next() }
}

/// Of these people, those who are in no account any more; its function says how. Their rows must be locked before.
struct ForgetPeople: PostgresStatement {
  static let isRead = false
  static let sql = "select true from (select forget_people($1)) forgotten"
  let userIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userIDs) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Bool { try row.next() }
}
