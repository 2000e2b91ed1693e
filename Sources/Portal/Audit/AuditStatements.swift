import Foundation
import Postgres

/// Goes into the transaction of the change that it tells of, after everything that the change locks: it locks the head
/// of the chain until the commit. Whoever writes events of several accounts does so in the order of their ids.
struct InsertAuditEvent: PostgresStatement {
  static let sql = """
    insert into audit_events
      (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ticket, detail, ip)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text::inet)
    """

  /// nil for what belongs to no account.
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
    _ id: UUID, _ action: AuditEvent.Action, by caller: Caller, _ reason: SupportReason? = nil
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: id, caller: caller, action: action, targetKind: "account", targetID: id, reason: reason)
  }

  static func onInvitation(
    _ id: UUID, of accountID: UUID, _ action: AuditEvent.Action, by caller: Caller, detail: AuditDetail
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: accountID, caller: caller, action: action, targetKind: "invitation", targetID: id, detail: detail)
  }

  /// What one member of staff asks for and another confirms, in an account.
  static func onConfirmation(
    _ id: UUID, of accountID: UUID, _ action: AuditEvent.Action, by caller: Caller, _ reason: SupportReason
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: accountID, caller: caller, action: action, targetKind: "confirmation", targetID: id, reason: reason)
  }

  static func onPerson(
    _ id: UUID, _ kind: String, in accountID: UUID?, _ action: AuditEvent.Action, by caller: Caller,
    detail: AuditDetail? = nil
  ) -> InsertAuditEvent {
    InsertAuditEvent(
      accountID: accountID, caller: caller, action: action, targetKind: kind, targetID: id, detail: detail)
  }

  /// What belongs to no account.
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
      UUID.version7(), accountID, caller.actor.kind.rawValue, caller.actor.id, caller.actor.name, action.rawValue,
      targetKind,
      targetID, reason?.text, reason?.ticket, detail?.text, caller.ip)
  }
}

/// One event for each of many keys, of what one statement did to them.
struct InsertKeyAuditEvents: PostgresStatement {
  static let sql = """
    insert into audit_events
      (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ticket, ip)
    select event.id, $1, $2, $3, $4, $5, 'key', event.key_id, $6, $7, $8::text::inet
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
      accountID, caller.actor.kind.rawValue, caller.actor.id, caller.actor.name, action.rawValue, reason?.text,
      reason?.ticket,
      caller.ip, keyIDs.map { _ in UUID.version7() }, keyIDs)
  }
}

/// Filters that are not given must not hide from the planner what an index is for. And where there is none, as for a
/// part of a name, one reader has one process of PostgreSQL, not several that others then lack.
struct ForceCustomPlan: PostgresStatement {
  static let sql = """
    select set_config('plan_cache_mode', 'force_custom_plan', true),
      set_config('max_parallel_workers_per_gather', '0', true)
    """
}

extension AuditFilter {
  /// What ``bind(_:)`` binds, as `$1` to `$6`.
  fileprivate static let condition = """
    ($1::text is null or event.actor_kind = $1) and ($2::uuid is null or event.actor_id = $2)
      and ($3::text is null or event.action = $3) and ($4::uuid is null or event.target_id = $4)
      and ($5::timestamptz is null or event.at >= $5) and ($6::timestamptz is null or event.at < $6)
    """

  fileprivate func bind(_ bindings: inout PostgresBindings) {
    bindings.append(actorKind?.rawValue, actorID, action?.rawValue, targetID, from, to)
  }
}

/// The newest first, from below `before`.
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

// MARK: Chains

/// The columns of a `ChainedAuditEvent`, in the order in which `ChainedAuditEvent.init(row:)` takes them.
private let chainedColumns = """
  event.account_id, event.seq, event.id, (extract(epoch from event.at) * 1000000)::bigint, event.actor_kind,
  event.actor_id, event.actor_name, event.action, event.target_kind, event.target_id, event.reason, event.ticket,
  event.detail, abbrev(event.ip), event.prev_hash, event.hash, event.redacted_by, event.redacted_hashes
  """

/// The account of the head whose chain belongs to none.
private let systemHead = "'00000000-0000-0000-0000-000000000000'"

extension ChainedAuditEvent {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      trail: AuditTrail(try row.next()), seq: try row.next(), id: try row.next(), atMicroseconds: try row.next(),
      actorKind: try row.next(), actorID: try row.next(), actorName: try row.next(), action: try row.next(),
      targetKind: try row.next(), targetID: try row.next(), reason: try row.next(), ticket: try row.next(),
      detail: try row.next(), ip: try row.next(), prevHash: try AuditHash(column: row.next()),
      hash: try AuditHash(column: row.next()))
    let (tellers, hashes) = (try row.next([Int].self), try row.next([PostgresBytes].self))
    redactions = zip(tellers, hashes).map { AuditRedaction(teller: $0, hash: AuditHash(column: $1)) }
  }
}

extension AuditHash {
  fileprivate init(column: PostgresBytes) { self.init(bytes: column.bytes) }
}

/// The oldest first, behind `after` and up to `end`.
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

/// What a person did, and what was done to them, in one trail: the oldest first, behind `after` and up to `end`.
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

/// The trails in which a person did something, or something was done to them.
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

/// Where a chain is now.
struct FindAuditHead: PostgresStatement {
  static let sql = "select seq from audit_heads where account_id = coalesce($1, \(systemHead))"
  let trail: AuditTrail
  func bind(_ bindings: inout PostgresBindings) { bindings.append(trail.accountID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Int { try row.next() }
}

/// Chains, that of the system first.
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

/// All events of a chain, or of all, one chain after the other, each with its chain's head.
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

/// Heads without any event. A look for one event of each, since a join might read all events first.
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
