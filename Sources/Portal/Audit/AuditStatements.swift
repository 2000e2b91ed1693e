import Foundation
import JSON
import Postgres

extension Actor.Kind: PostgresCodable {}
extension AuditEvent.Action: PostgresCodable {}

/// Inserts an event, in the transaction of the change that it records, after everything that the change locks: it locks
/// the head of the chain until the commit. Events of several accounts are inserted in the order of the accounts' ids.
struct InsertAuditEvent: PostgresStatement {
  static let sql = """
    insert into audit_events
      (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ticket, detail, ip)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text::inet)
    """

  /// nil: the system's trail.
  let accountID: UUID?
  let caller: Caller
  let action: AuditEvent.Action
  let targetKind: String
  let targetID: UUID?
  var reason: SupportReason?
  var detail: AuditDetail?

  static func onKey(
    _ id: UUID, of accountID: UUID, _ action: AuditEvent.Action, by caller: Caller, _ reason: SupportReason? = nil,
    detail: AuditDetail? = nil
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: accountID, caller: caller, action: action, targetKind: "key", targetID: id, reason: reason,
      detail: detail)
  }

  static func onAccount(
    _ id: UUID, _ action: AuditEvent.Action, by caller: Caller, _ reason: SupportReason? = nil,
    detail: AuditDetail? = nil
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: id, caller: caller, action: action, targetKind: "account", targetID: id, reason: reason,
      detail: detail)
  }

  /// Nil if the plan stays the same.
  static func onPlan(
    of id: UUID, from old: String, to new: String, by caller: Caller, _ reason: SupportReason? = nil
  ) -> InsertAuditEvent? {
    if new.hasSameBytes(as: old) { return nil }
    return onAccount(id, .accountPlanChanged, by: caller, reason, detail: AuditDetail("from \(old) to \(new)"))
  }

  static func onInvitation(
    _ id: UUID, of accountID: UUID, _ action: AuditEvent.Action, by caller: Caller, detail: AuditDetail
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: accountID, caller: caller, action: action, targetKind: "invitation", targetID: id, detail: detail)
  }

  /// A change that one member of staff requests and another confirms: to an account, or to a list of keys.
  static func onConfirmation(
    _ id: UUID, of accountID: UUID?, _ action: AuditEvent.Action, by caller: Caller, _ reason: SupportReason,
    detail: AuditDetail? = nil
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: accountID, caller: caller, action: action, targetKind: "confirmation", targetID: id, reason: reason,
      detail: detail)
  }

  static func onPerson(
    _ id: UUID, _ kind: String, in accountID: UUID?, _ action: AuditEvent.Action, by caller: Caller,
    detail: AuditDetail? = nil
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: accountID, caller: caller, action: action, targetKind: kind, targetID: id, detail: detail)
  }

  /// An event that belongs to no account.
  static func inSystem(
    _ action: AuditEvent.Action, _ targetKind: String, _ targetID: UUID? = nil, by caller: Caller,
    _ reason: SupportReason? = nil, detail: AuditDetail? = nil
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: nil, caller: caller, action: action, targetKind: targetKind, targetID: targetID, reason: reason,
      detail: detail)
  }

  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      UUID.version7(), accountID, caller.actor.kind, caller.actor.id, caller.actor.name, action, targetKind, targetID,
      reason?.text, reason?.ticket, AuditDetail(detail, by: caller)?.text, caller.ip)
  }
}

/// Inserts one event per key, for a change of many keys in one statement.
struct InsertKeyAuditEvents: PostgresStatement {
  static let sql = """
    insert into audit_events
      (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ticket, ip, detail)
    select event.id, $1, $2, $3, $4, $5, 'key', event.key_id, $6, $7, $8::text::inet, $11
    from unnest($9::uuid[], $10::uuid[]) with ordinality as event (id, key_id, place)
    order by event.place
    """

  let accountID: UUID
  let keyIDs: [UUID]
  let action: AuditEvent.Action
  let caller: Caller
  var reason: SupportReason?

  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      accountID, caller.actor.kind, caller.actor.id, caller.actor.name, action, reason?.text, reason?.ticket, caller.ip,
      keyIDs.map { _ in UUID.version7() }, keyIDs, AuditDetail(nil, by: caller)?.text)
  }
}

/// Lets the planner see which filters are given, so that it chooses their index. Where no index helps, as for a part of
/// a name, a reader gets one PostgreSQL process, so that it does not take the processes that others need.
struct ForceCustomPlan: PostgresStatement {
  static let sql = """
    select set_config('plan_cache_mode', 'force_custom_plan', true),
      set_config('max_parallel_workers_per_gather', '0', true)
    """
}

extension AuditFilter {
  /// Its parameters `$1` to `$6` are those of ``bind(_:)``.
  fileprivate static let condition = """
    ($1::text is null or event.actor_kind = $1) and ($2::uuid is null or event.actor_id = $2)
      and ($3::text is null or event.action = $3) and ($4::uuid is null or event.target_id = $4)
      and ($5::timestamptz is null or event.at >= $5) and ($6::timestamptz is null or event.at < $6)
    """

  fileprivate func bind(_ bindings: inout PostgresBindings) {
    bindings.append(actorKind, actorID, action, targetID, from, to)
  }
}

/// Lists events before `before`, most recent first.
struct ListAuditEvents: PostgresStatement {
  static let sql = """
    select id, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ticket, detail, host(ip)
    from audit_events event
    where \(AuditFilter.condition) and account_id = $7 and ($8::uuid is null or id < $8)
    order by id desc
    limit $9
    """

  let accountID: UUID
  let filter: AuditFilter
  let before: UUID?
  let count: Int

  func bind(_ bindings: inout PostgresBindings) {
    filter.bind(&bindings)
    bindings.append(accountID, before, count)
  }

  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> AuditEvent {
    AuditEvent(
      id: try row.next(), at: try row.next(), actorKind: try row.next(), actorID: try row.next(),
      actorName: try row.next(), action: try row.next(), targetKind: try row.next(), targetID: try row.next(),
      reason: try row.next(), ticket: try row.next(), detail: try row.next(), ip: try row.next())
  }
}

/// Counts the events of a trail by their actions, and finds the latest of each.
struct SummarizeAuditEvents: PostgresStatement {
  static let sql = """
    select action, count(*), max(at)
    from audit_events event
    where \(AuditFilter.condition) and (account_id = $7 or $7::uuid is null and account_id is null)
    group by action
    order by action collate "C"
    """
  let trail: AuditTrail
  let filter: AuditFilter
  func bind(_ bindings: inout PostgresBindings) {
    filter.bind(&bindings)
    bindings.append(trail.accountID)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> AuditSummary.Entry {
    AuditSummary.Entry(action: try row.next(), count: try row.next(), lastAt: try row.next())
  }
}

// MARK: Chains

/// The columns of a `ChainedAuditEvent`, in the order of `ChainedAuditEvent.init(row:)`.
private let chainedColumns = """
  event.account_id, event.seq, event.id, (extract(epoch from event.at) * 1000000)::bigint, event.actor_kind,
  event.actor_id, event.actor_name, event.action, event.target_kind, event.target_id, event.reason, event.ticket,
  event.detail, abbrev(event.ip), event.prev_hash, event.hash, event.redacted_by, event.redacted_hashes
  """

/// The `account_id` that the head of the system's trail has.
private let systemHead = "'00000000-0000-0000-0000-000000000000'"

extension ChainedAuditEvent {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      trail: AuditTrail(try row.next()), seq: try row.next(), id: try row.next(), atMicroseconds: try row.next(),
      actorKind: try row.next(), actorID: try row.next(), actorName: try row.next(), action: try row.next(),
      targetKind: try row.next(), targetID: try row.next(), reason: try row.next(), ticket: try row.next(),
      detail: try row.next(), ip: try row.next(), prevHash: try AuditHash(column: row.next()),
      hash: try AuditHash(column: row.next()))
    let (recorders, hashes) = (try row.next([Int].self), try row.next([PostgresBytes].self))
    redactions = zip(recorders, hashes).map { AuditRedaction(recordedBy: $0, hash: AuditHash(column: $1)) }
  }
}

extension AuditHash {
  fileprivate init(column: PostgresBytes) { self.init(bytes: column.bytes) }
}

/// Lists the events after number `after`, up to and including number `end`, oldest first.
struct ExportAuditEvents: PostgresStatement {
  static let sql = """
    select \(chainedColumns)
    from audit_events event
    where \(AuditFilter.condition) and (account_id = $7 or $7::uuid is null and account_id is null)
      and seq > $8 and seq <= $9
    order by account_id, seq
    limit $10
    """
  let trail: AuditTrail
  let filter: AuditFilter
  let after: Int
  let end: Int
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    filter.bind(&bindings)
    bindings.append(trail.accountID, after, end, count)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> ChainedAuditEvent {
    try ChainedAuditEvent(row: &row)
  }
}

/// Lists what a person did and what was done to them in one trail, after number `after`, up to and including number
/// `end`, oldest first.
struct ListEventsOfPerson: PostgresStatement {
  static let sql = """
    select \(chainedColumns)
    from audit_events event
    where (account_id = $1 or $1::uuid is null and account_id is null)
      and (actor_kind = 'user' and actor_id = $2 or target_kind = 'user' and target_id = $2) and seq > $3 and seq <= $4
    order by account_id, seq
    limit $5
    """
  let trail: AuditTrail
  let userID: UUID
  let after: Int
  let end: Int
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(trail.accountID, userID, after, end, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> ChainedAuditEvent {
    try ChainedAuditEvent(row: &row)
  }
}

/// Lists the trails with events by or about a person.
struct ListTrailsOfPerson: PostgresStatement {
  static let sql = """
    select nullif(head.account_id, \(systemHead)) from audit_heads head
    where case
      when head.account_id = \(systemHead) then exists (
        select from audit_events event
        where event.account_id is null and (event.actor_id = $1 or event.target_id = $1))
      else
        exists (select from audit_events event where event.account_id = head.account_id and event.actor_id = $1)
        or exists (select from audit_events event where event.account_id = head.account_id and event.target_id = $1)
    end
    order by head.account_id
    """
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> AuditTrail { AuditTrail(try row.next()) }
}

/// Finds the number of a chain's last event.
struct FindAuditHead: PostgresStatement {
  typealias Row = Int
  static let sql = "select seq from audit_heads where account_id = coalesce($1, \(systemHead))"
  let trail: AuditTrail
  func bind(_ bindings: inout PostgresBindings) { bindings.append(trail.accountID) }
}

/// Lists trails after `after`, the system's first.
struct ListTrails: PostgresStatement {
  static let sql = """
    select nullif(account_id, \(systemHead)) from audit_heads
    where $1 or account_id > coalesce($2, \(systemHead))
    order by account_id
    limit $3
    """
  let after: AuditTrail?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(after == nil, after?.accountID, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> AuditTrail { AuditTrail(try row.next()) }
}

private let auditHeadColumns = "nullif(account_id, \(systemHead)), seq, hash"

extension AuditHead {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(trail: AuditTrail(try row.next()), seq: try row.next(), hash: try AuditHash(column: row.next()))
  }
}

/// Finds the head of a trail.
struct ReadAuditHead: PostgresStatement {
  static let sql = "select \(auditHeadColumns) from audit_heads where account_id = coalesce($1, \(systemHead))"
  let trail: AuditTrail
  func bind(_ bindings: inout PostgresBindings) { bindings.append(trail.accountID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> AuditHead { try AuditHead(row: &row) }
}

/// Lists the heads of trails after `last`, the system's first.
struct ListAuditHeads: PostgresStatement {
  static let sql = """
    select \(auditHeadColumns) from audit_heads where $1::uuid is null or account_id > $1 order by account_id limit $2
    """
  /// The account id of a head, as it is stored.
  let last: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(last, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> AuditHead { try AuditHead(row: &row) }
}

/// Lists all events of one chain or of all, chain by chain, each with the head of its chain.
struct ListChainedEvents: PostgresStatement {
  static let sql = """
    select \(chainedColumns), head.seq, head.hash
    from audit_events event
      left join audit_heads head on head.account_id = coalesce(event.account_id, \(systemHead))
    where $1 or event.account_id = $2 or $2::uuid is null and event.account_id is null
    order by event.account_id nulls first, event.seq, event.id
    """
  struct Row {
    let event: ChainedAuditEvent
    let head: AuditHead?
  }
  let trail: AuditTrail?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(trail == nil, trail?.accountID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    let event = try ChainedAuditEvent(row: &row)
    let (seq, hash) = (try row.next(Int?.self), try row.next(PostgresBytes?.self))
    guard let seq, let hash else { return Row(event: event, head: nil) }
    return Row(event: event, head: AuditHead(trail: event.trail, seq: seq, hash: AuditHash(column: hash)))
  }
}

/// Lists heads of chains without events. It looks for one event per head, because a join might read all events first.
struct ListEmptyChains: PostgresStatement {
  static let sql = """
    select nullif(account_id, \(systemHead)), seq, hash
    from audit_heads head
    where ($1 or account_id = coalesce($2, \(systemHead))) and case
      when account_id = \(systemHead) then
        (select count(*) from (select from audit_events where account_id is null limit 1) one)
      else (select count(*) from (select from audit_events where account_id = head.account_id limit 1) one)
    end = 0
    """
  let trail: AuditTrail?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(trail == nil, trail?.accountID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> AuditHead {
    AuditHead(trail: AuditTrail(try row.next()), seq: try row.next(), hash: try AuditHash(column: row.next()))
  }
}
