import Foundation
import Postgres

/// Goes into the transaction of the change that it tells of.
struct InsertAuditEvent: PostgresStatement {
  static let sql = """
    insert into audit_events
      (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ticket, ip)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::inet)
    """

  let accountID: UUID
  let caller: Caller
  let action: AuditEvent.Action
  let targetKind: String
  let targetID: UUID
  var reason: SupportReason?

  static func onKey(
    _ id: UUID, of accountID: UUID, _ action: AuditEvent.Action, by caller: Caller, _ reason: SupportReason? = nil
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: accountID, caller: caller, action: action, targetKind: "key", targetID: id, reason: reason)
  }

  static func onAccount(
    _ id: UUID, _ action: AuditEvent.Action, by caller: Caller, _ reason: SupportReason? = nil
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: id, caller: caller, action: action, targetKind: "account", targetID: id, reason: reason)
  }

  static func onMember(
    _ userID: UUID, of accountID: UUID, _ action: AuditEvent.Action, by caller: Caller, _ reason: SupportReason? = nil
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: accountID, caller: caller, action: action, targetKind: "user", targetID: userID, reason: reason)
  }

  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      UUID.version7(), accountID, caller.actor.kind, caller.actor.id, caller.actor.name, action.rawValue, targetKind,
      targetID, reason?.text, reason?.ticket, caller.ip)
  }
}

/// The newest first, from below `before`.
struct ListAuditEvents: PostgresStatement {
  static let sql = """
    select id, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ticket, host(ip)
    from audit_events
    where account_id = $1 and ($2::uuid is null or id < $2)
    order by id desc
    limit $3
    """

  let accountID: UUID
  let before: UUID?
  let count: Int

  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, before, count) }

  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> AuditEvent {
    AuditEvent(
      id: try row.next(), at: try row.next(), actorKind: try row.next(), actorID: try row.next(),
      actorName: try row.next(), action: try row.next(), targetKind: try row.next(), targetID: try row.next(),
      reason: try row.next(), ticket: try row.next(), ip: try row.next())
  }
}
