package import Foundation
package import Postgres
import Synchronization

/// This running server as one of the instances: how far it has applied the invalidation log, and its row that records
/// it.
package final class Instance: Sendable {
  package let id = UUID.version7()
  package let name: String
  let lease: Duration
  /// Measured with every heartbeat.
  package let clock: DatabaseClock
  private let applied = Mutex<LogPosition?>(nil)
  private let liveInstances = Atomic<Int>(1)

  package init(name: String, lease: Duration, clock: DatabaseClock = DatabaseClock()) {
    self.name = name
    self.lease = lease
    self.clock = clock
  }

  package var appliedSeq: Int? { applied.withLock { $0?.seq } }

  /// The number of instances that were live at the last heartbeat, including this one.
  package var liveInstanceCount: Int { liveInstances.load(ordering: .relaxed) }

  /// Records on a new connection that this instance is alive. That is durable, because the heartbeats that follow do
  /// not wait for the disk, and a crash must not lose a live instance.
  func register(on connection: PostgresConnection) async throws(PostgresError) {
    try await connection.execute(NoteInvalidationServer())
    try await beat(applied.withLock { $0 }, on: connection)
  }

  /// Reads the new rows of the log and passes them to `apply`.
  ///
  /// The heartbeat is committed *before* the read, and freshness counts from before the heartbeat, so that a caller
  /// that revokes sees this instance as live for as long as it may answer from what it reads now. If there are new
  /// rows, another heartbeat follows as the acknowledgement. Only what the caches took is acknowledged.
  func sync(
    on connection: PostgresConnection, rowsMax: Int, _ apply: (SyncResult) -> SyncOutcome
  ) async throws(PostgresError) {
    let before = applied.withLock { $0 }
    let startedAt = ContinuousClock.now
    try await beat(before, on: connection)
    // Before the first sync nothing is cached, so the head alone is the place to start.
    let rows = try await connection.query(ReadInvalidations(after: before?.seq ?? .max, limit: rowsMax))
    guard let head = rows.first?.head else {
      throw PostgresError(.protocolViolation, "invalidation_head is empty")
    }
    let result = SyncResult(
      head: head, invalidations: rows.compactMap(\.invalidation), startedAt: startedAt,
      importForms: rows.first?.importForms ?? [])
    // The lock is held meanwhile: results of two connections must reach all shards in one order.
    let outcome = applied.withLock { applied in
      let outcome = apply(result)
      if outcome.isTaken { applied = head }
      return outcome
    }
    if outcome.isTaken, head != before { try await beat(head, on: connection) }
  }

  private func beat(_ applied: LogPosition?, on connection: PostgresConnection) async throws(PostgresError) {
    let sentAt = ContinuousClock.now
    let answers = try await connection.query(Heartbeat(id: id, name: name, lease: lease, applied: applied))
    guard let answer = answers.first else { return }
    clock.measured(answer.time, sentAt: sentAt, receivedAt: .now)
    liveInstances.store(answer.liveInstanceCount, ordering: .relaxed)
  }
}

/// How far a change has been propagated: the receipt that support can give on the telephone.
package struct Propagation: Sendable, Equatable {
  /// The number of servers that may answer from their cache.
  package var instances: Int
  /// The number of those that have dropped what was changed.
  package var acknowledged: Int
  /// From the start of the change to the last acknowledgement, or to the end of the wait.
  package var milliseconds: Int
}

/// Waits until every live instance has applied a change.
package struct Propagations: Sendable {
  private static let pollIntervals: [Duration] = [
    .milliseconds(1), .milliseconds(2), .milliseconds(4), .milliseconds(10),
  ]

  let pool: PostgresPool
  /// How long to wait at most.
  let timeout: Duration

  package init(pool: PostgresPool, timeout: Duration = .seconds(1)) {
    self.pool = pool
    self.timeout = timeout
  }

  /// Waits until everything that was committed before this call is acknowledged. Never fails: the change is already
  /// committed, so if the database stops answering, the last count is returned.
  func wait(since start: ContinuousClock.Instant) async -> Propagation {
    let deadline = ContinuousClock.now + timeout
    var target: (seq: Int, mark: UUID)?
    // Until the database has answered: at least this instance is live, and it is not known to have applied the change.
    var count = (live: 1, acknowledged: 0)
    var intervals = Self.pollIntervals.makeIterator()
    // It may hang, and a caller that revokes must not wait for that.
    while let row = try? await pool.query(CountAcknowledgements(target: target), by: deadline).first {
      target = row.target
      count = (row.live, row.acknowledged)
      if count.acknowledged >= count.live || ContinuousClock.now >= deadline { break }
      try? await Task.sleep(for: intervals.next() ?? .milliseconds(20))
    }
    let (seconds, attoseconds) = (ContinuousClock.now - start).components
    return Propagation(
      instances: count.live, acknowledged: count.acknowledged,
      milliseconds: Int(seconds * 1_000 + attoseconds / 1_000_000_000_000_000))
  }
}

/// The state of one instance, as the database knows it.
package struct InstanceReport: Sendable, Equatable {
  package var id: UUID
  package var name: String
  package var startedAt: Date
  package var heartbeatAt: Date
  package var leaseMilliseconds: Int
  /// The seq of the latest invalidation that it has applied.
  package var appliedSeq: Int
  /// Invalidations that it has not applied yet.
  package var lag: Int
  /// How long it may go on answering from its cache without another heartbeat; 0 if it may not.
  package var freshMilliseconds: Int
}
