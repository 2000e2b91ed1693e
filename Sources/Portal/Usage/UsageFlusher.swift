import Dispatch
import Foundation
package import Postgres
import ServiceLifecycle

/// Writes the counters to the database every second, and once more at shutdown; those that dead processes left, too.
/// Beside them, when service tokens were last used.
///
/// What was taken is written under numbers, one after the other, and nothing more is taken before all of it stands in
/// the database: a flush whose commit was in doubt is repeated under its number and counts once, and while PostgreSQL
/// is away there is no more on the disk than what is counted in.
///
/// What was written is kept for a while. Each statement names the number that the database must have before it; where
/// it has less, it has lost commits, and what was kept is written again under its numbers.
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
  /// Of files that are kept although they were written.
  private static let keptByteCountMax = 256 << 20

  private let pool: PostgresPool
  private let recorder: UsageRecorder
  private let tokenUses: ServiceTokenUses
  private let clock: DatabaseClock
  private let observer: Observer
  /// For what waits for the disk.
  private let queue = DispatchQueue(label: "usage-spool", qos: .utility)
  /// What was taken and is not known to be written, the oldest first.
  private var taken: [UsageExtent] = []
  private var orphans: [UsageSpool.Orphan] = []
  private var written: WrittenExtents<Extent>
  /// The flush that was begun last: the next waits for it, since an actor lets others in while it waits.
  private var last: Task<Bool, Never>?

  private enum Extent: Sendable {
    case own(UsageExtent)
    /// With the orphan whose folder is to be removed with its last file.
    case left(UsageFile, UsageSpool.Orphan)

    var layout: UsageLayout {
      switch self {
      case .own(let extent): extent.layout
      case .left(let file, _): file.layout
      }
    }

    func read() -> Result<UsageExtent.Contents, UsageExtent.Failure> {
      switch self {
      case .own(let extent): .success(extent.read())
      case .left(let file, _): Result { () throws(UsageExtent.Failure) in try file.read() }
      }
    }

    func remove() {
      switch self {
      case .own(let extent): extent.removeFile()
      case .left(let file, let orphan):
        file.remove()
        orphan.close()
      }
    }
  }

  /// `keptFor` is how long what was written is kept, from the commit on.
  package init(
    pool: PostgresPool, recorder: UsageRecorder, tokenUses: ServiceTokenUses = ServiceTokenUses(),
    keptFor: Duration = .seconds(60), clock: DatabaseClock = DatabaseClock(), observer: Observer
  ) {
    self.pool = pool
    self.recorder = recorder
    self.tokenUses = tokenUses
    written = WrittenExtents(keptFor: keptFor, byteCountMax: Self.keptByteCountMax)
    self.clock = clock
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
    let countMax = UsageSpool.orphanCountMax - orphans.count
    for orphan in await blocking({ spool.adopt(atMost: countMax) }) {
      for reason in orphan.setAside + orphan.left { observer.observe(.usageSpoolFailed(reason)) }
      orphans.append(orphan)
    }
  }

  private func writeAll() async -> Bool {
    do {
      // What was taken before first, since its numbers are lower.
      try await writeTaken()
      let through = try await clock.now(on: pool).date.addingTimeInterval(-Self.verdictSecondsMax)
      taken = await blocking { [recorder] in recorder.seal() }
      try await writeTaken()
      try await noteProgress(through)
      while let orphan = orphans.first { try await write(orphan) }
      await removeExpired()
      await writeTokenUses()
      return true
    } catch {
      observer.observe(.usageFlushFailed("\(error)"))
      await synchronize()
      return false
    }
  }

  /// Writes what the first of the orphans has left. What cannot be read, or is nothing that the database takes, is set
  /// aside and keeps nothing else from being written.
  private func write(_ orphan: UsageSpool.Orphan) async throws {
    var count = 0
    for file in orphan.files {
      do {
        count += try await write(.left(file, orphan))
      } catch let failure as UsageExtent.Failure where failure.kind != .shortage {
        await refuse(file, failure)
      } catch let error as PostgresError where error.refusesData {
        await refuse(file, UsageExtent.Failure("\(file.path) is nothing that the database takes: \(error)"))
      }
      // What was dealt with is not tried again when the next one fails.
      orphans[0].removeFirst()
    }
    // It is dead, and has nothing any more that anybody could wait for.
    if orphan.left.isEmpty {
      _ = try await pool.query(NoteUsageProgress(instanceID: orphan.sourceID, through: .distantFuture))
    }
    if orphan.files.isEmpty { await blocking { orphan.close() } }
    orphans.removeFirst()
    // A folder that holds what was set aside is looked at again and again.
    if count > 0 { observer.observe(.usageAdopted(counters: count)) }
  }

  private func refuse(_ file: UsageFile, _ failure: UsageExtent.Failure) async {
    observer.observe(.usageSpoolFailed(failure.description))
    if failure.kind == .damage { await blocking { file.setAside() } }
  }

  /// Says how far this instance has come, and sees whether the database has all that it had of what is kept.
  private func noteProgress(_ through: Date) async throws {
    let progress = NoteUsageProgress(
      instanceID: recorder.sourceID, through: through, sourceIDs: written.sourceIDs)
    for (sourceID, number) in try await pool.query(progress).compactMap({ $0 }) where !written.look(number, sourceID) {
      try await writeAgain(sourceID, after: number)
    }
  }

  private func removeExpired() async {
    let expired = written.takeExpired(at: .now)
    if expired.isEmpty { return }
    await blocking {
      for kept in expired { kept.extent.remove() }
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
      count += try await write(.own(extent))
      taken.removeFirst()
    }
    if count > 0 { observer.observe(.usageFlushed(counters: count)) }
  }

  /// Writes all of an extent and keeps it; returns how many counters were added.
  private func write(_ extent: Extent) async throws -> Int {
    let (number, addedCount) = try await send(extent)
    let layout = extent.layout
    written.wrote(extent, layout.sourceID, number: number, byteCount: layout.byteCount, at: .now)
    return addedCount
  }

  /// Writes what is kept of a source beyond the number that the database has fallen back to.
  private func writeAgain(_ sourceID: UUID, after number: Int) async throws {
    var count = 0
    for kept in written.kept(of: sourceID, after: number) {
      do {
        count += try await send(kept.extent).addedCount
        written.wroteAgain(sourceID, number: kept.number, at: .now)
      } catch let failure as UsageExtent.Failure where failure.kind != .shortage {
        observer.observe(.usageSpoolFailed(failure.description))
      }
    }
    observer.observe(.usageWrittenAgain(counters: count))
  }

  /// Sends the statements of an extent, and what the database has lost before them. Returns the number of the last one,
  /// and how many of its counters were added.
  private func send(_ extent: Extent) async throws -> (number: Int, addedCount: Int) {
    let layout = extent.layout
    let sourceID = layout.sourceID
    let contents = try await blocking { extent.read() }.get()
    let counters = contents.counters
    var (part, start, addedCount) = (0, 0, 0)
    // Bounded by `UsageLayout.numberMax`, so nothing is shifted out.
    var number = layout.number << Self.statementBits
    while start < counters.count {
      number = layout.number << Self.statementBits | part
      let slice = counters[start..<min(start + Self.countersPerStatementMax, counters.count)]
      let flush = FlushVerdicts(
        sourceID: sourceID, previous: written.number(of: sourceID), number: number, counters: slice)
      let standing = try await pool.query(flush).first ?? nil
      switch written.answered(standing, sourceID, number: number) {
      case .counted:
        (part, start) = (part + 1, start + slice.count)
        if standing == nil { addedCount += slice.count }
      case .fellBack(let number):
        try await writeAgain(sourceID, after: number)
        // Its own first statements may have been lost, too.
        (part, start) = (0, 0)
      }
    }
    if contents.damagedCount > 0 { observer.observe(.usageDamaged(counters: contents.damagedCount)) }
    return (number, addedCount)
  }

  /// As long as the database is away the counters are on the disk alone: then a power cut is to cost no more than what
  /// was counted since this.
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

extension PostgresError {
  /// Whether the server refuses what it was given, and would refuse it again: classes 22 (data exception) and 23
  /// (integrity constraint violation).
  fileprivate var refusesData: Bool {
    code == .server && (sqlState?.hasPrefix("22") == true || sqlState?.hasPrefix("23") == true)
  }
}
