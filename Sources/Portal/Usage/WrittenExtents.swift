import Foundation

/// Extents that were written to the database and are kept for a while in case the database loses them again, in a
/// failover to a standby that had not received them. A value without I/O or a clock.
///
/// Generic over the extent, so that tests need no files.
struct WrittenExtents<Extent: Sendable>: Sendable {
  /// The database's answer about one source.
  enum Answer: Equatable, Sendable {
    /// The counters were added, or had been before.
    case counted
    /// The database has less of this source than before: only up to this number.
    case fellBack(to: Int)
  }

  struct Kept: Sendable {
    let extent: Extent
    let sourceID: UUID
    /// The number of its last statement.
    let number: Int
    let byteCount: Int
    let writtenAt: ContinuousClock.Instant
  }

  /// How long extents are kept, counted from the commit.
  let keptFor: Duration
  /// The total size of the kept files; beyond it the oldest are removed first.
  let byteCountMax: Int
  private(set) var kept: [Kept] = []
  /// The highest number that the database is known to have had, for each source with extents that are kept or being
  /// sent.
  private var numbers: [UUID: Int] = [:]

  init(keptFor: Duration, byteCountMax: Int) {
    self.keptFor = keptFor
    self.byteCountMax = byteCountMax
  }

  /// The number that the database must have for this source before it accepts the next one; 0 if it need not have any.
  func number(of sourceID: UUID) -> Int { numbers[sourceID] ?? 0 }

  /// The sources with kept extents.
  var sourceIDs: [UUID] { Array(Set(kept.map(\.sourceID))) }

  /// Records the answer to a statement under `number`: the number in the database, or nil if the counters were added.
  mutating func answered(_ standing: Int?, _ sourceID: UUID, number: Int) -> Answer {
    if let standing, standing < number {
      numbers[sourceID] = standing
      return .fellBack(to: standing)
    }
    numbers[sourceID] = standing ?? number
    return .counted
  }

  /// Records the number that the database has for a source; false if that is less than it had before.
  mutating func look(_ standing: Int, _ sourceID: UUID) -> Bool {
    guard standing < number(of: sourceID) else { return true }
    numbers[sourceID] = standing
    return false
  }

  /// Keeps an extent that has been written completely.
  mutating func wrote(
    _ extent: Extent, _ sourceID: UUID, number: Int, byteCount: Int, at now: ContinuousClock.Instant
  ) {
    kept.append(Kept(extent: extent, sourceID: sourceID, number: number, byteCount: byteCount, writtenAt: now))
  }

  /// Restarts the retention period of a kept extent that was written again.
  mutating func wroteAgain(_ sourceID: UUID, number: Int, at now: ContinuousClock.Instant) {
    guard let index = kept.firstIndex(where: { $0.sourceID == sourceID && $0.number == number }) else { return }
    let again = kept.remove(at: index)
    wrote(again.extent, sourceID, number: number, byteCount: again.byteCount, at: now)
  }

  /// The kept extents of a source above `number`, in the order in which they are to be written again.
  func kept(of sourceID: UUID, after number: Int) -> [Kept] {
    kept.filter { $0.sourceID == sourceID && $0.number > number }.sorted { $0.number < $1.number }
  }

  /// Removes and returns the extents that have expired or exceed the size limit.
  mutating func takeExpired(at now: ContinuousClock.Instant) -> [Kept] {
    var byteCount = kept.reduce(0) { $0 + $1.byteCount }
    let expired = kept.prefix { kept in
      guard kept.writtenAt + keptFor <= now || byteCount > byteCountMax else { return false }
      byteCount -= kept.byteCount
      return true
    }
    kept.removeFirst(expired.count)
    // Without kept extents of a source there is nothing to write again, so its number is not needed. Keeping it would
    // let the sources of dead processes accumulate.
    let sources = Set(kept.map(\.sourceID))
    numbers = numbers.filter { sources.contains($0.key) }
    return Array(expired)
  }
}
