package import Foundation
package import Postgres
import Synchronization

/// This running server among the others: how far it has applied the invalidation log, and its row that says so.
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

  /// Instances that were live at the last heartbeat, this one too.
  package var liveInstanceCount: Int { liveInstances.load(ordering: .relaxed) }

  /// For a new connection: says that this instance lives, durably, since the heartbeats that follow do not wait for the
  /// disk, and who lives must not be forgotten by a crash.
  func register(on connection: PostgresConnection) async throws(PostgresError) {
    try await connection.execute(NoteInvalidationServer())
    try await beat(applied.withLock { $0 }, on: connection)
  }

  /// Reads what is new in the log and hands it to `apply`.
  ///
  /// The heartbeat is committed *before* the read, and freshness counts from before the heartbeat, so that whoever
  /// revokes sees this instance as live for as long as it may answer from what it reads now. Another one follows, if
  /// there was news, as the acknowledgement. Only what the caches took is acknowledged.
  func sync(
    on connection: PostgresConnection, rowsMax: Int, _ apply: (SyncResult) -> SyncOutcome
  ) async throws(PostgresError) {
    let before = applied.withLock { $0 }
    let startedAt = ContinuousClock.now
    try await beat(before, on: connection)
    // Before the first sync nothing is cached, so the head alone says where to begin.
    let rows = try await connection.query(ReadInvalidations(after: before?.seq ?? .max, limit: rowsMax))
    guard let head = rows.first?.head else {
      throw PostgresError(.protocolViolation, "invalidation_head is empty")
    }
    let result = SyncResult(head: head, invalidations: rows.compactMap(\.invalidation), startedAt: startedAt)
    // Held meanwhile: results of two connections must reach all shards in one order.
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

/// How far the news of a change has come: the promise that support gives on the telephone.
package struct Propagation: Sendable, Equatable {
  /// Servers that may answer from their cache.
  package var instances: Int
  /// Those among them that have dropped what was changed.
  package var acknowledged: Int
  /// From the beginning of the change to the last acknowledgement, or to the end of the wait.
  package var milliseconds: Int
}

/// Waiting until every live instance has applied a change.
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

  /// Waits for all that was committed before this call. Never fails: the change stands already, so where the database
  /// stops answering, the last count does.
  func wait(since start: ContinuousClock.Instant) async -> Propagation {
    let deadline = ContinuousClock.now + timeout
    var target: (seq: Int, mark: UUID)?
    // Until the database has said more: this one at least, and it is not known to have heard.
    var count = (live: 1, acknowledged: 0)
    var intervals = Self.pollIntervals.makeIterator()
    // It may hang, and whoever revokes is not to wait for that.
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

/// How far one instance has come, as the database knows it.
package struct InstanceReport: Sendable, Equatable {
  package var id: UUID
  package var name: String
  package var startedAt: Date
  package var heartbeatAt: Date
  package var leaseMilliseconds: Int
  /// The invalidation up to which it has dropped everything.
  package var appliedSeq: Int
  /// Invalidations that it has not applied yet.
  package var lag: Int
  /// For how long it may go on answering from its cache if it is heard of no more; 0 for one that may not.
  package var freshMilliseconds: Int
}
