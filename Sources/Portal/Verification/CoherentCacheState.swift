import DequeModule
import Foundation

/// A cache that never answers with what was revoked longer than the lease ago, as a value: no I/O and no clock in here.
///
/// - It follows `invalidation_log`. Each successful sync makes it fresh until the *start* of that sync plus the lease;
///   past that moment nothing is a hit, however it came in.
/// - A fill carries the position of the log at which it was read. It is stored only if no invalidation of it has been
///   applied since; if the ring of recent invalidations does not reach back that far, it is not stored.
/// - A position of another epoch empties it.
///
/// `Value` is what is known of a secret that exists. Secrets that don't are remembered apart, few and briefly, so that a
/// flood of invented keys pushes out no real one.
package struct CoherentCacheState<Value: Invalidatable>: Sendable {
  package struct Limits: Sendable {
    /// How long after the start of a sync its result may be relied on.
    package var lease: Duration = .seconds(2)
    package var entryCountMax = 200_000
    package var absentCountMax = 10_000
    /// How long an unknown secret is taken to be unknown still.
    package var absentLifetime: Duration = .seconds(2)
    /// Recent invalidations remembered, against which late fills are judged.
    package var recentCountMax = 4_096

    package init() {}
  }

  package enum Lookup: Sendable {
    case hit(Value)
    /// Known not to exist.
    case absent
    case miss
    /// The lease has run out: ask the database.
    case stale
  }

  package enum FillOutcome: Sendable, Equatable {
    case stored
    /// An invalidation of it was applied after it was read.
    case overtaken
    /// Read at a position that cannot be judged: before the ring, of another epoch, or before the first sync.
    case unjudged
  }

  private let limits: Limits
  private var entries = CacheEntries<Value>()
  private var absent: [SecretHash: ContinuousClock.Instant] = [:]
  private var absentOrder: Deque<SecretHash> = []
  private var recent: Deque<Invalidation> = []
  /// Every invalidation above this seq, up to the applied one, is in `recent`.
  private var recentFloor = 0
  private var freshUntil: ContinuousClock.Instant?
  package private(set) var applied: LogPosition?

  package init(limits: Limits) { self.limits = limits }

  package var count: Int { entries.count }

  package func isFresh(at now: ContinuousClock.Instant) -> Bool { freshFor(at: now) > .zero }

  /// What is left of the lease.
  package func freshFor(at now: ContinuousClock.Instant) -> Duration { max(.zero, (freshUntil ?? now) - now) }

  package mutating func lookup(_ hash: SecretHash, at now: ContinuousClock.Instant) -> Lookup {
    guard isFresh(at: now) else { return .stale }
    if let value = entries.find(hash) { return .hit(value) }
    if let until = absent[hash], now < until { return .absent }
    return .miss
  }

  /// Offers what was read from the database at `position`; nil where there is no such secret.
  package mutating func fill(
    _ hash: SecretHash, _ value: Value?, readAt position: LogPosition, at now: ContinuousClock.Instant
  ) -> FillOutcome {
    guard let applied, applied.epoch == position.epoch, position.seq >= recentFloor else { return .unjudged }
    guard let value else {
      // Somebody read it later than this and found it.
      guard !entries.contains(hash) else { return .overtaken }
      storeAbsent(hash, until: now + limits.absentLifetime)
      return .stored
    }
    let isOvertaken = recent.reversed().prefix { $0.seq > position.seq }.contains { value.isHit(by: $0.target) }
    if isOvertaken { return .overtaken }
    store(hash, value)
    return .stored
  }

  /// Takes the result of a sync: drops what it names, and is fresh again from the sync's start.
  package mutating func apply(_ sync: SyncResult) {
    let syncFreshUntil = sync.startedAt + limits.lease
    if continues(sync) {
      for invalidation in sync.invalidations where invalidation.seq > applied?.seq ?? 0 { drop(invalidation) }
      freshUntil = max(freshUntil ?? syncFreshUntil, syncFreshUntil)
    } else {
      // The late result of a sync that began on a connection lost since, before the last one: it may know less.
      if let freshUntil, syncFreshUntil < freshUntil { return }
      // The first sync, another history, or rows that are gone from the log already.
      dropAll(at: sync.head.seq)
      freshUntil = syncFreshUntil
    }
    applied = sync.head
  }

  /// Whether nothing is missing between what was applied and the head. Rows may be gone anywhere: those of a transaction
  /// that stayed open for long are old when they are committed.
  private func continues(_ sync: SyncResult) -> Bool {
    guard let applied, applied.epoch == sync.head.epoch, applied.seq <= sync.head.seq else { return false }
    return sync.invalidations.count { $0.seq > applied.seq } == sync.head.seq - applied.seq
  }

  // MARK: Dropping and storing

  private mutating func drop(_ invalidation: Invalidation) {
    recent.append(invalidation)
    if recent.count > limits.recentCountMax { recentFloor = recent.removeFirst().seq }
    switch invalidation.target {
    case .key(let id, _), .serviceToken(let id): entries.remove(id: id)
    case .account(let owner): entries.removeAll(of: owner)
    case .everything: entries.removeAll()
    }
  }

  private mutating func dropAll(at seq: Int) {
    entries.removeAll()
    absent = [:]
    absentOrder = []
    recent = []
    recentFloor = seq
  }

  private mutating func store(_ hash: SecretHash, _ value: Value) {
    absent[hash] = nil
    // Before: what has just come has no mark yet.
    if entries.count >= limits.entryCountMax, !entries.contains(hash) { entries.evict() }
    entries.store(hash, value)
  }

  private mutating func storeAbsent(_ hash: SecretHash, until: ContinuousClock.Instant) {
    if absent.updateValue(until, forKey: hash) == nil { absentOrder.append(hash) }
    while absent.count > limits.absentCountMax, let oldest = absentOrder.popFirst() { absent[oldest] = nil }
    guard absentOrder.count > 2 * limits.absentCountMax else { return }
    absentOrder = Self.tidied(absentOrder) { absent[$0] != nil }
  }

  /// Each once, at its latest place.
  private static func tidied(_ order: Deque<SecretHash>, _ isKept: (SecretHash) -> Bool) -> Deque<SecretHash> {
    var seen: Set<SecretHash> = []
    return Deque(order.reversed().filter { isKept($0) && seen.insert($0).inserted }.reversed())
  }
}
