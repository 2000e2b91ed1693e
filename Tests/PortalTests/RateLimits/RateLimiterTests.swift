import Foundation
import Testing

@testable import Portal

@Suite("RateLimiter")
struct RateLimiterTests {
  /// The start of a minute.
  private let start = Date(timeIntervalSince1970: 1_800_000_000)
  private let limiter = RateLimiter()

  private func admits(_ key: UUID, limit: Int = 10, after seconds: Double = 0, cost: Int = 1) -> Bool {
    limiter.admit(.limited(key, limit), cost: cost, at: milliseconds(seconds))?.isAdmitted ?? false
  }

  private func remaining(_ key: UUID, limit: Int = 10, after seconds: Double = 0) -> Int? {
    limiter.peek(.limited(key, limit), at: milliseconds(seconds)).binding?.remaining
  }

  private func milliseconds(_ seconds: Double) -> Int { start.addingTimeInterval(seconds).milliseconds }

  @Test("each key has its own limit per minute, even in the same shard")
  func independent() {
    let keys = (0..<64).map { _ in UUID.version7() }
    for key in keys {
      for _ in 0..<10 { #expect(admits(key)) }
      #expect(!admits(key))
    }
    #expect(keys.allSatisfy { remaining($0) == 0 && remaining($0, after: 120) == 10 })
    #expect(admits(.version7()))
  }

  @Test("a thousand concurrent requests are admitted exactly up to the limit")
  func concurrent() async {
    let keys = (0..<4).map { _ in UUID.version7() }
    let outcomes = await concurrently(1_000) { index in
      self.admits(keys[index % 4], limit: 37) ? index % 4 : nil
    }
    for number in 0..<4 { #expect(outcomes.values.count { $0 == number } == 37) }
  }

  @Test("peeking takes nothing and stores no key")
  func peek() {
    let key = UUID.version7()
    for _ in 0..<100 { #expect(remaining(key) == 10) }
    #expect(admits(key, cost: 10))
    #expect(!limiter.peek(.limited(key, 9), at: milliseconds(0)).isAdmitted)
    #expect(limiter.peek(.limited(key, 10), at: milliseconds(0)).isAdmitted)
  }

  @Test("a raised or lowered limit applies from the next request on")
  func changedLimit() {
    let key = UUID.version7()
    #expect(admits(key, limit: 10, cost: 10))
    #expect(!admits(key, limit: 10))
    #expect(admits(key, limit: 12, cost: 2))
    #expect(!admits(key, limit: 5))
    #expect(remaining(key, limit: 5) == 0 && remaining(key, limit: 20) == 8)
  }

  @Test("keys of a lineage share their windows, and a changed limit applies to its key")
  func lineage() {
    for windowSeconds in [60, 3_600] {
      func makeKey(_ id: UUID, of lineage: UUID, limit: Int) -> KeyLimits {
        var key = KeyLimits.limited(id, windowSeconds == 60 ? limit : 1_000)
        key.lineageID = lineage
        if windowSeconds != 60 {
          key.named = [RateLimit(name: "hourly", limit: limit, windowSeconds: windowSeconds)]
        }
        return key
      }
      func admittedCount(_ keys: [KeyLimits]) -> Int {
        (0..<40).count { limiter.admit(keys[$0 % keys.count], cost: 1, at: milliseconds(0))?.isAdmitted == true }
      }
      let root = UUID.version7()
      let keys = (0..<5).map { number in makeKey(number == 0 ? root : .version7(), of: root, limit: 10) }
      #expect(admittedCount(keys) == 10)
      #expect(keys.allSatisfy { limiter.peek($0, at: milliseconds(0)).binding?.remaining == 0 })
      #expect(admittedCount([makeKey(.version7(), of: root, limit: 12)]) == 2)
      #expect(admittedCount(keys) == 0)
      #expect(admittedCount([makeKey(.version7(), of: .version7(), limit: 10)]) == 10)
    }
  }

  @Test("decisions for a key of the mode consistent give no room to its predecessor of the mode fast")
  func lineageOfBothModes() {
    let fast = KeyLimits.limited(.version7(), 10)
    var consistent = KeyLimits.limited(.version7(), 10)
    consistent.lineageID = fast.lineageID
    consistent.mode = .consistent
    var count = 0
    for number in 0..<50 {
      if limiter.admit(fast, cost: 1, at: milliseconds(0))?.isAdmitted == true { count += 1 }
      limiter.decided(
        consistent.charges(cost: 1).all[0].applied, index: milliseconds(0) / 60_000, current: number % 10, previous: 0)
    }
    #expect(count == 10)
    #expect(limiter.peek(consistent, at: milliseconds(0)).binding?.remaining == 1)
    #expect(limiter.peek(fast, at: milliseconds(0)).binding?.remaining == 0)
  }

  /// A swept window is visible when the clock is set back: without the sweep, the key would still be at its limit.
  @Test("memory is bounded: at most twice the keys in use plus a fixed number are stored")
  func boundedMemory() {
    let rounds = (0..<20).map { _ in (0..<10_000).map { _ in UUID.version7() } }
    for (number, keys) in rounds.enumerated() {
      for key in keys { _ = admits(key, limit: 1, after: Double(number) * 120) }
    }
    let rememberedCount = rounds.enumerated().reduce(0) { count, round in
      count + round.element.count { remaining($0, limit: 1, after: Double(round.offset) * 120) == 0 }
    }
    #expect(rememberedCount <= 16 * 4_096 + 10_000)
    #expect(rememberedCount >= 10_000)
  }

  @Test("a request that any limit refuses takes nothing, and the limit that refuses longest is reported")
  func severalLimits() {
    let account = UUID.version7()
    func key(_ limits: RateLimit...) -> KeyLimits {
      var key = KeyLimits.limited(.version7(), 50)
      key.accountID = account
      key.named = limits
      key.accountPerMinute = 30
      return key
    }
    let one = key(RateLimit(name: "burst", limit: 5, windowSeconds: 1))
    let other = key(RateLimit(name: "hourly", limit: 1_000, windowSeconds: 3_600))
    func left(_ key: KeyLimits) -> [Int] {
      limiter.peek(key, at: milliseconds(0)).all.map(\.window.remaining)
    }
    for _ in 0..<5 { #expect(limiter.admit(one, cost: 1, at: milliseconds(0))?.isAdmitted == true) }
    for _ in 0..<20 {
      let refused = limiter.admit(one, cost: 1, at: milliseconds(0))
      #expect(refused?.isAdmitted == false)
      #expect(refused?.all.map(\.window.isAdmitted) == [true, false, true])
      #expect(refused?.binding?.limit == 5 && (1...2).contains(refused?.binding?.retryAfterSeconds ?? 0))
    }
    #expect(left(one) == [45, 0, 25] && left(other) == [50, 1_000, 25])
    #expect(limiter.admit(other, cost: 25, at: milliseconds(0))?.binding?.remaining == 0)
    let refused = limiter.admit(other, cost: 1, at: milliseconds(0))
    #expect(refused?.all.map(\.window.isAdmitted) == [true, true, false] && refused?.binding?.limit == 30)
    #expect(left(other) == [25, 975, 0] && left(one) == [45, 0, 0])
  }

  @Test("a limit that is below the cost of a request is reported even if another limit is used up")
  func tooExpensive() {
    var key = KeyLimits.limited(.version7(), 10)
    key.named = [RateLimit(name: "hourly", limit: 5, windowSeconds: 3_600)]
    for cost in [6, 10, 11] {
      let refused = limiter.admit(key, cost: cost, at: milliseconds(0))
      #expect(refused?.isAdmitted == false && refused?.binding?.retryAfterSeconds == nil)
      #expect(refused?.binding?.limit == (cost > 10 ? 10 : 5))
    }
    #expect(limiter.admit(key, cost: 5, at: milliseconds(0))?.binding?.retryAfterSeconds == 0)
    let waiting = limiter.admit(key, cost: 1, at: milliseconds(0))?.binding
    #expect(waiting?.isAdmitted == false && (waiting?.retryAfterSeconds ?? 0) > 0)
    #expect(limiter.admit(key, cost: 6, at: milliseconds(0))?.binding?.retryAfterSeconds == nil)
  }

  @Test("a thousand concurrent requests on several limits take from each exactly what was admitted")
  func severalLimitsAtOnce() async {
    let account = UUID.version7()
    let keys = (0..<4).map { index in
      var key = KeyLimits.limited(.version7(), 200)
      key.accountID = account
      key.named = [RateLimit(name: "burst", limit: 90, windowSeconds: 10)]
      key.accountPerMinute = 250
      return key
    }
    let outcomes = await concurrently(1_000) { index in
      self.limiter.admit(keys[index % 4], cost: 1, at: self.milliseconds(0))?.isAdmitted == true ? index % 4 : nil
    }
    let admitted = outcomes.values.compactMap(\.self)
    #expect(admitted.count == 250)
    for (index, key) in keys.enumerated() {
      let count = admitted.count { $0 == index }
      #expect(limiter.peek(key, at: milliseconds(0)).all.map(\.window.remaining) == [200 - count, 90 - count, 0])
    }
  }

  @Test("limits that PostgreSQL has to decide are not decided in memory")
  func consistentIsNotHere() {
    var key = KeyLimits.limited(.version7(), 10)
    key.mode = .consistent
    #expect(limiter.admit(key, cost: 1, at: milliseconds(0)) == nil)
    key.mode = .fast
    key.accountPerMinute = 5
    key.accountMode = .consistent
    #expect(limiter.admit(key, cost: 1, at: milliseconds(0)) == nil)
    #expect(remaining(key.lineageID) == 10)
  }

  @Test("sweeping removes no window that still counts")
  func sweepKeepsLive() {
    let keys = (0..<100_000).map { _ in UUID.version7() }
    for key in keys { #expect(admits(key, limit: 1)) }
    #expect(keys.allSatisfy { !admits($0, limit: 1, after: 59) })
  }
}

extension RateLimiterTests {
  // MARK: Without a limit

  @Test(
    "a key without any limit is admitted whatever it costs, has no windows, and needs no PostgreSQL",
    arguments: [RateLimitMode.fast, .consistent])
  func unlimited(_ mode: RateLimitMode) {
    let key = KeyLimits(lineageID: UUID(), accountID: UUID(), perMinute: nil, mode: mode, accountMode: mode)
    for _ in 1...100 { #expect(limiter.admit(key, cost: 1_000, at: milliseconds(0)) == .unlimited) }
    #expect(limiter.peek(key, at: milliseconds(0)) == .unlimited)
    #expect(limiter.takeQueued(10, withShort: true).isEmpty)
    #expect(RateLimitDecision.unlimited.isAdmitted && RateLimitDecision.unlimited.binding == nil)
  }

  @Test("a key without a limit per minute has its other limits, and those of its account")
  func others() {
    var key = KeyLimits(
      lineageID: UUID(), accountID: UUID(), perMinute: nil,
      named: [RateLimit(name: "hourly", limit: 2, windowSeconds: 3_600)])
    #expect(limiter.admit(key, cost: 2, at: milliseconds(0))?.all.map(\.limit.name) == ["hourly"])
    #expect(limiter.admit(key, cost: 1, at: milliseconds(0))?.isAdmitted == false)
    key.named = []
    key.accountPerMinute = 3
    #expect(limiter.admit(key, cost: 3, at: milliseconds(0))?.all.map(\.limit.name) == ["account"])
    #expect(limiter.admit(key, cost: 1, at: milliseconds(0))?.binding?.limit == 3)
    key.accountMode = .consistent
    #expect(limiter.admit(key, cost: 1, at: milliseconds(0)) == nil)
  }
}

extension RateLimiterTests {
  // MARK: Limits that a request names

  private func key() -> KeyLimits {
    KeyLimits(
      lineageID: .version7(), accountID: .version7(), perMinute: 100,
      named: [
        RateLimit(name: "always", limit: 50, windowMilliseconds: 3_600_000),
        RateLimit(name: "asked", limit: 20, windowMilliseconds: 3_600_000, isAutomatic: false),
      ], accountPerMinute: 1_000,
      accountNamed: [
        RateLimit(name: "asked", limit: 30, windowMilliseconds: 3_600_000, isAutomatic: false),
        RateLimit(name: "monthly", limit: 500, windowMilliseconds: 31 * 86_400_000),
      ])
  }

  private func left(_ key: KeyLimits, cost: Int = 1, _ asks: LimitAsk...) -> [String: [Int]]? {
    var reservation: RateLimiter.Reservation?
    let decision = limiter.admit(key.charges(cost: cost, asks: asks), at: milliseconds(0), &reservation)
    guard let decision, decision.isAdmitted else { return nil }
    return Dictionary(grouping: decision.all) { $0.limit.name }.mapValues { $0.map(\.window.remaining) }
  }

  @Test("a request takes its cost from the automatic limits, and from the others if it names them")
  func automatic() {
    let key = key()
    #expect(left(key, cost: 2) == ["default": [98], "always": [48], "account": [998], "monthly": [498]])
    // Of the key and of its account.
    #expect(
      left(key, cost: 3, LimitAsk(name: "asked"))
        == ["default": [95], "always": [45], "asked": [17, 27], "account": [995], "monthly": [495]])
  }

  @Test("a named limit takes its own cost, which may be nothing")
  func ownCost() {
    let key = key()
    let asks = [
      LimitAsk(name: "always", cost: 10), LimitAsk(name: "default", cost: 0), LimitAsk(name: "asked", cost: 20),
    ]
    #expect(
      left(key, cost: 2, asks[0], asks[1], asks[2])
        == ["default": [100], "always": [40], "asked": [0, 10], "account": [998], "monthly": [498]])
    // The key's limit refuses, so nothing is taken from any.
    #expect(left(key, LimitAsk(name: "asked", cost: 1)) == nil)
    #expect(left(key, LimitAsk(name: "asked", cost: 0))?["asked"] == [0, 10])
    #expect(left(key)?["always"] == [38])
  }

  @Test("a limit that a request brings along is counted for the key, apart from the key's own limit of that name")
  func brought() {
    let (one, other) = (key(), key())
    let hour = WindowLimit(limit: 5, windowMilliseconds: 3_600_000)
    func ask(_ name: String, cost: Int, _ own: WindowLimit = hour) -> LimitAsk {
      LimitAsk(name: name, cost: cost, own: own)
    }
    #expect(left(one, ask("uploads", cost: 5))?["uploads"] == [0])
    #expect(left(one, ask("uploads", cost: 1)) == nil)
    #expect(left(other, ask("uploads", cost: 1))?["uploads"] == [4])
    // The same window has the same count, whatever the limit; another window has another.
    #expect(left(one, ask("uploads", cost: 1, .init(limit: 8, windowMilliseconds: 3_600_000)))?["uploads"] == [2])
    #expect(left(one, ask("uploads", cost: 1, .init(limit: 8, windowMilliseconds: 60_000)))?["uploads"] == [7])
    #expect(left(other, ask("always", cost: 2))?["always"] == [47, 3])
  }

  @Test("names that neither the key nor its account has are unknown, unless they come with numbers")
  func unknown() {
    var key = key()
    let asks = ["asked", "monthly", "never", "default", "account"].map { LimitAsk(name: $0) }
    #expect(key.unknown(asks) == [2])
    #expect(key.unknown([LimitAsk(name: "never", own: .init(limit: 1, windowMilliseconds: 1_000))]) == [])
    (key.perMinute, key.accountPerMinute, key.accountNamed) = (nil, nil, [])
    #expect(key.unknown(asks) == [1, 2, 3, 4])
  }

  @Test("the keys of an account share its named limits")
  func ofAccount() {
    let one = key()
    var other = key()
    other.accountID = one.accountID
    #expect(left(one, cost: 40)?["monthly"] == [460])
    #expect(left(other, cost: 30)?["monthly"] == [430] && left(other, cost: 1)?["always"] == [19])
  }
}

extension RateLimiterTests {
  // MARK: Token buckets

  private func bucketKey(_ size: Int, _ refill: Int, per milliseconds: Int) -> KeyLimits {
    KeyLimits(
      lineageID: .version7(), accountID: .version7(), perMinute: nil,
      named: [
        RateLimit(name: "bucket", bucket: .init(size: size, refill: refill, intervalMilliseconds: milliseconds))
      ])
  }

  private func left(_ key: KeyLimits, cost: Int = 1, after seconds: Double) -> Int? {
    let decision = limiter.admit(key, cost: cost, at: milliseconds(seconds))
    return decision?.isAdmitted == true ? decision?.binding?.remaining : nil
  }

  @Test("a bucket admits a burst of its size, and then as much as comes back")
  func bucket() {
    let key = bucketKey(5, 2, per: 1_000)
    #expect((0..<5).map { _ in left(key, after: 0) } == [4, 3, 2, 1, 0])
    let refused = limiter.admit(key, cost: 1, at: milliseconds(0))
    #expect(refused?.isAdmitted == false && refused?.binding?.retryAfterSeconds == 1)
    #expect(refused?.binding?.limit == 5 && refused?.binding?.resetSeconds == 3)
    #expect(left(key, after: 0.499) == nil)
    #expect(left(key, after: 0.5) == 0)
    #expect(left(key, cost: 6, after: 10) == nil && left(key, cost: 5, after: 10) == 0)
    #expect(limiter.peek(key, at: milliseconds(11)).binding?.remaining == 2)
    #expect(limiter.peek(key, at: milliseconds(60)).binding?.remaining == 5)
  }

  @Test("a request that another limit refuses takes nothing from a bucket, and what is given back is there again")
  func bucketAmongOthers() {
    var key = bucketKey(5, 1, per: 3_600_000)
    key.perMinute = 2
    for _ in 0..<2 { #expect(limiter.admit(key, cost: 1, at: milliseconds(0))?.isAdmitted == true) }
    #expect(limiter.admit(key, cost: 1, at: milliseconds(0))?.isAdmitted == false)
    #expect(limiter.peek(key, at: milliseconds(0)).all.map(\.window.remaining) == [0, 3])
    var reservation: RateLimiter.Reservation? = RateLimiter.Reservation()
    key.perMinute = nil
    #expect(limiter.admit(key, cost: 3, at: milliseconds(0), &reservation)?.isAdmitted == true)
    #expect(limiter.peek(key, at: milliseconds(0)).binding?.remaining == 0)
    limiter.release(reservation)
    #expect(limiter.peek(key, at: milliseconds(0)).binding?.remaining == 3)
  }

  @Test("a sweep forgets buckets that are full, and keeps the others")
  func sweptBuckets() {
    let (slow, quick) = (bucketKey(5, 1, per: 3_600_000), bucketKey(5, 1, per: 1_000))
    #expect(left(slow, cost: 5, after: 0) == 0 && left(quick, cost: 5, after: 0) == 0)
    for _ in 0..<100_000 { _ = admits(.version7(), limit: 1, after: 0) }
    for _ in 0..<100_000 { _ = admits(.version7(), limit: 1, after: 600) }
    #expect(left(slow, after: 600) == nil && left(slow, after: 3_600) == 0 && left(quick, after: 600) == 4)
  }
}

extension KeyLimits {
  static func limited(_ id: UUID, _ limitPerMinute: Int) -> KeyLimits {
    KeyLimits(lineageID: id, accountID: .numbered(0), perMinute: limitPerMinute)
  }
}
