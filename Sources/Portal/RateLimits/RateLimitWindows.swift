import Foundation

/// The windows of a shard: either those of keys or those of accounts.
struct RateLimitWindows: Sendable {
  /// The number of windows at which expired ones are first swept, and the lowest threshold for later sweeps.
  private static let sweepThresholdMin = 4_096

  /// The least time between two sweeps for want of room.
  private static let sweepMillisecondsMin = 1_000

  private typealias Place = Int32

  /// A window with its ID, in 64 bytes: with a million keys, each verification reads one from memory.
  private struct Entry: Sendable {
    let subject: UUID
    let digest: Int
    var window: SharedWindow
    let isConsistent: Bool

    init(_ id: RateLimitWindowID, milliseconds: Int) {
      subject = id.subject
      digest = id.digest
      window = SharedWindow(milliseconds: milliseconds)
      isConsistent = id.isConsistent
    }

    func has(_ id: RateLimitWindowID) -> Bool {
      digest == id.digest && subject == id.subject && isConsistent == id.isConsistent
    }

    func id(isAccount: Bool) -> RateLimitWindowID {
      RateLimitWindowID(subject: subject, digest: digest, isAccount: isAccount, isConsistent: isConsistent)
    }
  }

  /// The token bucket of a limit that is one. Its window only counts what the instances take.
  private struct Bucket: Sendable {
    var state = TokenBucket()
    let settings: TokenBucket.Settings
  }

  private let isAccount: Bool
  private var entries: ContiguousArray<Entry> = []
  /// Empty in most deployments.
  private var buckets: [Place: Bucket] = [:]
  private var byID = HashIndex()
  /// The windows to publish. Those of at most a minute are apart, because an instance that is alone does not publish
  /// them.
  private var shortQueue: ContiguousArray<Place> = []
  private var longQueue: ContiguousArray<Place> = []
  private var sweepAt = RateLimitWindows.sweepThresholdMin
  /// In milliseconds since 1970.
  private var sweptAt = 0

  init(isAccount: Bool) { self.isAccount = isAccount }

  mutating func sweepIfLarge(at now: Int) {
    if entries.count >= sweepAt { sweep(at: now) }
  }

  /// Whether `count` more windows fit among `countMax`. If not, sweeps, but at most once a second.
  mutating func hasRoom(for count: Int, of countMax: Int, at now: Int) -> Bool {
    if entries.count + count <= countMax { return true }
    guard now - sweptAt >= Self.sweepMillisecondsMin || now < sweptAt else { return false }
    sweep(at: now)
    sweptAt = now
    return entries.count + count <= countMax
  }

  private mutating func sweep(at now: Int) {
    let former = self
    self = RateLimitWindows(isAccount: isAccount)
    let left = former.entries.count { !$0.window.isOver(at: now) }
    entries.reserveCapacity(left + left / 8)
    for (formerPlace, entry) in former.entries.enumerated() where !entry.window.isOver(at: now) {
      let place = insert(entry, Self.indexBits(entry.subject, entry.digest))
      // A bucket is full again by the time its window ends, so those of ended windows can be dropped.
      if !former.buckets.isEmpty { buckets[Place(place)] = former.buckets[Place(formerPlace)] }
      if entry.window.isQueued { enqueue(place) }
    }
    sweepAt = max(Self.sweepThresholdMin, 2 * entries.count)
  }

  /// Decides a request to which only this limit applies. Also returns the index of the window that the cost was taken
  /// from; nil if the fit is unsure.
  mutating func admit(
    _ applied: AppliedLimit, cost: Int, _ allowance: RateLimitAllowance, at now: Int
  ) -> (standing: RateLimitDecision.Standing, index: Int)? {
    let limit = applied.limit
    let place = place(applied)
    let fit = entries[place].window.fit(cost: cost, limit: limit.limit, allowance, at: now)
    if fit == .unsure { return nil }
    let index = take(fit == .fits ? cost : 0, at: place, isQueued: fit == .fits)
    let decision = entries[place].window.window.decision(fit == .fits, cost: cost, limit: limit.limit, at: now)
    return (RateLimitDecision.Standing(limit: limit, window: decision), index)
  }

  func has(_ id: RateLimitWindowID) -> Bool { find(id) != nil }

  mutating func fit(
    _ applied: AppliedLimit, cost: Int, _ allowance: RateLimitAllowance, at now: Int
  ) -> SharedWindow.Fit {
    let place = place(applied)
    guard let settings = applied.limit.bucket else {
      return entries[place].window.fit(cost: cost, limit: applied.limit.limit, allowance, at: now)
    }
    let decision = (buckets[Place(place)]?.state ?? TokenBucket()).peek(cost: cost, settings, at: now)
    return entries[place].window.fit(
      cost: cost, settings, isRefused: !decision.isAdmitted, missing: settings.size - decision.remaining, allowance,
      at: now)
  }

  /// Takes a cost that ``fit(_:cost:_:at:)`` found to fit; returns the index of the window that it was taken from.
  mutating func take(_ applied: AppliedLimit, _ cost: Int, at now: Int) -> Int {
    let place = place(applied)
    if let settings = applied.limit.bucket {
      buckets[Place(place), default: Bucket(settings: settings)].state.take(cost, settings, at: now)
    }
    return take(cost, at: place, isQueued: true)
  }

  private mutating func take(_ cost: Int, at place: Int, isQueued: Bool) -> Int {
    if isQueued { queueOnce(place) }
    return entries[place].window.take(cost)
  }

  mutating func release(_ id: RateLimitWindowID, _ cost: Int, takenAt index: Int) {
    guard let place = find(id) else { return }
    let released = entries[place].window.release(cost, takenAt: index)
    if let bucket = buckets[Place(place)] { buckets[Place(place)]?.state.giveBack(released, bucket.settings) }
  }

  /// For a bucket, `index` is the time, and `current` what was missing then.
  mutating func decided(_ applied: AppliedLimit, index: Int, current: Int, previous: Int) {
    if let settings = applied.limit.bucket {
      let place = place(applied)
      let state = TokenBucket(missing: current, time: index)
      // Ignore a late decision, as a window does.
      let isLate = buckets[Place(place)].map {
        (1...SharedWindow.lateMillisecondsMax).contains($0.state.time - state.time)
      }
      if isLate == true { return }
      buckets[Place(place)] = Bucket(state: state, settings: settings)
      // The window lasts until the bucket is full.
      _ = entries[place].window.fit(
        cost: 0, settings, isRefused: true, missing: 0, RateLimitAllowance(), at: state.time)
      return
    }
    entries[place(applied)].window.decided(index: index, current: current, previous: previous)
  }

  func peek(_ applied: AppliedLimit, cost: Int = 0, at now: Int) -> SlidingWindow.Decision {
    if let settings = applied.limit.bucket { return bucket(applied).peek(cost: cost, settings, at: now) }
    return window(applied).peek(cost: cost, limit: applied.limit.limit, at: now)
  }

  func decision(_ applied: AppliedLimit, _ isAdmitted: Bool, cost: Int, at now: Int) -> SlidingWindow.Decision {
    if let settings = applied.limit.bucket {
      return bucket(applied).decision(isAdmitted, cost: cost, of: settings, at: now)
    }
    return window(applied).decision(isAdmitted, cost: cost, limit: applied.limit.limit, at: now)
  }

  private func bucket(_ applied: AppliedLimit) -> TokenBucket {
    find(applied.window).flatMap { buckets[Place($0)]?.state } ?? TokenBucket()
  }

  // MARK: Exchange

  /// Takes up to `count` queued windows; those of at most a minute only if `withShort`.
  mutating func takeQueued(
    _ count: Int, withShort: Bool
  ) -> [(RateLimitWindowID, SharedWindow.Publication)] {
    var taken = take(count, from: \.longQueue)
    if withShort { taken += take(count - taken.count, from: \.shortQueue) }
    return taken
  }

  private mutating func take(
    _ count: Int, from queue: WritableKeyPath<RateLimitWindows, ContiguousArray<Place>>
  ) -> [(RateLimitWindowID, SharedWindow.Publication)] {
    let places = self[keyPath: queue].prefix(count)
    self[keyPath: queue].removeFirst(places.count)
    return places.map { place in
      entries[Int(place)].window.isQueued = false
      return (entries[Int(place)].id(isAccount: isAccount), entries[Int(place)].window.publication)
    }
  }

  mutating func exchanged(
    _ id: RateLimitWindowID, _ publication: SharedWindow.Publication, others: SharedWindow.Pair?, at now: Int
  ) {
    guard let place = find(id) else { return }
    if let others {
      let (growth, isFirst) = entries[place].window.exchanged(publication, others: others)
      if growth > 0, !buckets.isEmpty { learn(growth, isFirst, at: Place(place), now) }
    } else {
      queueOnce(place)
    }
  }

  /// Takes what the other instances took from a bucket as if that was now, which is never too little.
  private mutating func learn(_ growth: Int, _ isFirst: Bool, at place: Place, _ now: Int) {
    guard let settings = buckets[place]?.settings else { return }
    if isFirst {
      // Also what they took long ago, and what has come back since.
      buckets[place]?.state.takeAtMost(growth, settings, at: now)
    } else {
      buckets[place]?.state.take(growth, settings, at: now)
    }
  }

  private mutating func queueOnce(_ place: Int) {
    guard !entries[place].window.isQueued else { return }
    entries[place].window.isQueued = true
    enqueue(place)
  }

  private mutating func enqueue(_ place: Int) {
    let isShort = entries[place].window.milliseconds <= SharedWindow.shortMillisecondsMax
    if isShort { shortQueue.append(Place(place)) } else { longQueue.append(Place(place)) }
  }

  // MARK: Places

  private func window(_ applied: AppliedLimit) -> SlidingWindow {
    find(applied.window).map { entries[$0].window.window }
      ?? SlidingWindow(milliseconds: applied.limit.windowMilliseconds)
  }

  private func find(_ id: RateLimitWindowID) -> Int? {
    byID.find(Self.indexBits(id.subject, id.digest)) { entries[Int($0)].has(id) }.map { Int($0) }
  }

  /// The place of the window of a limit, which is made if there is none.
  private mutating func place(_ applied: AppliedLimit) -> Int {
    let id = applied.window
    return find(id)
      ?? insert(Entry(id, milliseconds: applied.limit.windowMilliseconds), Self.indexBits(id.subject, id.digest))
  }

  private mutating func insert(_ entry: Entry, _ bits: UInt32) -> Int {
    // Growing by an eighth, because doubling would leave a quarter of the memory unused on average.
    if entries.count == entries.capacity { entries.reserveCapacity(entries.count + max(64, entries.count / 8)) }
    entries.append(entry)
    byID.insert(Place(entries.count - 1), bits)
    return entries.count - 1
  }

  private static func indexBits(_ subject: UUID, _ digest: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: (subject.lowBits ^ UInt64(bitPattern: Int64(digest))) &* 0x9E37_79B9_7F4A_7C15 >> 32)
  }
}
