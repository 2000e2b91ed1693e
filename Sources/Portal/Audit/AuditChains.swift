package import Postgres

/// The totals of a verification.
package struct AuditVerification: Sendable, Equatable {
  package var chainCount: Int
  package var eventCount: Int
  package var findingCount: Int
  /// The number of redacted events.
  package var redactedCount = 0

  package var isIntact: Bool { findingCount == 0 }
}

/// Verifies that the trails are as they were written.
package struct AuditChains: Sendable {
  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Reads one chain, or all, and recomputes every hash in this process, not in the database. It reads in one snapshot,
  /// so events that are added in the meantime do not matter, and holds at most a thousand events in memory.
  ///
  /// `heads` were kept earlier: the events that they name must still exist. `progress` gets the number of events read
  /// so far, after each thousand.
  package func verify(
    _ trail: AuditTrail? = nil, expecting heads: [AuditHead] = [], progress: (Int) -> Void = { _ in },
    _ report: (AuditOutcome) throws -> Void
  ) async throws -> AuditVerification {
    try await pool.withTransaction(isolation: .repeatableRead, as: .staff) { connection in
      var check = AuditChainCheck(expecting: heads)
      _ = try await connection.pipeline(
        ForceCustomPlan(), DeclareExport(query: ListChainedEvents(trail: trail)))
      while true {
        let found = try await connection.query(FetchExport<ListChainedEvents>())
        if found.isEmpty { break }
        for row in found { check.take(row.event, head: row.head) }
        for outcome in check.takeOutcomes() { try report(outcome) }
        progress(check.eventCount)
      }
      for head in try await connection.query(ListEmptyChains(trail: trail)) { check.take(emptyChainOf: head) }
      check.finish()
      for outcome in check.takeOutcomes() { try report(outcome) }
      return AuditVerification(
        chainCount: check.chainCount, eventCount: check.eventCount, findingCount: check.findingCount,
        redactedCount: check.redactedCount)
    }
  }
}
