import Foundation
import Synchronization

/// A limit of a request, and whose it is.
struct AppliedLimit: Sendable, Equatable {
  /// The key or the account.
  var subject: UUID
  var limit: RateLimit
  var mode: RateLimitMode

  var window: RateLimitWindowID { RateLimitWindowID(subject: subject, digest: limit.digest) }
}

/// What a window is found by.
struct RateLimitWindowID: Hashable, Sendable {
  var subject: UUID
  var digest: Int

  /// In one word, since this is done for every verification: the last bytes of a UUID are random.
  func hash(into hasher: inout Hasher) { hasher.combine(subject.lowBits ^ UInt64(bitPattern: Int64(digest))) }
}

/// The windows of this instance in memory: it decides in the mode `fast`, and remembers what PostgreSQL decided in the
/// mode `consistent`. Those of keys and those of accounts are apart, and locked in this order.
package final class RateLimiter: Sendable {
  private static let shardCount = 16

  /// What was taken, so that it can be given back.
  struct Taken {
    var parts: [(window: RateLimitWindowID, isAccount: Bool, index: Int, cost: Int)] = []
  }

  private final class Shard: Sendable {
    let windows = Mutex(RateLimitWindows())
  }

  private let keys = (0..<RateLimiter.shardCount).map { _ in Shard() }
  private let accounts = (0..<RateLimiter.shardCount).map { _ in Shard() }
  private let allowanceBits = Atomic<Int>(RateLimitAllowance().bits)

  package init() {}

  /// What an instance may admit before the next exchange.
  var allowance: RateLimitAllowance {
    get { RateLimitAllowance(bits: allowanceBits.load(ordering: .relaxed)) }
    set { allowanceBits.store(newValue.bits, ordering: .relaxed) }
  }

  /// Takes `cost` from every limit of the key if it fits into all of them; nothing otherwise. Nil if this cannot be said
  /// without PostgreSQL: then ``RateLimits`` can. `now` is in milliseconds since 1970.
  package func admit(_ key: VerifiableKey, cost: Int, at now: Int) -> RateLimitDecision? {
    guard !key.needsConsistentLimits else { return nil }
    if key.hasOneLimit { return admitToOne(key, cost: cost, at: now)?.decision }
    var taken = Taken()
    return admitFast(key, cost: cost, at: now, &taken)
  }

  /// How the key's limits stand as far as this instance knows, without taking anything.
  package func peek(_ key: VerifiableKey, at now: Int) -> RateLimitDecision {
    withWindows(of: key) { keyWindows, accountWindows in
      let standings = key.limits.map { applied in
        RateLimitDecision.Standing(
          limit: applied.limit,
          window: (applied.subject == key.id ? keyWindows : accountWindows).peek(applied, at: now))
      }
      return RateLimitDecision(own: standings[0], others: Array(standings[1...]))
    }
  }

  /// As ``admit(_:cost:at:)``, for the limits of the mode `fast` alone.
  func admitFast(_ key: VerifiableKey, cost: Int, at now: Int, _ taken: inout Taken) -> RateLimitDecision? {
    guard key.hasOneLimit, key.rateLimitMode == .fast else {
      return admitToAll(key, cost: cost, at: now, &taken)
    }
    guard let (decision, window, index) = admitToOne(key, cost: cost, at: now) else { return nil }
    if decision.isAdmitted { taken.parts.append((window, false, index, cost)) }
    return decision
  }

  /// For a key with its limit per minute and no other, as most have.
  private func admitToOne(
    _ key: VerifiableKey, cost: Int, at now: Int
  ) -> (decision: RateLimitDecision, window: RateLimitWindowID, index: Int)? {
    let allowance = allowance
    let limit = AppliedLimit(subject: key.id, limit: .ofKey(perMinute: key.rateLimitPerMinute), mode: .fast)
    return keyShard(key).windows.withLock { windows in
      windows.sweepIfLarge(at: now)
      return windows.admit(limit, cost: cost, allowance, at: now).map { standing, index in
        (RateLimitDecision(own: standing), limit.window, index)
      }
    }
  }

  private func admitToAll(
    _ key: VerifiableKey, cost: Int, at now: Int, _ taken: inout Taken
  ) -> RateLimitDecision? {
    let (limits, allowance) = (key.limits, allowance)
    return withWindows(of: key) { keyWindows, accountWindows in
      keyWindows.sweepIfLarge(at: now)
      accountWindows.sweepIfLarge(at: now)
      var fits: [SharedWindow.Fit] = []
      for applied in limits {
        guard applied.mode == .fast else {
          fits.append(.fits)
          continue
        }
        fits.append(
          applied.subject == key.id
            ? keyWindows.fit(applied, cost: cost, allowance, at: now)
            : accountWindows.fit(applied, cost: cost, allowance, at: now))
      }
      let isRefused = fits.contains(.refused)
      if !isRefused, fits.contains(.unsure) { return nil }
      let standings = zip(limits, fits).map { applied, fit in
        let isAccount = applied.subject != key.id
        if !isRefused, applied.mode == .fast {
          let index = isAccount ? accountWindows.take(applied, cost) : keyWindows.take(applied, cost)
          taken.parts.append((applied.window, isAccount, index, cost))
        }
        let windows = isAccount ? accountWindows : keyWindows
        return RateLimitDecision.Standing(
          limit: applied.limit, window: windows.decision(applied, fit != .refused, cost: cost, at: now))
      }
      return RateLimitDecision(own: standings[0], others: Array(standings[1...]))
    }
  }

  func giveBack(_ taken: Taken) {
    for part in taken.parts {
      (part.isAccount ? accountShard(part.window.subject) : keyShard(part.window.subject)).windows.withLock {
        $0.giveBack(part.window, part.cost, takenAt: part.index)
      }
    }
  }

  /// Takes over what PostgreSQL decided, for whoever only looks.
  func decided(_ applied: AppliedLimit, isAccount: Bool, index: Int, current: Int, previous: Int) {
    (isAccount ? accountShard(applied.subject) : keyShard(applied.subject)).windows.withLock {
      $0.decided(applied, index: index, current: current, previous: previous)
    }
  }

  // MARK: Exchange

  /// Takes up to `count` windows in which something was admitted since they were published last.
  func takeQueued(_ count: Int) -> [(window: RateLimitWindowID, publication: SharedWindow.Publication)] {
    var taken: [(RateLimitWindowID, SharedWindow.Publication)] = []
    for shard in keys + accounts where taken.count < count {
      taken += shard.windows.withLock { $0.takeQueued(count - taken.count) }
    }
    return taken
  }

  /// The others' counts for what was published; nil if that failed, and it waits again.
  func exchanged(_ window: RateLimitWindowID, _ publication: SharedWindow.Publication, others: SharedWindow.Pair?) {
    for shard in [keyShard(window.subject), accountShard(window.subject)] {
      let isFound = shard.windows.withLock { $0.exchanged(window, publication, others: others) }
      if isFound { return }
    }
  }

  // MARK: Shards

  private func withWindows<Result>(
    of key: VerifiableKey, _ body: (inout RateLimitWindows, inout RateLimitWindows) -> Result
  ) -> Result {
    keyShard(key).windows.withLock { keyWindows in
      accountShard(key.accountID).windows.withLock { body(&keyWindows, &$0) }
    }
  }

  private func keyShard(_ key: VerifiableKey) -> Shard { keyShard(key.id) }
  private func keyShard(_ id: UUID) -> Shard { keys[Int(id.uuid.15) % Self.shardCount] }
  private func accountShard(_ id: UUID) -> Shard { accounts[Int(id.uuid.15) % Self.shardCount] }
}

extension RateLimitAllowance {
  /// In one word, so that it is read without a lock.
  fileprivate var bits: Int { instanceCount << 1 | (isConnected ? 1 : 0) }
  fileprivate init(bits: Int) { self.init(instanceCount: bits >> 1, isConnected: bits & 1 == 1) }
}

/// The windows of a shard.
struct RateLimitWindows: Sendable {
  /// Windows kept before those that are over are swept out, and the least that is kept between sweeps.
  private static let sweepThresholdMin = 4_096

  private var byID: [RateLimitWindowID: SharedWindow] = [:]
  private var queue: [RateLimitWindowID] = []
  private var sweepAt = RateLimitWindows.sweepThresholdMin

  mutating func sweepIfLarge(at now: Int) {
    guard byID.count >= sweepAt else { return }
    byID = byID.filter { !$0.value.isOver(at: now) }
    queue.removeAll { byID[$0] == nil }
    sweepAt = max(Self.sweepThresholdMin, 2 * byID.count)
  }

  /// For a request with this limit alone, with the index of the window it was taken in; nil if it is unsure.
  mutating func admit(
    _ applied: AppliedLimit, cost: Int, _ allowance: RateLimitAllowance, at now: Int
  ) -> (standing: RateLimitDecision.Standing, index: Int)? {
    let limit = applied.limit
    let id = applied.window
    var isNew = false
    let decided = withWindow(id, limit) { window -> (SlidingWindow.Decision, Int)? in
      let fit = window.fit(cost: cost, limit: limit.limit, allowance, at: now)
      if fit == .unsure { return nil }
      let index = window.take(fit == .fits ? cost : 0)
      isNew = fit == .fits && window.queueOnce()
      return (window.window.decision(fit == .fits, cost: cost, limit: limit.limit, at: now), index)
    }
    if isNew { queue.append(id) }
    return decided.map { (RateLimitDecision.Standing(limit: limit, window: $0), $1) }
  }

  mutating func fit(
    _ applied: AppliedLimit, cost: Int, _ allowance: RateLimitAllowance, at now: Int
  ) -> SharedWindow.Fit {
    withWindow(applied.window, applied.limit) {
      $0.fit(cost: cost, limit: applied.limit.limit, allowance, at: now)
    }
  }

  /// Takes what ``fit(_:cost:_:at:)`` has said to fit; the index of the window it was taken in.
  mutating func take(_ applied: AppliedLimit, _ cost: Int) -> Int {
    let id = applied.window
    let (index, isNew) = withWindow(id, applied.limit) { ($0.take(cost), $0.queueOnce()) }
    if isNew { queue.append(id) }
    return index
  }

  mutating func giveBack(_ id: RateLimitWindowID, _ cost: Int, takenAt index: Int) {
    byID[id]?.giveBack(cost, takenAt: index)
  }

  mutating func decided(_ applied: AppliedLimit, index: Int, current: Int, previous: Int) {
    withWindow(applied.window, applied.limit) { $0.decided(index: index, current: current, previous: previous) }
  }

  func peek(_ applied: AppliedLimit, at now: Int) -> SlidingWindow.Decision {
    window(applied).peek(cost: 0, limit: applied.limit.limit, at: now)
  }

  func decision(_ applied: AppliedLimit, _ isAdmitted: Bool, cost: Int, at now: Int) -> SlidingWindow.Decision {
    window(applied).decision(isAdmitted, cost: cost, limit: applied.limit.limit, at: now)
  }

  mutating func takeQueued(_ count: Int) -> [(RateLimitWindowID, SharedWindow.Publication)] {
    let taken = queue.suffix(count)
    queue.removeLast(taken.count)
    return taken.compactMap { id in
      byID[id]?.isQueued = false
      return byID[id].map { (id, $0.publication) }
    }
  }

  /// False if there is no such window here.
  mutating func exchanged(
    _ id: RateLimitWindowID, _ publication: SharedWindow.Publication, others: SharedWindow.Pair?
  ) -> Bool {
    guard byID[id] != nil else { return false }
    if let others {
      byID[id]?.exchanged(publication, others: others)
    } else if byID[id]?.queueOnce() == true {
      queue.append(id)
    }
    return true
  }

  private func window(_ applied: AppliedLimit) -> SlidingWindow {
    byID[applied.window]?.window ?? SlidingWindow(seconds: applied.limit.windowSeconds)
  }

  private mutating func withWindow<Result>(
    _ id: RateLimitWindowID, _ limit: RateLimit, _ body: (inout SharedWindow) -> Result
  ) -> Result {
    body(&byID[id, default: SharedWindow(seconds: limit.windowSeconds)])
  }
}

extension SharedWindow {
  /// True the first time: then its id goes into the queue.
  fileprivate mutating func queueOnce() -> Bool {
    defer { isQueued = true }
    return !isQueued
  }
}
