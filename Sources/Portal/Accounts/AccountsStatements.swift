import Foundation
import Postgres

extension MemberRole: PostgresCodable {}
extension StaffMember.Role: PostgresCodable {}
extension Account.Kind: PostgresCodable {}

/// The columns of `accounts account` and `plans plan`, in the order in which `Account.init(row:)` reads them.
let accountColumns = "account.id, account.name, \(planColumns), account.suspended_at, account.kind"

extension Account {
  init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), name: try row.next(), plan: try Plan(row: &row), suspendedAt: try row.next(),
      kind: try row.next())
  }
}

struct InsertAccount: PostgresStatement {
  static let sql = "insert into accounts (id, name) values ($1, $2)"
  let id: UUID
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, name) }
}

struct InsertUser: PostgresStatement {
  static let sql = "insert into users (id, email, password_hash) values ($1, $2, $3)"
  let user: User
  let password: PasswordHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(user.id, user.email, password.text) }
}

struct InsertMembership: PostgresStatement {
  static let sql = "insert into memberships (account_id, user_id, role) values ($1, $2, $3)"
  let accountID: UUID
  let userID: UUID
  let role: MemberRole
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, userID, role) }
}

struct InsertStaff: PostgresStatement {
  static let sql = "insert into staff (id, email, name, role, password_hash) values ($1, $2, $3, $4, $5)"
  let member: StaffMember
  let password: PasswordHash
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(member.id, member.email, member.name, member.role, password.text)
  }
}

struct SetSharedLimit: PostgresStatement {
  static let sql = "update accounts set shared_limit_per_minute = $2, rate_limit_mode = $3 where id = $1"
  let accountID: UUID
  let limitPerMinute: Int?
  let mode: RateLimitMode
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, limitPerMinute.map { Int32($0) }, mode) }
}

struct SetAccountSuspension: PostgresStatement {
  static let sql = """
    update accounts set suspended_at = case when $2 then now() end, suspension_reason = $3
    where id = $1 and (suspended_at is not null) <> $2
    """
  let accountID: UUID
  let isSuspended: Bool
  let reason: String?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, isSuspended, reason) }
}

/// Serializes everything that counts or changes the account's keys: creating, changing, rolling, suspending. Returns no
/// row for a deleted account. A house account is not locked: it has no cap, and its keys are locked one by one.
///
/// The plan is joined after the lock. If it were joined before, an account whose plan changed during the wait would
/// match no plan.
struct LockAccount: PostgresStatement {
  static let sql = """
    with account as (
      select * from (
        select id, name, plan, suspended_at, kind from accounts
        where id = $1 and deleted_at is null and kind <> 'house' for update) locked
      union all
      select id, name, plan, suspended_at, kind from accounts
      where id = $1 and deleted_at is null and kind = 'house'
    )
    select \(accountColumns)
    from account join plans plan on plan.name = account.plan
    """
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Account { try Account(row: &row) }
}
