package import Foundation
package import Postgres
import Synchronization

/// This running server among the others: how far it has applied the invalidation log, and its row that says so.
package final class Instance: Sendable {
  package let id = UUID.version7()
  package let name: String
  let lease: Duration
  private let applied = Mutex<LogPosition?>(nil)

  package init(name: String, lease: Duration) {
    self.name = name
    self.lease = lease
  }

  package var appliedSeq: Int? { applied.withLock { $0?.seq } }

  /// Reads what is new in the log and hands it to `apply`.
  ///
  /// The heartbeat is committed *before* the read, and freshness counts from before the heartbeat, so that whoever
  /// revokes sees this instance as live for as long as it may answer from what it reads now. Another one follows, if
  /// there was news, as the acknowledgement.
  func sync(
    on connection: PostgresConnection, rowsMax: Int, _ apply: (SyncResult) -> Void
  ) async throws(PostgresError) {
    let before = applied.withLock { $0 }
    let startedAt = ContinuousClock.now
    try await connection.execute(heartbeat(before?.seq ?? -1))
    // Before the first sync nothing is cached, so the head alone says where to begin.
    let rows = try await connection.query(ReadInvalidations(after: before?.seq ?? .max, limit: rowsMax))
    guard let head = rows.first?.head else {
      throw PostgresError(.protocolViolation, "invalidation_head is empty")
    }
    apply(SyncResult(head: head, invalidations: rows.compactMap(\.invalidation), startedAt: startedAt))
    applied.withLock { $0 = head }
    if head != before { try await connection.execute(heartbeat(head.seq)) }
  }

  private func heartbeat(_ seq: Int) -> Heartbeat {
    Heartbeat(id: id, name: name, lease: lease, appliedSeq: seq)
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
    var seq: Int?
    // Until the database has said more: this one at least, and it is not known to have heard.
    var count = (live: 1, acknowledged: 0)
    var intervals = Self.pollIntervals.makeIterator()
    // It may hang, and whoever revokes is not to wait for that.
    while let row = try? await pool.query(CountAcknowledgements(seq: seq), by: deadline).first {
      seq = row.seq
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
