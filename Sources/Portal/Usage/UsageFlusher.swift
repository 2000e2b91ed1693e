import Foundation
package import Postgres
import ServiceLifecycle

/// Writes the counters to the database every second, and once more at shutdown.
///
/// What was taken out of memory is written under a number, and the next is taken only when that stands in the database:
/// a flush whose commit was in doubt is repeated under its number and counts once.
package actor UsageFlusher: Service {
  private static let interval: Duration = .seconds(1)
  /// How often the last flush, at shutdown, is tried.
  private static let finalAttemptCountMax = 5

  private let pool: PostgresPool
  private let recorder: UsageRecorder
  private let observer: Observer
  private let sourceID = UUID.version7()
  private var number = 0
  private var sealed: UsageSegment?
  /// The flush that was begun last: the next waits for it, since an actor lets others in while it waits.
  private var last: Task<Bool, Never>?

  package init(pool: PostgresPool, recorder: UsageRecorder, observer: Observer) {
    self.pool = pool
    self.recorder = recorder
    self.observer = observer
  }

  package func run() async throws {
    try? await cancelWhenGracefulShutdown {
      while true {
        try await Task.sleep(for: Self.interval)
        await self.flush()
      }
    }
    for attempt in 1...Self.finalAttemptCountMax {
      // Twice, for what was sealed before and could not be written, and for what has come since.
      if await flush(), await flush() { return }
      try? await Task.sleep(for: .milliseconds(200 * attempt))
    }
  }

  /// Writes what has been counted until now. False when it could not, and will be tried again.
  @discardableResult
  package func flush() async -> Bool {
    let flush = Task { [last] in
      _ = await last?.value
      return await writeNext()
    }
    last = flush
    return await flush.value
  }

  private func writeNext() async -> Bool {
    if sealed == nil {
      let segment = recorder.seal()
      if segment.isEmpty { return true }
      sealed = segment
      number += 1
    }
    guard let segment = sealed else { return true }
    do {
      try await write(segment)
      sealed = nil
      observer.observe(.usageFlushed(counters: segment.counters.count))
      return true
    } catch {
      observer.observe(.usageFlushFailed("\(error)"))
      return false
    }
  }

  private func write(_ segment: UsageSegment) async throws {
    let counters = segment.sorted
    try await pool.withTransaction { [sourceID, number] transaction in
      let advanced = try await transaction.query(AdvanceUsageSource(id: sourceID, number: number))
      if advanced.isEmpty { return }
      _ = try await transaction.pipeline(AddUsage(counters: counters), AddKeyActivity(counters: counters))
    }
  }
}
