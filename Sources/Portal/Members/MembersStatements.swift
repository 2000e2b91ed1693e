import Foundation
import Postgres

extension Member {
  /// Reads user id, e-mail address, role, joined at.
  init(row: inout PostgresRow) throws(PostgresError) {
    self.init(user: User(id: try row.next(), email: try row.next()), role: try row.next(), joinedAt: try row.next())
  }
}

struct ListMembers: PostgresStatement {
  static let sql = """
    select person.id, person.email, membership.role, membership.created_at
    from memberships membership join users person on person.id = membership.user_id
    where membership.account_id = $1 and ($2::uuid is null or membership.user_id < $2)
    order by membership.user_id desc limit $3
    """
  let accountID: UUID
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, before, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Member { try Member(row: &row) }
}

struct FindMember: PostgresStatement {
  static let sql = """
    select person.id, person.email, membership.role, membership.created_at
    from memberships membership join users person on person.id = membership.user_id
    where membership.account_id = $1 and membership.user_id = $2
    """
  let accountID: UUID
  /// Nil matches no member.
  let userID: UUID?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, userID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Member { try Member(row: &row) }
}

struct ListOwners: PostgresStatement {
  typealias Row = UUID
  static let sql = "select user_id from memberships where account_id = $1 and role = 'owner'"
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
}

struct SetMemberRole: PostgresStatement {
  static let sql = "update memberships set role = $3 where account_id = $1 and user_id = $2"
  let accountID: UUID
  let userID: UUID
  let role: MemberRole
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, userID, role) }
}

/// Deletes a membership and, by a foreign key, the person's sessions in the account.
struct DeleteMembership: PostgresStatement {
  static let sql = "delete from memberships where account_id = $1 and user_id = $2"
  let accountID: UUID
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, userID) }
}

/// All accounts of a person, regardless of the transaction's account.
struct ListOwnAccounts: PostgresStatement {
  static let sql = """
    select account.id, account.name, membership.role, account.suspended_at
    from memberships membership join accounts account on account.id = membership.account_id
    where membership.user_id = $1 and account.deleted_at is null
    order by membership.created_at, account.id
    """
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> OwnAccount {
    OwnAccount(id: try row.next(), name: try row.next(), role: try row.next(), suspendedAt: try row.next())
  }
}
