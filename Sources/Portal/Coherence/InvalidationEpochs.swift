package import Foundation
package import Postgres

/// The epoch of the invalidation log: changed by hand after changes that bypassed its triggers, which no mark can
/// reveal.
package struct InvalidationEpochs: Sendable {
  let pool: PostgresPool
  let propagations: Propagations

  package init(pool: PostgresPool, propagations: Propagations) {
    self.pool = pool
    self.propagations = propagations
  }

  /// Begins another epoch: every instance drops everything that it has cached. The receipt says how many have.
  package func begin(
    by caller: Caller, _ reason: SupportReason
  ) async throws -> (epoch: UUID, propagation: Propagation) {
    let clock = ContinuousClock.now
    let (begun, _) = try await pool.pipeline(
      BeginInvalidationEpoch(), InsertAuditEvent.inSystem(.epochBegun, "epoch", by: caller, reason), as: .staff)
    guard let epoch = begun.first else { throw PostgresError(.protocolViolation, "invalidation_head is empty") }
    return (epoch, await propagations.wait(since: clock))
  }
}
