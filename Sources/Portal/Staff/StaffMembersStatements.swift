import Foundation
import Postgres

/// The columns of ``staffTables`` in the order in which `StaffDetails.init(row:)` reads them.
private let staffColumns = """
  member.id, member.email, member.name, member.role, member.disabled_at, factor.confirmed_at, member.created_at,
  member.revision
  """

private let staffTables = "staff member left join second_factors factor on factor.person_id = member.id"

extension StaffDetails {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      member: try StaffMember(row: &row), disabledAt: try row.next(), secondFactorEnabledAt: try row.next(),
      createdAt: try row.next(), revision: try row.next())
  }
}

/// Newest first, starting below `before`.
struct ListStaff: PostgresStatement {
  static let sql = """
    select \(staffColumns) from \(staffTables)
    where $1::uuid is null or member.id < $1
    order by member.id desc limit $2
    """
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(before, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffDetails { try StaffDetails(row: &row) }
}

struct FindStaff: PostgresStatement {
  static let sql = "select \(staffColumns) from \(staffTables) where member.id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffDetails { try StaffDetails(row: &row) }
}

struct FindStaffByEmail: PostgresStatement {
  static let sql = """
    select \(staffColumns) from \(staffTables)
    where member.email = any($1::text[]) order by array_position($1::text[], member.email) limit 1
    """
  let email: EmailAddress
  func bind(_ bindings: inout PostgresBindings) { bindings.append(email.storedTexts) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffDetails { try StaffDetails(row: &row) }
}

/// Locks a member and all active admins until the end of the transaction, so that none of them stops being one
/// meanwhile. Locks are taken in the order of their ids, as everywhere.
struct LockStaffAndAdmins: PostgresStatement {
  static let sql = """
    select \(staffColumns) from \(staffTables)
    where member.id = $1 or member.role = 'admin' and member.disabled_at is null
    order by member.id
    for update of member
    """
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffDetails { try StaffDetails(row: &row) }
}

/// A member who is already disabled keeps the time at which they were disabled.
struct UpdateStaff: PostgresStatement {
  static let sql = """
    update staff set role = $2, disabled_at = case when $3 then null else coalesce(disabled_at, now()) end
    where id = $1
    """
  let id: UUID
  let role: StaffMember.Role
  let isEnabled: Bool
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, role, isEnabled) }
}

/// Also deletes their sessions and second factor, through foreign keys.
struct DeleteStaff: PostgresStatement {
  static let sql = "delete from staff where id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}
