import Foundation
import Postgres

/// Deletes a person and returns the events to record, in the order of their accounts' ids, those without an account
/// last. Returns none if there is no such person. The database function has the details.
struct BeginErasure: PostgresStatement {
  static let isRead = false
  // The function's column keeps its name for servers of earlier versions.
  static let sql = """
    select account_id, action, target_kind, target_id, reason as detail from begin_erasure($1)
    order by account_id nulls last, action desc
    """
  struct Row {
    let accountID: UUID?
    let action: AuditEvent.Action
    let targetKind: String
    let targetID: UUID
    let detail: AuditDetail?
  }
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    Row(
      accountID: try row.next(), action: try row.next(), targetKind: try row.next(), targetID: try row.next(),
      detail: try row.next(String?.self).map { AuditDetail($0) })
  }
}

/// The time at which an erasure began.
struct FindErasure: PostgresStatement {
  typealias Row = Date
  static let sql = "select created_at from erasures where user_id = $1"
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID) }
}

/// Oldest first.
struct ListUnfinishedErasures: PostgresStatement {
  typealias Row = UUID
  static let sql = "select user_id from erasures where finished_at is null order by created_at limit $1"
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(count) }
}

/// Removes a person whose erasure has begun from invitations and mails, and returns the trails that may still name
/// them. The database function has the details.
struct GoOnErasing: PostgresStatement {
  static let isRead = false
  static let sql = """
    select nullif(trail, '00000000-0000-0000-0000-000000000000') from go_on_erasing($1) trail
    """
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> AuditTrail { AuditTrail(try row.next()) }
}

/// Removes a person's name from at most `count` keys that they created. Returns the number of keys.
struct EraseKeyMaker: PostgresStatement {
  typealias Row = Int
  static let isRead = false
  static let sql = "select erase_key_maker($1, $2, $3)"
  let userID: UUID
  let account: UUID
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID, account, count) }
}

/// Removes a person from the `count` events after `after`.
struct RedactAuditEvents: PostgresStatement {
  static let isRead = false
  static let sql = """
    select last, redacted, digest
    from redact_audit_events($1, coalesce($2::uuid, '00000000-0000-0000-0000-000000000000'), $3, $4)
    """
  struct Row: Sendable {
    /// The position to continue from; nil at the end.
    let last: Int?
    let eventCount: Int
    /// Nil if there was nothing to redact.
    let digest: String?
  }
  let userID: UUID
  let trail: AuditTrail
  let after: Int
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID, trail.accountID, after, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    Row(last: try row.next(), eventCount: try row.next(), digest: try row.next())
  }
}

/// Deletes the addresses of an erased person, when nothing else of them is left.
struct FinishErasure: PostgresStatement {
  typealias Row = Bool
  static let isRead = false
  static let sql = "select true from (select finish_erasure($1)) finished"
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID) }
}
