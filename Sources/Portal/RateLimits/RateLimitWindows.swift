import Foundation

/// The windows of a shard: either those of keys or those of accounts.
struct RateLimitWindows: Sendable {
  /// The number of windows at which expired ones are first swept, and the lowest threshold for later sweeps.
  private static let sweepThresholdMin = 4_096

  private typealias Place = Int32

  /// A window with its ID, in 64 bytes: with a million keys, each verification reads one from memory.
  private struct Entry: Sendable {
    let subject: UUID
    let digest: Int
    var window: SharedWindow
    let isConsistent: Bool

    init(_ id: RateLimitWindowID, seconds: Int) {
      subject = id.subject
      digest = id.digest
      window = SharedWindow(seconds: seconds)
      isConsistent = id.isConsistent
    }

    func has(_ id: RateLimitWindowID) -> Bool {
      digest == id.digest && subject == id.subject && isConsistent == id.isConsistent
    }

    func id(isAccount: Bool) -> RateLimitWindowID {
      RateLimitWindowID(subject: subject, digest: digest, isAccount: isAccount, isConsistent: isConsistent)
    }
  }

  private let isAccount: Bool
  private var entries: ContiguousArray<Entry> = []
  private var byID = HashIndex()
  /// The windows to publish. Those of at most a minute are apart, because an instance that is alone does not publish
  /// them.
  private var shortQueue: ContiguousArray<Place> = []
  private var longQueue: ContiguousArray<Place> = []
  private var sweepAt = RateLimitWindows.sweepThresholdMin

  init(isAccount: Bool) { self.isAccount = isAccount }

  mutating func sweepIfLarge(at now: Int) {
    guard entries.count >= sweepAt else { return }
    let former = self
    self = RateLimitWindows(isAccount: isAccount)
    let left = former.entries.count { !$0.window.isOver(at: now) }
    entries.reserveCapacity(left + left / 8)
    for entry in former.entries where !entry.window.isOver(at: now) {
      let place = insert(entry, Self.indexBits(entry.subject, entry.digest))
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

  mutating func fit(
    _ applied: AppliedLimit, cost: Int, _ allowance: RateLimitAllowance, at now: Int
  ) -> SharedWindow.Fit {
    entries[place(applied)].window.fit(cost: cost, limit: applied.limit.limit, allowance, at: now)
  }

  /// Takes a cost that ``fit(_:cost:_:at:)`` found to fit; returns the index of the window that it was taken from.
  mutating func take(_ applied: AppliedLimit, _ cost: Int) -> Int { take(cost, at: place(applied), isQueued: true) }

  private mutating func take(_ cost: Int, at place: Int, isQueued: Bool) -> Int {
    if isQueued { queueOnce(place) }
    return entries[place].window.take(cost)
  }

  mutating func release(_ id: RateLimitWindowID, _ cost: Int, takenAt index: Int) {
    if let place = find(id) { entries[place].window.release(cost, takenAt: index) }
  }

  mutating func decided(_ applied: AppliedLimit, index: Int, current: Int, previous: Int) {
    entries[place(applied)].window.decided(index: index, current: current, previous: previous)
  }

  func peek(_ applied: AppliedLimit, cost: Int = 0, at now: Int) -> SlidingWindow.Decision {
    window(applied).peek(cost: cost, limit: applied.limit.limit, at: now)
  }

  func decision(_ applied: AppliedLimit, _ isAdmitted: Bool, cost: Int, at now: Int) -> SlidingWindow.Decision {
    window(applied).decision(isAdmitted, cost: cost, limit: applied.limit.limit, at: now)
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
    _ id: RateLimitWindowID, _ publication: SharedWindow.Publication, others: SharedWindow.Pair?
  ) {
    guard let place = find(id) else { return }
    if let others {
      entries[place].window.exchanged(publication, others: others)
    } else {
      queueOnce(place)
    }
  }

  private mutating func queueOnce(_ place: Int) {
    guard !entries[place].window.isQueued else { return }
    entries[place].window.isQueued = true
    enqueue(place)
  }

  private mutating func enqueue(_ place: Int) {
    let isShort = entries[place].window.publication.seconds <= SharedWindow.shortSecondsMax
    if isShort { shortQueue.append(Place(place)) } else { longQueue.append(Place(place)) }
  }

  // MARK: Places

  private func window(_ applied: AppliedLimit) -> SlidingWindow {
    find(applied.window).map { entries[$0].window.window } ?? SlidingWindow(seconds: applied.limit.windowSeconds)
  }

  private func find(_ id: RateLimitWindowID) -> Int? {
    byID.find(Self.indexBits(id.subject, id.digest)) { entries[Int($0)].has(id) }.map { Int($0) }
  }

  /// The place of the window of a limit, which is made if there is none.
  private mutating func place(_ applied: AppliedLimit) -> Int {
    let id = applied.window
    return find(id)
      ?? insert(Entry(id, seconds: applied.limit.windowSeconds), Self.indexBits(id.subject, id.digest))
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
