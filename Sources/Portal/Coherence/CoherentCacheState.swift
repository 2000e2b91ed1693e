import DequeModule
import Foundation

/// How long after the start of a sync its result is valid, unless configured otherwise.
let leaseDefault: Duration = .seconds(2)

/// A cache that never answers with what was revoked longer than the lease ago, as a value: no I/O and no clock in here.
///
/// - It follows `invalidation_log`. Each successful sync makes it fresh until the *start* of that sync plus the lease;
///   after that moment nothing is a hit, however it was stored.
/// - A sync continues the applied history only if its rows prove it: they reach from the applied position to the head
///   without a gap, and the first of them follows the applied position's mark. Anything else drops all entries.
/// - A fill carries the log position at which it was read. It is stored only if that position is proven to be on the
///   applied history, and no invalidation of it has been applied since. A fill that was read ahead of the applied
///   position waits, invisible, for the sync that passes it. What was stored or waits for its secret is dropped, and
///   older fills of it are refused, so that answers never go back.
///
/// The protocol was verified with a model checker; `docs/ARCHITECTURE.md` ("Histories") explains each rule.
///
/// `Value` describes a secret that exists. Unknown secrets are remembered separately, few and briefly, so that a flood
/// of invented keys evicts no real one.
package struct CoherentCacheState<Value: Invalidatable>: Sendable {
  package struct Limits: Sendable {
    /// How long after the start of a sync its result may be used.
    package var lease = leaseDefault
    package var entryCountMax = 200_000
    package var absentCountMax = 10_000
    /// How long an unknown secret is remembered as unknown.
    package var absentLifetime: Duration = .seconds(2)
    /// The number of recent invalidations kept, against which late fills are judged.
    package var recentCountMax = 4_096
    /// The maximum number of fills read ahead of the applied position that wait for the next syncs, for the lease at
    /// most.
    package var waitingCountMax = 8_192

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
    /// Read ahead of the applied position: judged when a sync passes it. The caller may use it.
    case waiting
    /// An invalidation of it was applied after it was read, or too many were applied to tell. It must be read again.
    case overtaken
    /// Read from another history than the applied one, or under another epoch: to be read again over another
    /// connection.
    case anotherHistory
    /// Nothing has been applied yet.
    case unjudged
  }

  /// A fill that was read ahead of the applied position.
  private struct WaitingFill {
    let hash: SecretHash
    let value: Value?
    let position: LogPosition
    let receivedAt: ContinuousClock.Instant
  }

  private let limits: Limits
  private var entries = CacheEntries<Value>()
  private var absent: [SecretHash: ContinuousClock.Instant] = [:]
  private var absentOrder: Deque<SecretHash> = []
  private var recent: Deque<Invalidation> = []
  /// `recent` has the invalidations from the one after this seq up to the applied one, without a gap.
  private var recentFloor = 0
  /// At most one fill per secret, oldest first.
  private var waiting: Deque<WaitingFill> = []
  /// The highest seq of a fill that no longer waits because there was no room, or it took too long. Its caller had its
  /// value, so nothing read before it may be an answer.
  private var forgottenSeq = 0
  private var lastSyncStartedAt: ContinuousClock.Instant?
  private var freshUntil: ContinuousClock.Instant?
  package private(set) var applied: LogPosition?

  package init(limits: Limits) { self.limits = limits }

  package var count: Int { entries.count }

  package func isFresh(at now: ContinuousClock.Instant) -> Bool { freshFor(at: now) > .zero }

  /// The remaining time of the lease.
  package func freshFor(at now: ContinuousClock.Instant) -> Duration { max(.zero, (freshUntil ?? now) - now) }

  package mutating func lookup(_ hash: SecretHash, at now: ContinuousClock.Instant) -> Lookup {
    guard isFresh(at: now) else { return .stale }
    if let value = entries.find(hash) { return .hit(value) }
    if let until = absent[hash], now < until { return .absent }
    return .miss
  }

  /// Offers a value that was read from the database at `position`; nil if there is no such secret.
  package mutating func fill(
    _ hash: SecretHash, _ value: Value?, readAt position: LogPosition, at now: ContinuousClock.Instant
  ) -> FillOutcome {
    let fill = WaitingFill(hash: hash, value: value, position: position, receivedAt: now)
    let place = waiting.firstIndex { $0.hash == hash }
    // A caller has, or may have, already received what was read later.
    if let place, waiting[place].position.seq > position.seq { return .overtaken }
    if position.seq < forgottenSeq {
      if case .unproven(.anotherHistory) = standing(of: position) { return .anotherHistory }
      return .overtaken
    }
    let outcome = settle(fill)
    if outcome == .waiting {
      // This caller gets the newer value: no other may get the older one after that.
      entries.remove(hash)
      absent[hash] = nil
      if let place { waiting.remove(at: place) }
      while let oldest = waiting.first, waiting.count >= limits.waitingCountMax || isTooOld(oldest, at: now) {
        forgottenSeq = max(forgottenSeq, oldest.position.seq)
        waiting.removeFirst()
      }
      waiting.append(fill)
    }
    return outcome
  }

  /// Takes the result of a sync: drops what it names, or everything if it does not continue the applied history; judges
  /// the fills that waited for it; and is fresh again from the sync's start.
  package mutating func apply(_ sync: SyncResult) -> SyncOutcome {
    // A sync that began earlier may have read a server that is no longer the primary. That its rows continue what was
    // applied proves nothing: what was applied since may be of another history.
    if let lastSyncStartedAt, sync.startedAt < lastSyncStartedAt { return SyncOutcome(isTaken: false) }
    var outcome = SyncOutcome()
    if let news = continuation(sync) {
      for invalidation in news { drop(invalidation) }
    } else {
      outcome.isHistoryBroken = applied != nil
      dropAll(at: sync.head.seq)
    }
    applied = sync.head
    judgeWaiting(sync.startedAt, &outcome)
    lastSyncStartedAt = sync.startedAt
    freshUntil = sync.startedAt + limits.lease
    return outcome
  }

  // MARK: Proofs

  /// The invalidations between the applied position and the head; nil unless it is proven that they are complete. Rows
  /// may be missing anywhere in the log: those of a transaction that stayed open for long are already old when they are
  /// committed.
  private func continuation(_ sync: SyncResult) -> ArraySlice<Invalidation>? {
    guard let applied, applied.epoch == sync.head.epoch, applied.seq <= sync.head.seq else { return nil }
    // The seqs of rows are not negative, so no difference overflows.
    let news = sync.invalidations.drop { $0.seq <= applied.seq }
    guard news.count == sync.head.seq - applied.seq else { return nil }
    guard let first = news.first else { return applied.mark == sync.head.mark ? news : nil }
    let isGapless = zip(news, news.dropFirst()).allSatisfy { $1.seq - $0.seq == 1 }
    return first.seq - applied.seq == 1 && isGapless && first.follows == applied.mark ? news : nil
  }

  /// The relation of a position to the applied history.
  private enum Standing {
    /// The position is on it, and these were applied since.
    case proven(since: Deque<Invalidation>.SubSequence)
    case unproven(FillOutcome)
  }

  private func standing(of position: LogPosition) -> Standing {
    guard let applied else { return .unproven(.unjudged) }
    guard position.epoch == applied.epoch else { return .unproven(.anotherHistory) }
    if position.seq > applied.seq { return .unproven(.waiting) }
    guard position.seq >= recentFloor else { return .unproven(.overtaken) }
    let since = recent.suffix(applied.seq - position.seq)
    let mark = since.isEmpty ? applied.mark : since.first?.follows
    return position.mark == mark ? .proven(since: since) : .unproven(.anotherHistory)
  }

  private mutating func settle(_ fill: WaitingFill) -> FillOutcome {
    switch standing(of: fill.position) {
    case .unproven(let outcome): return outcome
    case .proven(let since):
      guard let value = fill.value else {
        // A later read found it.
        guard !entries.contains(fill.hash) else { return .overtaken }
        storeAbsent(fill.hash, until: fill.receivedAt + limits.absentLifetime)
        return .stored
      }
      if since.contains(where: { value.isHit(by: $0.target) }) { return .overtaken }
      store(fill.hash, value)
      return .stored
    }
  }

  private mutating func judgeWaiting(_ syncStartedAt: ContinuousClock.Instant, _ outcome: inout SyncOutcome) {
    guard !waiting.isEmpty else { return }
    let fills = waiting
    waiting = []
    for fill in fills where !isTooOld(fill, at: syncStartedAt) {
      switch settle(fill) {
      case .stored: outcome.fillsStored += 1
      case .waiting where fill.receivedAt > syncStartedAt: waiting.append(fill)
      case .waiting, .anotherHistory:
        // It was read before this sync, from a log that was further ahead: from another server, or before the server
        // was reset to an earlier state.
        outcome.isHistoryBroken = true
        outcome.fillsDiscarded += 1
      case .overtaken, .unjudged: outcome.fillsDiscarded += 1
      }
    }
  }

  private func isTooOld(_ fill: WaitingFill, at now: ContinuousClock.Instant) -> Bool {
    fill.receivedAt + limits.lease <= now
  }

  // MARK: Dropping and storing

  private mutating func drop(_ invalidation: Invalidation) {
    recent.append(invalidation)
    if recent.count > limits.recentCountMax { recentFloor = recent.removeFirst().seq }
    switch invalidation.target {
    case .key(let id), .serviceToken(let id), .limitNamespace(let id): entries.remove(id: id)
    case .account(let owner): entries.removeAll(of: owner)
    case .catalog: entries.removeAllDependingOnCatalog()
    case .credits: break
    case .everything: entries.removeAll()
    }
  }

  private mutating func dropAll(at seq: Int) {
    entries.removeAll()
    absent = [:]
    absentOrder = []
    recent = []
    recentFloor = seq
    // Seqs of another history cannot be compared.
    forgottenSeq = 0
  }

  private mutating func store(_ hash: SecretHash, _ value: Value) {
    absent[hash] = nil
    // Evicts first, because a new entry has no mark yet.
    if entries.count >= limits.entryCountMax, !entries.contains(hash) { entries.evict() }
    entries.store(hash, value)
  }

  private mutating func storeAbsent(_ hash: SecretHash, until: ContinuousClock.Instant) {
    if absent.updateValue(until, forKey: hash) == nil { absentOrder.append(hash) }
    while absent.count > limits.absentCountMax, let oldest = absentOrder.popFirst() { absent[oldest] = nil }
    guard absentOrder.count > 2 * limits.absentCountMax else { return }
    absentOrder = Self.tidied(absentOrder) { absent[$0] != nil }
  }

  /// Each hash once, at its latest place.
  private static func tidied(_ order: Deque<SecretHash>, _ isKept: (SecretHash) -> Bool) -> Deque<SecretHash> {
    var seen: Set<SecretHash> = []
    return Deque(order.reversed().filter { isKept($0) && seen.insert($0).inserted }.reversed())
  }
}
