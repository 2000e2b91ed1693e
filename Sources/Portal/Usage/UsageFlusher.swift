import Dispatch
import Foundation
package import Postgres
import ServiceLifecycle

/// Writes the counters to the database, as often as ``FlushSchedule`` says and once more at shutdown, along with
/// counters that dead processes left behind and the times at which service tokens were last used.
///
/// Extents are written in the order of their numbers, and no more are taken before all of them are in the database. A
/// flush whose commit is in doubt is repeated under the same number and counts once. While PostgreSQL is down, the disk
/// holds only the extents that were taken before and those that are being counted in.
///
/// Written extents are kept for a while. Each statement names the number that the database must already have. If the
/// database has a lower one, it has lost commits, and the kept extents are written again under their numbers.
package actor UsageFlusher: Service {
  private static let interval: Duration = .seconds(1)
  private static let intervalsPerAdoption = 60
  /// Attempts at the last flush, at shutdown.
  private static let finalAttemptCountMax = 5
  /// The statements of an extent share its number, shifted left by this many bits.
  private static let statementBits = 16
  /// The longest time between a verdict and its being counted.
  private static let verdictSecondsMax = 5.0
  /// The total size of written files that are kept.
  private static let keptByteCountMax = 256 << 20

  private let pool: PostgresPool
  private let recorder: UsageRecorder
  private let tokenUses: ServiceTokenUses
  private let schedule: FlushSchedule
  private let clock: DatabaseClock
  private let observer: Observer
  /// For work that blocks on the disk.
  private let queue = DispatchQueue(label: "usage-spool", qos: .utility)
  /// Extents that were taken and are not known to be written, oldest first.
  private var taken: [UsageExtent] = []
  private var orphans: [UsageSpool.Orphan] = []
  private var written: WrittenExtents<Extent>
  /// The flush that was started last. The next one waits for it, because an actor is reentrant while it awaits.
  private var last: Task<Bool, Never>?
  /// The time since which counters have been gathered: that of the last flush.
  private var gatheredSince = ContinuousClock.now
  /// Whether the last flush failed.
  private var isBehind = false
  /// The pause between two statements.
  private var pause: Task<Void, Never>?
  /// The number of callers that wait for a flush. There are no pauses while there are any.
  private var waiterCount = 0

  private enum Extent: Sendable {
    case own(UsageExtent)
    /// A file of a dead process, with the orphan whose folder is removed along with its last file.
    case left(UsageFile, UsageSpool.Orphan)

    var layout: UsageLayout {
      switch self {
      case .own(let extent): extent.layout
      case .left(let file, _): file.layout
      }
    }

    func read() -> Result<UsageExtent.Contents, SpoolFailure> {
      switch self {
      case .own(let extent): .success(extent.read())
      case .left(let file, _): Result { () throws(SpoolFailure) in try file.read() }
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

  /// `keptFor` is how long written extents are kept, counted from the commit. `gatheredMax` is the longest time for
  /// which counters are gathered.
  package init(
    pool: PostgresPool, recorder: UsageRecorder, tokenUses: ServiceTokenUses = ServiceTokenUses(),
    keptFor: Duration = .seconds(60), gatheredMax: Duration = FlushSchedule.gatheredMaxDefault,
    clock: DatabaseClock = DatabaseClock(), observer: Observer
  ) {
    self.pool = pool
    self.recorder = recorder
    self.tokenUses = tokenUses
    written = WrittenExtents(keptFor: keptFor, byteCountMax: Self.keptByteCountMax)
    schedule = FlushSchedule(gatheredMax: gatheredMax)
    self.clock = clock
    self.observer = observer
  }

  package func run() async throws {
    try? await cancelWhenGracefulShutdown {
      for number in 0... {
        if number % Self.intervalsPerAdoption == 0 { await self.adopt() }
        try await Task.sleep(for: Self.interval)
        await self.writeWhenDue()
      }
    }
    for attempt in 1...Self.finalAttemptCountMax {
      if await flush() { break }
      try? await Task.sleep(for: .milliseconds(200 * attempt))
    }
    await blocking { [recorder] in recorder.close() }
  }

  /// Writes everything counted so far, and the adopted files. False if that failed; the next flush tries again.
  @discardableResult
  package func flush() async -> Bool {
    beginWaiting()
    defer { waiterCount -= 1 }
    return await write(gatheredFor: .zero)
  }

  /// Writes the counters if they are due, or if they could not be written before. Once the task is cancelled, nothing
  /// pauses any more.
  private func writeWhenDue() async {
    let gathered = ContinuousClock.now - gatheredSince
    // Counters that are only in memory, or that the last flush could not write, are not kept waiting.
    let mayWait = recorder.isDurable && !isBehind
    guard
      !mayWait || !orphans.isEmpty
        || schedule.isDue(counterCount: recorder.counterCount, gatheredFor: gathered)
    else { return }
    await withTaskCancellationHandler {
      _ = await write(gatheredFor: mayWait ? gathered : .zero)
    } onCancel: {
      Task { await self.beginWaiting() }
    }
  }

  /// Writes everything that was gathered for this long, with pauses unless a caller waits for a flush.
  func write(gatheredFor gathered: Duration) async -> Bool {
    let flush = Task { [last] in
      _ = await last?.value
      return await writeAll(gatheredFor: gathered)
    }
    last = flush
    return await flush.value
  }

  private func beginWaiting() {
    waiterCount += 1
    pause?.cancel()
  }

  /// Returns at once while a caller waits for a flush, or counters are only in memory.
  private func pause(_ duration: Duration) async {
    guard waiterCount == 0, duration > .zero, recorder.isDurable else { return }
    let pause = Task { _ = try? await Task.sleep(for: duration) }
    self.pause = pause
    await pause.value
    self.pause = nil
  }

  /// Takes over the files that dead processes left on the disk.
  package func adopt() async {
    guard let spool = recorder.spool else { return }
    let countMax = UsageSpool.orphanCountMax - orphans.count
    for orphan in await blocking({ spool.adopt(atMost: countMax) }) {
      for reason in orphan.setAside + orphan.left { observer.observe(.usageSpoolFailed(reason)) }
      orphans.append(orphan)
    }
  }

  private func writeAll(gatheredFor gathered: Duration) async -> Bool {
    do {
      // Extents that were taken earlier come first, because their numbers are lower.
      try await writeTaken(gatheredFor: .zero)
      let through = try await clock.now(on: pool).date.addingTimeInterval(-Self.verdictSecondsMax)
      taken = await blocking { [recorder] in recorder.seal() }
      gatheredSince = .now
      try await writeTaken(gatheredFor: gathered)
      try await noteProgress(through)
      while let orphan = orphans.first { try await write(orphan) }
      await removeExpired()
      await writeTokenUses()
      isBehind = false
      return true
    } catch {
      isBehind = true
      observer.observe(.usageFlushFailed("\(error)"))
      await synchronize()
      return false
    }
  }

  /// Writes the files of the first orphan. A file that cannot be read, or that the database refuses, is set aside and
  /// does not keep the others from being written.
  private func write(_ orphan: UsageSpool.Orphan) async throws {
    var count = 0
    for file in orphan.files {
      do {
        count += try await write(.left(file, orphan))
      } catch let failure as SpoolFailure where failure.kind != .shortage {
        await refuse(file, failure)
      } catch let error as PostgresError where error.refusesData {
        await refuse(file, SpoolFailure("\(file.path) is refused by the database: \(error)"))
      }
      // A file that is done is not tried again if the next one fails.
      orphans[0].removeFirst()
    }
    // The process is dead and all its files are done, so no one has to wait for it.
    if orphan.left.isEmpty {
      _ = try await pool.query(NoteUsageProgress(instanceID: orphan.sourceID, through: .distantFuture))
    }
    if orphan.files.isEmpty { await blocking { orphan.close() } }
    orphans.removeFirst()
    // Only report what was written: a folder with files that were set aside is adopted again and again.
    if count > 0 { observer.observe(.usageAdopted(counters: count)) }
  }

  private func refuse(_ file: UsageFile, _ failure: SpoolFailure) async {
    observer.observe(.usageSpoolFailed(failure.description))
    if failure.kind == .damage { await blocking { file.setAside() } }
  }

  /// Records how far this instance has come, and checks that the database still has what it had of the kept extents.
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

  /// A use that cannot be written is tried again next time; no counter depends on it.
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

  private func writeTaken(gatheredFor gathered: Duration) async throws {
    var count = 0
    let share = min(gathered, schedule.gatheredMax) / max(1, taken.count)
    while let extent = taken.first {
      count += try await write(.own(extent), gatheredFor: share)
      taken.removeFirst()
    }
    if count > 0 { observer.observe(.usageFlushed(counters: count)) }
  }

  /// Writes all of an extent and keeps it; returns how many counters were added.
  private func write(_ extent: Extent, gatheredFor gathered: Duration = .zero) async throws -> Int {
    let (number, addedCount) = try await send(extent, gatheredFor: gathered)
    let layout = extent.layout
    written.wrote(extent, layout.sourceID, number: number, byteCount: layout.byteCount, at: .now)
    return addedCount
  }

  /// Writes the kept extents of a source again that are above the number the database has fallen back to.
  private func writeAgain(_ sourceID: UUID, after number: Int) async throws {
    var count = 0
    for kept in written.kept(of: sourceID, after: number) {
      do {
        count += try await send(kept.extent).addedCount
        written.wroteAgain(sourceID, number: kept.number, at: .now)
      } catch let failure as SpoolFailure where failure.kind != .shortage {
        observer.observe(.usageSpoolFailed(failure.description))
      }
    }
    observer.observe(.usageWrittenAgain(counters: count))
  }

  /// Sends the statements of an extent, preceded by what the database has lost. Returns the number of the last
  /// statement, and how many counters of the extent were added.
  private func send(
    _ extent: Extent, gatheredFor gathered: Duration = .zero
  ) async throws -> (number: Int, addedCount: Int) {
    let layout = extent.layout
    let sourceID = layout.sourceID
    let contents = try await blocking { extent.read() }.get()
    let counters = contents.counters
    let statementCount = (counters.count - 1) / layout.countersPerStatement + 1
    let pauseTime = schedule.pause(gatheredFor: gathered, statementCount: statementCount)
    var (part, start, addedCount) = (0, 0, 0)
    // `UsageLayout.numberMax` bounds the number, so no bits are shifted out.
    var number = layout.number << Self.statementBits
    while start < counters.count {
      number = layout.number << Self.statementBits | part
      let slice = counters[start..<min(start + layout.countersPerStatement, counters.count)]
      let flush = FlushVerdicts(
        sourceID: sourceID, previous: written.number(of: sourceID), number: number, counters: slice)
      let standing = try await pool.query(flush).first ?? nil
      switch written.answered(standing, sourceID, number: number) {
      case .counted:
        (part, start) = (part + 1, start + slice.count)
        if standing == nil { addedCount += slice.count }
        if start < counters.count { await pause(pauseTime) }
      case .fellBack(let number):
        try await writeAgain(sourceID, after: number)
        // The first statements of this extent may have been lost as well.
        (part, start) = (0, 0)
      }
    }
    if contents.damagedCount > 0 { observer.observe(.usageDamaged(counters: contents.damagedCount)) }
    return (number, addedCount)
  }

  /// While the database is down, the counters are only on the disk. After this call, a power failure costs no more than
  /// what is counted later.
  private func synchronize() async {
    let failure = await blocking { [recorder, taken] () -> SpoolFailure? in
      do throws(SpoolFailure) {
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
  /// Whether the server refuses the data itself and would refuse it again: error classes 22 (data exception) and 23
  /// (integrity constraint violation).
  fileprivate var refusesData: Bool {
    code == .server && (sqlState?.hasPrefix("22") == true || sqlState?.hasPrefix("23") == true)
  }
}
