package import Foundation
package import Postgres

/// The audit trails: that of an account, which the tenant reads, and that of what belongs to none.
package struct AuditEvents: Sendable {
  /// Events that an export reads at a time.
  static let exportPageCountMax = 1_000

  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  package func list(
    of accountID: UUID, _ filter: AuditFilter = AuditFilter(), page: PageRequest
  ) async throws -> Page<AuditEvent> {
    let (_, events) = try await pool.pipeline(
      ForceCustomPlan(),
      ListAuditEvents(accountID: accountID, filter: filter, before: page.before, count: page.limit + 1),
      as: .account(accountID))
    return Page(events, limit: page.limit, id: \.id)
  }

  /// The chains there are, some at a time, from behind `last`.
  package func trails(after last: AuditTrail?) async throws -> [AuditTrail] {
    try await pool.query(ListTrails(after: last, count: Self.exportPageCountMax), as: .staff)
  }

  /// Makes ready for reading a trail from its beginning to where it is now.
  package func export(_ trail: AuditTrail, _ filter: AuditFilter = AuditFilter()) async throws -> Export {
    let end = try await pool.query(FindAuditHead(trail: trail), as: trail.settings).first ?? 0
    return Export(pool: pool, trail: trail, filter: filter, end: end)
  }

  /// A trail to be read. Between two reads it holds nothing in the database: events are only ever added, and behind the
  /// end, so that pages by their numbers come to the same as one snapshot would.
  package struct Export: Sendable {
    let pool: PostgresPool
    let trail: AuditTrail
    let filter: AuditFilter
    let end: Int

    /// Hands on all events in the order of the chain, a thousand at most at a time.
    package func read(_ sink: ([ChainedAuditEvent]) async throws -> Void) async throws {
      var last = 0
      while last < end {
        let (_, found) = try await pool.pipeline(
          ForceCustomPlan(),
          ExportAuditEvents(trail: trail, filter: filter, after: last, end: end, count: exportPageCountMax),
          as: trail.settings)
        if !found.isEmpty { try await sink(found) }
        last = found.count < exportPageCountMax ? end : found.last?.seq ?? end
      }
    }
  }
}

extension AuditTrail {
  /// The settings under which the trail can be read.
  fileprivate var settings: PostgresSettings { accountID.map { .account($0) } ?? .staff }
}
