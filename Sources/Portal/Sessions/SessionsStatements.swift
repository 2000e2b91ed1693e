import Foundation
import Postgres

/// A person by e-mail address, with the stored password and the account joined first.
struct FindUserForLogin: PostgresStatement {
  static let sql = """
    select person.id, person.email, person.password_hash, membership.account_id
    from users person join memberships membership on membership.user_id = person.id
    where person.email = $1
    order by membership.created_at, membership.account_id
    limit 1
    """
  struct Row {
    let user: User
    let password: PasswordHash
    let accountID: UUID
  }
  let email: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(email) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    Row(
      user: User(id: try row.next(), email: try row.next()), password: PasswordHash(stored: try row.next()),
      accountID: try row.next())
  }
}

struct UpdateUserPassword: PostgresStatement {
  static let sql = "update users set password_hash = $2 where id = $1"
  let userID: UUID
  let password: PasswordHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID, password.text) }
}

struct InsertSession: PostgresStatement {
  static let sql = "insert into sessions (token_hash, account_id, user_id, expires_at) values ($1, $2, $3, $4)"
  let token: SecretHash
  let accountID: UUID
  let userID: UUID
  let expiresAt: Date
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(PostgresBytes(token.bytes), accountID, userID, expiresAt)
  }
}

struct FindSession: PostgresStatement {
  static let sql = """
    select person.id, person.email, account.id, account.name, \(planColumns), account.suspended_at, membership.role,
      session.expires_at
    from sessions session
    join memberships membership on membership.user_id = session.user_id and membership.account_id = session.account_id
    join users person on person.id = session.user_id
    join accounts account on account.id = session.account_id
    join plans plan on plan.name = account.plan
    where session.token_hash = $1 and session.expires_at > now()
    """
  let token: SecretHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(PostgresBytes(token.bytes)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CustomerSession {
    CustomerSession(
      user: User(id: try row.next(), email: try row.next()), account: try Account(row: &row),
      role: try Role(column: row.next(), "role"), expiresAt: try row.next())
  }
}

/// Whose it was; no row where there is none.
struct DeleteSession: PostgresStatement {
  static let sql = """
    delete from sessions session using users person where session.token_hash = $1 and person.id = session.user_id
    returning person.id, person.email, session.account_id
    """
  let token: SecretHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(PostgresBytes(token.bytes)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (user: User, accountID: UUID) {
    (User(id: try row.next(), email: try row.next()), try row.next())
  }
}

/// Takes some of those that are over out of the way, whenever somebody logs in.
struct DeleteExpiredSessions: PostgresStatement {
  static let sql = """
    delete from sessions where token_hash in (
      select token_hash from sessions where expires_at < now() order by expires_at limit 100 for update skip locked)
    """
}

struct DeleteExpiredStaffSessions: PostgresStatement {
  static let sql = "delete from staff_sessions where expires_at < now()"
}

struct FindStaffForLogin: PostgresStatement {
  static let sql = "select id, email, name, role, password_hash from staff where email = $1 and disabled_at is null"
  struct Row {
    let member: StaffMember
    let password: PasswordHash
  }
  let email: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(email) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    Row(member: try StaffMember(row: &row), password: PasswordHash(stored: try row.next()))
  }
}

struct UpdateStaffPassword: PostgresStatement {
  static let sql = "update staff set password_hash = $2 where id = $1"
  let staffID: UUID
  let password: PasswordHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(staffID, password.text) }
}

struct InsertStaffSession: PostgresStatement {
  static let sql = "insert into staff_sessions (token_hash, staff_id, expires_at) values ($1, $2, $3)"
  let token: SecretHash
  let staffID: UUID
  let expiresAt: Date
  func bind(_ bindings: inout PostgresBindings) { bindings.append(PostgresBytes(token.bytes), staffID, expiresAt) }
}

struct FindStaffSession: PostgresStatement {
  static let sql = """
    select member.id, member.email, member.name, member.role, session.expires_at
    from staff_sessions session join staff member on member.id = session.staff_id
    where session.token_hash = $1 and session.expires_at > now() and member.disabled_at is null
    """
  let token: SecretHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(PostgresBytes(token.bytes)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffSession {
    StaffSession(member: try StaffMember(row: &row), expiresAt: try row.next())
  }
}

/// Whose it was; no row where there is none.
struct DeleteStaffSession: PostgresStatement {
  static let sql = """
    delete from staff_sessions session using staff member
    where session.token_hash = $1 and member.id = session.staff_id
    returning member.id, member.name
    """
  let token: SecretHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(PostgresBytes(token.bytes)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (id: UUID, name: String) {
    (try row.next(), try row.next())
  }
}

extension StaffMember {
  /// Takes: id, email, name, role.
  init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), email: try row.next(), name: try row.next(), role: try Role(column: row.next(), "role"))
  }
}
