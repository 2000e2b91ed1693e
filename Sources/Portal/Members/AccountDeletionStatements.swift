import Foundation
import Postgres

/// Marks the transaction's account as deleted, and deletes what belongs to it; see the function's definition.
struct DeleteCurrentAccount: PostgresStatement {
  typealias Row = Date
  static let isRead = false
  static let sql = "select delete_current_account()"
}

/// Locks all people in an account until the end of the transaction, always in the same order.
struct LockMembers: PostgresStatement {
  typealias Row = UUID
  static let sql = """
    select person.id from users person join memberships membership on membership.user_id = person.id
    where membership.account_id = $1
    order by person.id
    for update of person
    """
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
}

/// Erases the address, password and second factor of those among these people who no longer belong to any account; see
/// the function's definition. Their rows must be locked first.
struct ForgetPeople: PostgresStatement {
  typealias Row = Bool
  static let isRead = false
  static let sql = "select true from (select forget_people($1)) forgotten"
  let userIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userIDs) }
}
