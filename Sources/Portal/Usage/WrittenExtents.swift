import Foundation

/// What was written to the database and is kept for a while in case the database loses it again: in a failover to a
/// standby that had not received it. As a value: no I/O and no clock in here.
///
/// Generic over the extent, so that tests need no files.
struct WrittenExtents<Extent: Sendable>: Sendable {
  /// What the database said of one source.
  enum Answer: Equatable, Sendable {
    /// The counters were added, or had been before.
    case counted
    /// The database has less of this source than it had before: only what is up to this number.
    case fellBack(to: Int)
  }

  struct Kept: Sendable {
    let extent: Extent
    let sourceID: UUID
    /// That of its last statement.
    let number: Int
    let byteCount: Int
    let writtenAt: ContinuousClock.Instant
  }

  /// From the commit on.
  let keptFor: Duration
  /// Of all files together; beyond it the oldest go first.
  let byteCountMax: Int
  private(set) var kept: [Kept] = []
  /// The highest number that the database is known to have had, of each source of which something is kept or being
  /// sent.
  private var numbers: [UUID: Int] = [:]

  init(keptFor: Duration, byteCountMax: Int) {
    self.keptFor = keptFor
    self.byteCountMax = byteCountMax
  }

  /// The number that the database must have of this source before it takes the next one; 0 if it need not have any.
  func number(of sourceID: UUID) -> Int { numbers[sourceID] ?? 0 }

  /// The sources of which something is kept.
  var sourceIDs: [UUID] { Array(Set(kept.map(\.sourceID))) }

  /// A statement under `number` was answered with the number that stands in the database, or with nil if it was added.
  mutating func answered(_ standing: Int?, _ sourceID: UUID, number: Int) -> Answer {
    if let standing, standing < number {
      numbers[sourceID] = standing
      return .fellBack(to: standing)
    }
    numbers[sourceID] = standing ?? number
    return .counted
  }

  /// The database has this number of the source now; false if it had more before, and forgets what it had.
  mutating func look(_ standing: Int, _ sourceID: UUID) -> Bool {
    guard standing < number(of: sourceID) else { return true }
    numbers[sourceID] = standing
    return false
  }

  /// All of an extent is in the database.
  mutating func wrote(
    _ extent: Extent, _ sourceID: UUID, number: Int, byteCount: Int, at now: ContinuousClock.Instant
  ) {
    kept.append(Kept(extent: extent, sourceID: sourceID, number: number, byteCount: byteCount, writtenAt: now))
  }

  /// One that is kept is in the database once more: its time begins anew.
  mutating func wroteAgain(_ sourceID: UUID, number: Int, at now: ContinuousClock.Instant) {
    guard let index = kept.firstIndex(where: { $0.sourceID == sourceID && $0.number == number }) else { return }
    let again = kept.remove(at: index)
    wrote(again.extent, sourceID, number: number, byteCount: again.byteCount, at: now)
  }

  /// Those of a source beyond `number`, in the order in which they are to be written again.
  func kept(of sourceID: UUID, after number: Int) -> [Kept] {
    kept.filter { $0.sourceID == sourceID && $0.number > number }.sorted { $0.number < $1.number }
  }

  /// Takes out those whose time is over, or for which there is no room.
  mutating func takeExpired(at now: ContinuousClock.Instant) -> [Kept] {
    var byteCount = kept.reduce(0) { $0 + $1.byteCount }
    let expired = kept.prefix { kept in
      guard kept.writtenAt + keptFor <= now || byteCount > byteCountMax else { return false }
      byteCount -= kept.byteCount
      return true
    }
    kept.removeFirst(expired.count)
    // Where nothing is kept there is nothing to write again, so it does not matter what the database has lost. Else the
    // sources of dead processes would add up.
    let sources = Set(kept.map(\.sourceID))
    numbers = numbers.filter { sources.contains($0.key) }
    return Array(expired)
  }
}
