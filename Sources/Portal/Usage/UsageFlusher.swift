import Dispatch
import Foundation
package import Postgres
import ServiceLifecycle

/// Writes the counters to the database every second, and once more at shutdown; those that dead processes left, too.
/// Beside them, when service tokens were last used.
///
/// What was taken is written under numbers, one after the other, and nothing more is taken before all of it stands in the
/// database: a flush whose commit was in doubt is repeated under its number and counts once, and while PostgreSQL is away
/// there is no more on the disk than what is counted in.
package actor UsageFlusher: Service {
  private static let interval: Duration = .seconds(1)
  private static let intervalsPerAdoption = 60
  /// How often the last flush, at shutdown, is tried.
  private static let finalAttemptCountMax = 5
  /// Counters in one statement.
  private static let countersPerStatementMax = 10_000
  /// Statements of an extent: they share its number, shifted by so many bits.
  private static let statementBits = 16
  /// From the moment of a verdict until it is counted, at most.
  private static let verdictSecondsMax = 5.0

  private let pool: PostgresPool
  private let recorder: UsageRecorder
  private let tokenUses: ServiceTokenUses
  private let observer: Observer
  /// For what waits for the disk.
  private let queue = DispatchQueue(label: "usage-spool", qos: .utility)
  /// What was taken and is not known to be written, the oldest first.
  private var taken: [UsageExtent] = []
  private var orphans: [UsageSpool.Orphan] = []
  /// The flush that was begun last: the next waits for it, since an actor lets others in while it waits.
  private var last: Task<Bool, Never>?

  package init(
    pool: PostgresPool, recorder: UsageRecorder, tokenUses: ServiceTokenUses = ServiceTokenUses(), observer: Observer
  ) {
    self.pool = pool
    self.recorder = recorder
    self.tokenUses = tokenUses
    self.observer = observer
  }

  package func run() async throws {
    try? await cancelWhenGracefulShutdown {
      for number in 0... {
        if number % Self.intervalsPerAdoption == 0 { await self.adopt() }
        try await Task.sleep(for: Self.interval)
        await self.flush()
      }
    }
    for attempt in 1...Self.finalAttemptCountMax {
      if await flush() { break }
      try? await Task.sleep(for: .milliseconds(200 * attempt))
    }
    await blocking { [recorder] in recorder.close() }
  }

  /// Writes what has been counted until now, and what was adopted. False when it could not, and will be tried again.
  @discardableResult
  package func flush() async -> Bool {
    let flush = Task { [last] in
      _ = await last?.value
      return await writeAll()
    }
    last = flush
    return await flush.value
  }

  /// Takes over what dead processes left on the disk.
  package func adopt() async {
    guard let spool = recorder.spool else { return }
    for orphan in await blocking({ spool.adopt() }) {
      for reason in orphan.setAside { observer.observe(.usageSpoolFailed(reason)) }
      orphans.append(orphan)
    }
  }

  private func writeAll() async -> Bool {
    do {
      // What was taken before first, since its numbers are lower.
      try await writeTaken()
      let through = Date().addingTimeInterval(-Self.verdictSecondsMax)
      taken = await blocking { [recorder] in recorder.seal() }
      try await writeTaken()
      try await pool.execute(NoteUsageProgress(instanceID: recorder.sourceID, through: through))
      while let orphan = orphans.first {
        var count = 0
        for extent in orphan.extents { count += try await write(extent) }
        // It is dead, and has nothing any more that anybody could wait for.
        try await pool.execute(NoteUsageProgress(instanceID: orphan.sourceID, through: .distantFuture))
        await blocking {
          for extent in orphan.extents { extent.removeFile() }
          orphan.close()
        }
        orphans.removeFirst()
        // A folder that holds what was set aside is looked at again and again.
        if count > 0 { observer.observe(.usageAdopted(counters: count)) }
      }
      await writeTokenUses()
      return true
    } catch {
      observer.observe(.usageFlushFailed("\(error)"))
      await synchronize()
      return false
    }
  }

  /// What fails of it is written next time; nothing that was counted depends on it.
  private func writeTokenUses() async {
    let uses = tokenUses.pending()
    if uses.isEmpty { return }
    do {
      try await pool.execute(WriteServiceTokenUses(uses: uses))
      tokenUses.wrote(uses)
    } catch {
      observer.observe(.tokenUsesFailed("\(error)"))
    }
  }

  private func writeTaken() async throws {
    var count = 0
    while let extent = taken.first {
      count += try await write(extent)
      taken.removeFirst()
      await blocking { extent.removeFile() }
    }
    if count > 0 { observer.observe(.usageFlushed(counters: count)) }
  }

  /// Returns how many counters it has.
  private func write(_ extent: UsageExtent) async throws -> Int {
    let (counters, damagedCount) = await blocking { extent.read() }
    for (part, start) in stride(from: 0, to: counters.count, by: Self.countersPerStatementMax).enumerated() {
      let slice = counters[start..<min(start + Self.countersPerStatementMax, counters.count)]
      let number = extent.number << Self.statementBits | part
      _ = try await pool.query(FlushVerdicts(sourceID: extent.sourceID, number: number, counters: slice))
    }
    if damagedCount > 0 { observer.observe(.usageDamaged(counters: damagedCount)) }
    return counters.count
  }

  /// As long as the database is away the counters are on the disk alone: then a power cut is to cost no more than what was
  /// counted since this.
  private func synchronize() async {
    let failure = await blocking { [recorder, taken] () -> UsageExtent.Failure? in
      do throws(UsageExtent.Failure) {
        for extent in taken { try extent.synchronize() }
        try recorder.synchronize()
        return nil
      } catch {
        return error
      }
    }
    if let failure { observer.observe(.usageSpoolFailed("\(failure)")) }
  }

  private func blocking<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      queue.async { continuation.resume(returning: body()) }
    }
  }
}
