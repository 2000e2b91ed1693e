package import Postgres

/// How much was verified, and how much of it is wrong.
package struct AuditVerification: Sendable, Equatable {
  package var chainCount: Int
  package var eventCount: Int
  package var findingCount: Int
  /// Events out of which people were taken, as other events tell.
  package var redactedCount = 0

  package var isIntact: Bool { findingCount == 0 }
}

/// Whether the trails are as they were written.
package struct AuditChains: Sendable {
  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Goes along one chain, or all, and computes every hash anew, here and not in the database. In one snapshot, so that
  /// what is added meanwhile does not disturb; in the memory of a thousand events, however many there are.
  ///
  /// `heads` were kept from an earlier time: the events that they name must still be there. `progress` is told now and
  /// then how many events it has been so far.
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
