package import Foundation
package import Postgres

/// Reads the audit trails: those of accounts, which their members read, and that of the system.
package struct AuditEvents: Sendable {
  /// The maximum number of events that an export reads at a time.
  static let exportPageCountMax = 1_000
  /// The maximum number of trails or events that a collector gets at a time.
  package static let collectedCountMax = 1_000
  package static let collectedCountDefault = 100
  /// The id of the system's head among those of accounts.
  private static let systemID = UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))

  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Most recent first.
  package func list(
    of accountID: UUID, _ filter: AuditFilter = AuditFilter(), page: PageRequest
  ) async throws -> Page<AuditEvent> {
    let events = try await pool.pipeline(
      ForceCustomPlan(),
      then: ListAuditEvents(accountID: accountID, filter: filter, before: page.before, count: page.limit + 1),
      as: .account(accountID))
    return Page(events, limit: page.limit, id: \.id)
  }

  /// The number of events that match a filter, in total and by action.
  package func summary(of trail: AuditTrail, _ filter: AuditFilter = AuditFilter()) async throws -> AuditSummary {
    AuditSummary(
      try await pool.pipeline(
        ForceCustomPlan(), then: SummarizeAuditEvents(trail: trail, filter: filter), as: trail.settings))
  }

  // MARK: Collecting

  /// The heads of all trails in the order of their accounts' ids, the system's first. `page.before` is the last id of
  /// the page before, as for a list that is sorted the other way around.
  package func heads(page: PageRequest) async throws -> Page<AuditHead> {
    let found = try await pool.query(ListAuditHeads(last: page.before, count: page.limit + 1), as: .staff)
    return Page(found, limit: page.limit) { $0.trail.accountID ?? Self.systemID }
  }

  /// At most `limit` events of a trail after number `after`, in the order of the chain, and the head that they lead to.
  /// Numbers have no gaps and follow the order of commits, so a collector that goes on after the last number misses no
  /// event. Throws `.notFound` if there is no such trail.
  package func events(
    of trail: AuditTrail, after: Int, limit: Int
  ) async throws -> (events: [ChainedAuditEvent], head: AuditHead) {
    guard let head = try await pool.query(ReadAuditHead(trail: trail), as: trail.settings).first else {
      throw PortalError.notFound
    }
    let events = try await pool.pipeline(
      ForceCustomPlan(),
      then: ExportAuditEvents(trail: trail, filter: AuditFilter(), after: after, end: head.seq, count: limit),
      as: trail.settings)
    return (events, head)
  }

  // MARK: Exporting

  /// The next thousand trails after `last`, in the order of their ids; nil: from the first, which is the system's.
  package func trails(after last: AuditTrail?) async throws -> [AuditTrail] {
    try await pool.query(ListTrails(after: last, count: Self.exportPageCountMax), as: .staff)
  }

  /// Prepares to read a trail from its beginning to its present end.
  package func export(_ trail: AuditTrail, _ filter: AuditFilter = AuditFilter()) async throws -> Export {
    let end = try await pool.query(FindAuditHead(trail: trail), as: trail.settings).first ?? 0
    return Export(pool: pool, trail: trail, filter: filter, end: end)
  }

  /// A trail to be read. Between two reads it holds nothing in the database. Events are only ever added, and after the
  /// end, so pages by number have the same events as one snapshot would.
  package struct Export: Sendable {
    let pool: PostgresPool
    let trail: AuditTrail
    let filter: AuditFilter
    let end: Int

    /// Passes all events to `sink`, in the order of the chain, at most a thousand at a time.
    package func read(_ sink: ([ChainedAuditEvent]) async throws -> Void) async throws {
      var last = 0
      while last < end {
        let found = try await pool.pipeline(
          ForceCustomPlan(),
          then: ExportAuditEvents(trail: trail, filter: filter, after: last, end: end, count: exportPageCountMax),
          as: trail.settings)
        if !found.isEmpty { try await sink(found) }
        last = found.count < exportPageCountMax ? end : found.last?.seq ?? end
      }
    }
  }
}

extension AuditTrail {
  /// The settings that permit reading the trail.
  fileprivate var settings: PostgresSettings { accountID.map { .account($0) } ?? .staff }
}
