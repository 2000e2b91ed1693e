import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

@testable import Portal

/// One of several instances that share their limits.
private struct LimitingInstance {
  let limiter = RateLimiter()
  let limits: RateLimits
  let observations = Observations()
  private let instance: Instance
  let pool: PostgresPool
  let clock: DatabaseClock

  /// `aheadSeconds` is how far the machine's clock is ahead.
  init(_ pool: PostgresPool, timeout: Duration = .seconds(60), aheadSeconds: Double = 0) async throws {
    self.pool = pool
    clock = DatabaseClock(machine: { Date(timeIntervalSinceNow: aheadSeconds) })
    instance = Instance(name: "test", lease: .seconds(600), clock: clock)
    limits = RateLimits(
      pool: pool, limiter: limiter, instanceID: instance.id, clock: clock, observer: Observer([observations.sink]),
      timeout: timeout)
    try await beat()
  }

  /// Syncs, as the listener does every 400 ms.
  func beat() async throws {
    try await pool.withConnection { try await instance.sync(on: $0, rowsMax: 10) { _ in SyncOutcome() } }
    limiter.instanceCount = instance.liveInstanceCount
  }

  func end() async throws { try await pool.execute(DeleteInstance(id: instance.id)) }

  /// Like a verification: in memory if possible, otherwise with PostgreSQL.
  func admits(_ key: KeyLimits, cost: Int = 1) async throws -> Bool {
    let now = try await clock.now(on: pool).milliseconds
    if let decision = limiter.admit(key, cost: cost, at: now) { return decision.isAdmitted }
    return try await limits.admit(key, cost: cost).isAdmitted
  }
}

private func withInstances(
  _ count: Int, _ body: ([LimitingInstance], PostgresPool) async throws -> Void
) async throws {
  try await withPool { pool in
    var instances: [LimitingInstance] = []
    for _ in 0..<count { instances.append(try await LimitingInstance(pool)) }
    // So that every instance knows the number of instances.
    for instance in instances { try await instance.beat() }
    try await body(instances, pool)
  }
}

/// The admitted requests of a limit, by fixed window.
private final class Admissions: Sendable {
  private let counts = Mutex<[Int: Int]>([:])
  func add(_ window: Int) { counts.withLock { $0[window, default: 0] += 1 } }
  var all: [Int: Int] { counts.withLock { $0 } }
}

@Suite("RateLimits")
struct RateLimitsTests {
  @Test("under mixed traffic, three instances exceed limits of at least 100 by at most 10 %")
  func overshoot() async throws {
    try await withInstances(3) { instances, _ in
      let keys = (0..<40).map { index in
        var key = KeyLimits.limited(.version7(), 1_000_000)
        key.named = [RateLimit(name: "second", limit: 100 + 5 * index, windowSeconds: 1)]
        return key
      }
      let admissions = keys.map { _ in Admissions() }
      let running = instances.map { instance in Task { try await instance.limits.run() } }
      func isFull(_ key: KeyLimits, _ count: Int) -> Bool {
        Double(count) >= 0.9 * Double(key.named[0].limit)
      }
      // A busy machine needs longer to fill windows of a second.
      for _ in 0..<8 {
        try await drive(instances, keys, admissions, for: .seconds(5))
        let fullCount = zip(keys, admissions).reduce(0) { sum, pair in
          sum + pair.1.all.values.count { isFull(pair.0, $0) }
        }
        if fullCount > 5 { break }
      }
      for task in running { task.cancel() }
      var (windowCount, fullCount, worst) = (0, 0, 0.0)
      for (key, admissions) in zip(keys, admissions) {
        let limit = key.named[0].limit
        for (_, count) in admissions.all {
          windowCount += 1
          worst = max(worst, Double(count) / Double(limit))
          if isFull(key, count) { fullCount += 1 }
          #expect(Double(count) <= 1.1 * Double(limit), "limit \(limit)")
        }
      }
      print("limits on three instances: \(windowCount) windows, \(fullCount) full, the worst at \(worst) of its limit")
      #expect(windowCount > 100 && fullCount > 5)
    }
  }

  /// Sends bursts, trickles, and requests of keys that are nearly all on one instance.
  private func drive(
    _ instances: [LimitingInstance], _ keys: [KeyLimits], _ admissions: [Admissions], for time: Duration
  ) async throws {
    let deadline = ContinuousClock.now + time
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (number, instance) in instances.enumerated() {
        for (index, key) in keys.enumerated() {
          group.addTask {
            var random = SeededGenerator(seed: UInt64(index * 3 + number))
            while ContinuousClock.now < deadline {
              let burst = index % 3 == 0 ? Int.random(in: 1...150, using: &random) : 10
              let isLazy = index % 3 == 1 && number != index % 2
              for _ in 0..<burst {
                let window = Date().milliseconds / 1_000
                if try await instance.admits(key), Date().milliseconds / 1_000 == window {
                  admissions[index].add(window)
                }
              }
              try await Task.sleep(for: .milliseconds(isLazy ? 150 : Int.random(in: 1...40, using: &random)))
            }
          }
        }
      }
      try await group.waitForAll()
    }
  }

  @Test("excessive counts in the tables refuse requests and do not crash")
  func typedCounts() async throws {
    try await withInstances(2) { instances, pool in
      var key = KeyLimits.limited(.version7(), 1_000)
      key.named = [RateLimit(name: "day", limit: 1_000, windowSeconds: 86_400)]
      for instance in instances {
        #expect(try await instance.admits(key))
        #expect(await instance.limits.exchange())
      }
      try await pool.script("update rate_limit_counts set used = \(Int.max)")
      #expect(try await instances[0].admits(key), "the instance has not exchanged yet")
      #expect(await instances[0].limits.exchange())
      #expect(try await !instances[0].admits(key))
      key.mode = .consistent
      #expect(try await instances[0].admits(key))
      try await pool.script("update rate_limit_windows set used = 1::bigint << 60, used_before = 1::bigint << 60")
      #expect(try await !instances[0].admits(key))
      #expect(instances[0].limiter.peek(key, at: Date().milliseconds).binding?.remaining == 0)
    }
  }

  @Test("an answer of the wrong length is a protocol violation")
  func answerOfAnotherLength() throws {
    #expect(
      try [SharedWindow.Pair](told: [3, 4], count: 1) == [SharedWindow.Pair(current: 3, previous: 4)])
    for used in [[], [1], [1, 2, 3], Array(repeating: 1, count: 4)] {
      let error = #expect(throws: PostgresError.self) { try [SharedWindow.Pair](told: used, count: 1) }
      #expect(error?.code == .protocolViolation)
    }
  }

  @Test("in the mode consistent, concurrent requests on three instances are admitted exactly up to the limit")
  func consistent() async throws {
    try await withInstances(3) { instances, _ in
      var key = KeyLimits.limited(.version7(), 1_000_000)
      key.mode = .consistent
      key.named = [RateLimit(name: "daily", limit: 137, windowSeconds: 86_400)]
      let outcomes = await concurrently(600) { [key] index in try await instances[index % 3].admits(key) }
      #expect(outcomes.errors.isEmpty)
      #expect(outcomes.values.count { $0 } == 137)
      // Peeking shows PostgreSQL's decision.
      let left = instances.map { $0.limiter.peek(key, at: Date().milliseconds).others[0].window.remaining }
      #expect(left.contains(0))
    }
  }

  @Test("PostgreSQL's sliding window agrees with SlidingWindow")
  func sameWindow() async throws {
    try await withInstances(1) { instances, pool in
      var random = SeededGenerator(seed: 7)
      var key = KeyLimits.limited(.version7(), 1_000_000)
      key.mode = .consistent
      key.named = [RateLimit(name: "second", limit: 20, windowSeconds: 1)]
      var window = SlidingWindow(seconds: 1)
      var refusedCount = 0
      for _ in 0..<300 {
        let cost = Int.random(in: 1...5, using: &random)
        let taken = try #require(try await pool.query(TakeRateLimits(charges: key.charges(cost: cost).all)).first)
        let decision = window.admit(cost: cost, limit: 20, at: taken.atMilliseconds)
        #expect(taken.isAdmitted == decision.isAdmitted)
        let (index, current, previous) = taken.windows[1]
        #expect(SlidingWindow(seconds: 1, index: index, current: current, previous: previous) == window)
        if !decision.isAdmitted { refusedCount += 1 }
        try await Task.sleep(for: .milliseconds(Int.random(in: 0...20, using: &random)))
      }
      #expect((1..<300).contains(refusedCount))
    }
  }

  @Test("PostgreSQL's sliding window agrees with SlidingWindow after its clock was set back")
  func sameWindowSetBack() async throws {
    try await withStoppedClock { pool in
      var random = SeededGenerator(seed: 7)
      var key = KeyLimits.limited(.version7(), 1_000_000)
      key.mode = .consistent
      key.named = [RateLimit(name: "second", limit: 20, windowSeconds: 1)]
      var window = SlidingWindow(seconds: 1)
      var (refusedCount, setBackCount) = (0, 0)
      for _ in 0..<400 {
        let isSetBack = Int.random(in: 0..<10, using: &random) == 0
        let milliseconds =
          isSetBack ? -Int.random(in: 7_000...4_000_000, using: &random) : Int.random(in: 0...200, using: &random)
        if isSetBack { setBackCount += 1 }
        try await pool.script("update clock.moment set moment = moment + \(milliseconds) * interval '1 millisecond'")
        let cost = Int.random(in: 1...5, using: &random)
        let taken = try #require(try await pool.query(TakeRateLimits(charges: key.charges(cost: cost).all)).first)
        let decision = window.admit(cost: cost, limit: 20, at: taken.atMilliseconds)
        let (index, current, previous) = taken.windows[1]
        let stored = SlidingWindow(seconds: 1, index: index, current: current, previous: previous)
        if isSetBack {
          // PostgreSQL does not store the passage of time when it refuses, so it may count more as used.
          #expect(!taken.isAdmitted || decision.isAdmitted)
          let used = [stored, window].map { $0.used(at: taken.atMilliseconds) }
          #expect(used[0] >= used[1] || !taken.isAdmitted && decision.isAdmitted)
          window = stored
        } else {
          #expect(taken.isAdmitted == decision.isAdmitted)
          #expect(stored == window)
        }
        if !taken.isAdmitted { refusedCount += 1 }
      }
      #expect(setBackCount > 10 && (20..<380).contains(refusedCount))
    }
  }

  @Test("instances whose machines' clocks are an hour apart count in the same windows", arguments: [3_600, 86_400])
  func machinesApart(_ windowSeconds: Int) async throws {
    try await withPool { pool in
      var instances: [LimitingInstance] = []
      for ahead in [0.0, 3_600, -3_600] { instances.append(try await LimitingInstance(pool, aheadSeconds: ahead)) }
      for instance in instances { #expect(await instance.limits.exchange()) }
      var key = KeyLimits.limited(.version7(), 1_000_000)
      key.named = [RateLimit(name: "some", limit: 100, windowSeconds: windowSeconds)]
      var count = 0
      for instance in instances {
        for _ in 0..<150 where try await instance.admits(key) { count += 1 }
        #expect(await instance.limits.exchange())
      }
      #expect((100...110).contains(count), "\(count)")
    }
  }

  @Test("a refused request takes nothing from any of its limits, in either mode")
  func refusedTakesNothing() async throws {
    try await withInstances(2) { (instances, _) async throws in
      let (id, account) = (UUID.version7(), UUID.version7())
      func admits(_ instance: Int, own: Int, shared: Int) async throws -> Bool {
        try await instances[instance].admits(.sharing(id, own, account, shared))
      }
      func left(_ instance: Int) -> [Int] {
        instances[instance].limiter.peek(.sharing(id, 100, account, 3), at: Date().milliseconds).all
          .map(\.window.remaining)
      }
      for number in 0..<8 { #expect(try await admits(0, own: 100, shared: 3) == (number < 3)) }
      #expect(try await admits(1, own: 100, shared: 3) == false)
      #expect(left(0) == [97, 0])
      #expect(left(1) == [100, 0])
      // The other way round: if the key's own limit refuses, PostgreSQL is not asked.
      #expect(try await admits(0, own: 2, shared: 1_000) == false)
      #expect(try await admits(0, own: 100, shared: 4) == true)
      #expect(try await admits(0, own: 100, shared: 4) == false)
    }
  }

  @Test("requests admitted on one instance count on the others after an exchange, even on later instances")
  func exchanged() async throws {
    try await withInstances(2) { instances, pool in
      let key = KeyLimits.limited(.version7(), 400)
      for _ in 0..<200 { #expect(try await instances[0].admits(key) == true) }
      #expect(await instances[0].limits.exchange())
      let later = try await LimitingInstance(pool)
      for instance in [instances[1], later] {
        #expect(try await instance.admits(key) == true)
        #expect(await instance.limits.exchange())
        #expect(try await instance.admits(key) == true)
        let left = try #require(instance.limiter.peek(key, at: Date().milliseconds).binding?.remaining)
        #expect((197...199).contains(left), "\(left)")
      }
      #expect(instances[0].observations.count(.limitsExchanged(windows: 1)) > 5)
    }
  }

  @Test("keys of a lineage share one limit across all instances, even without its first key")
  func lineage() async throws {
    try await withInstances(2) { (instances, _) async throws in
      for mode in RateLimitMode.allCases {
        let lineage = UUID.version7()
        let keys = (0..<12).map { _ in
          var key = KeyLimits.limited(.version7(), 1_000_000)
          key.lineageID = lineage
          key.mode = mode
          key.named = [RateLimit(name: "daily", limit: 100, windowSeconds: 86_400)]
          return key
        }
        var count = 0
        for key in keys {
          for instance in instances {
            for _ in 0..<25 where try await instance.admits(key) { count += 1 }
          }
        }
        #expect(mode == .fast ? (100...110).contains(count) : count == 100, "\(mode): \(count)")
      }
    }
  }

  private static let year = 365 * 86_400_000

  @Test("two instances share windows of any length, also those that last longer than the slots of the counts")
  func anyLength() async throws {
    try await withInstances(2) { (instances, pool) async throws in
      for milliseconds in [1_500, 86_400_000, 86_400_001, 30 * 86_400_000, Self.year, 10 * Self.year] {
        for mode in RateLimitMode.allCases {
          var key = KeyLimits(lineageID: .version7(), accountID: .version7(), perMinute: nil, mode: mode)
          key.named = [RateLimit(name: "long", limit: 100, windowMilliseconds: milliseconds)]
          var count = 0
          for number in 0..<300 where try await instances[number % 2].admits(key) { count += 1 }
          // A short window may end during the test, and then there is a second one.
          let most = milliseconds < 10_000 ? 400 : mode == .fast ? 110 : 100
          #expect((100...most).contains(count), "\(milliseconds) \(mode): \(count)")
        }
      }
      #expect(try await pool.number("select count(distinct subject_id) from long_rate_limit_counts") == 4)
      // Nothing of this has ended, and all instances are live.
      #expect(try await pool.execute(DeleteLongRateLimitCounts(limit: 100)) == 0)
      #expect(try await pool.query(AddUpLongRateLimitCounts(limit: 100)).first == 0)
    }
  }

  @Test("a later instance counts on in a window of a year, also after the counts of earlier ones were added up")
  func addedUp() async throws {
    try await withPool { pool in
      var key = KeyLimits(lineageID: .version7(), accountID: .version7(), perMinute: nil)
      key.named = [RateLimit(name: "year", limit: 100, windowMilliseconds: Self.year)]
      for _ in 0..<3 {
        let instance = try await LimitingInstance(pool)
        for _ in 0..<10 { #expect(try await instance.admits(key)) }
        #expect(await instance.limits.exchange())
        try await instance.end()
      }
      let rows = "select string_agg(used::text, ' ' order by used) from long_rate_limit_counts"
      #expect(try await pool.text(rows) == "10 10 10")
      // They may still be about to publish something.
      #expect(try await pool.query(AddUpLongRateLimitCounts(limit: 100)).first == 0)
      try await pool.script("update long_rate_limit_counts set published_at = now() - interval '2 hours'")
      #expect(try await pool.query(AddUpLongRateLimitCounts(limit: 2)).first == 2)
      #expect(try await pool.text(rows) == "10 20")
      #expect(try await pool.query(AddUpLongRateLimitCounts(limit: 2)).first == 1)
      #expect(try await pool.query(AddUpLongRateLimitCounts(limit: 2)).first == 0)
      #expect(try await pool.text(rows) == "30")
      let later = try await LimitingInstance(pool)
      #expect(try await later.admits(key))
      #expect(await later.limits.exchange())
      #expect(later.limiter.peek(key, at: Date().milliseconds).binding?.remaining == 69)
      try await pool.script("update long_rate_limit_counts set ended_at = now() - interval '1 second'")
      #expect(try await pool.execute(DeleteLongRateLimitCounts(limit: 1)) == 1)
      #expect(try await pool.execute(DeleteLongRateLimitCounts(limit: 9)) == 1)
    }
  }

  @Test("in the mode consistent, each limit has its own cost, and a refused request takes nothing")
  func consistentCosts() async throws {
    try await withInstances(1) { (instances, _) async throws in
      var key = KeyLimits(lineageID: .version7(), accountID: .version7(), perMinute: 100, mode: .consistent)
      key.named = [RateLimit(name: "bytes", limit: 50, windowMilliseconds: Self.year, isAutomatic: false)]
      func left(_ cost: Int, _ asks: LimitAsk...) async throws -> [Int] {
        try await instances[0].limits.admit(key.charges(cost: cost, asks: asks)).all.map(\.window.remaining)
      }
      #expect(try await left(1) == [99])
      #expect(try await left(2, LimitAsk(name: "bytes", cost: 40)) == [97, 10])
      #expect(try await left(2, LimitAsk(name: "bytes", cost: 11)) == [97, 10])
      #expect(try await left(98, LimitAsk(name: "bytes", cost: 10)) == [97, 10])
      #expect(try await left(97, LimitAsk(name: "bytes", cost: 10)) == [0, 0])
      #expect(try await left(5, LimitAsk(name: "bytes", cost: 0), LimitAsk(name: "default", cost: 0)) == [0, 0])
    }
  }

  // MARK: Token buckets

  private func bucketKey(_ settings: TokenBucket.Settings, _ mode: RateLimitMode = .fast) -> KeyLimits {
    KeyLimits(
      lineageID: .version7(), accountID: .version7(), perMinute: nil,
      named: [RateLimit(name: "bucket", bucket: settings)], mode: mode)
  }

  @Test("three instances share a bucket: exactly in the mode consistent, and up to 10 % more in the mode fast")
  func sharedBucket() async throws {
    try await withInstances(3) { (instances, _) async throws in
      // So slow that nothing comes back during the test.
      for interval in [36_000_000, 30 * 86_400_000] {
        for mode in RateLimitMode.allCases {
          let key = bucketKey(.init(size: 200, refill: 100, intervalMilliseconds: interval), mode)
          let outcomes = await concurrently(900) { index in try await instances[index % 3].admits(key) }
          #expect(outcomes.errors.isEmpty)
          let count = outcomes.values.count { $0 }
          #expect(mode == .fast ? (200...220).contains(count) : count == 200, "\(interval) \(mode): \(count)")
          for instance in instances { #expect(try await !instance.admits(key)) }
        }
      }
    }
  }

  @Test("what is admitted too much by several instances is missing afterwards, so their rate is that of one bucket")
  func bucketRate() async throws {
    try await withInstances(3) { (instances, _) async throws in
      let settings = TokenBucket.Settings(size: 20, refill: 20, intervalMilliseconds: 1_000)
      let key = bucketKey(settings)
      let start = ContinuousClock.now
      var count = 0
      while .now - start < .seconds(4) {
        for instance in instances where try await instance.admits(key) { count += 1 }
        try await Task.sleep(for: .milliseconds(2))
      }
      let seconds = (ContinuousClock.now - start) / .seconds(1)
      // With n instances and B = max(1, size / 20(n-1)) = 1: size + 2(n-1)B, and what came back.
      #expect(Double(count) <= 20 + 4 + 20 * seconds + 1, "\(count) in \(seconds) s")
      #expect(count >= 20 + 20)
    }
  }

  @Test("a later instance learns what earlier ones have taken from a bucket, and takes it to be empty at most")
  func bucketLearned() async throws {
    try await withPool { pool in
      let key = bucketKey(.init(size: 100, refill: 100, intervalMilliseconds: 86_400_000))
      let first = try await LimitingInstance(pool)
      #expect(try await first.admits(key, cost: 70))
      #expect(await first.limits.exchange())
      let later = try await LimitingInstance(pool)
      #expect(try await later.admits(key))
      #expect(await later.limits.exchange())
      let left = try #require(later.limiter.peek(key, at: Date().milliseconds).binding?.remaining)
      #expect((28...29).contains(left), "\(left)")
      #expect(try await !later.admits(key, cost: 30))
    }
  }

  @Test("PostgreSQL's token bucket agrees with TokenBucket, also after its clock was set back")
  func sameBucket() async throws {
    try await withStoppedClock { pool in
      var random = SeededGenerator(seed: 9)
      for settings in [
        TokenBucket.Settings(size: 20, refill: 3, intervalMilliseconds: 1_000),
        TokenBucket.Settings(size: 1_000, refill: 7, intervalMilliseconds: 30),
      ] {
        let key = bucketKey(settings, .consistent)
        var bucket = TokenBucket()
        var (refusedCount, setBackCount) = (0, 0)
        for _ in 0..<300 {
          let isSetBack = Int.random(in: 0..<10, using: &random) == 0
          let milliseconds =
            isSetBack ? -Int.random(in: 7_000...4_000_000, using: &random) : Int.random(in: 0...900, using: &random)
          if isSetBack { setBackCount += 1 }
          try await pool.script("update clock.moment set moment = moment + \(milliseconds) * interval '1 millisecond'")
          let cost = Int.random(in: 0...settings.size / 3, using: &random)
          let taken = try #require(try await pool.query(TakeRateLimits(charges: key.charges(cost: cost).all)).first)
          let decision = bucket.admit(cost: cost, settings, at: taken.atMilliseconds)
          #expect(taken.isAdmitted == decision.isAdmitted)
          let (time, missing, _) = try #require(taken.windows.first)
          #expect(TokenBucket(missing: missing, time: time) == bucket)
          if !taken.isAdmitted { refusedCount += 1 }
        }
        #expect(setBackCount > 10 && (10..<290).contains(refusedCount), "\(refusedCount)")
      }
    }
  }

  @Test("an instance that has admitted nothing since the last exchange does not ask PostgreSQL")
  func idle() async throws {
    try await withInstances(2) { instances, pool in
      let key = KeyLimits.limited(.version7(), 400)
      #expect(try await instances[0].admits(key) == true)
      for instance in instances {
        for _ in 0..<5 { #expect(await instance.limits.exchange()) }
      }
      #expect(instances[0].observations.count(.limitsExchanged(windows: 1)) == 1)
      #expect(instances[0].observations.count(.limitsExchanged(windows: 0)) == 0)
      #expect(instances[1].observations.count(.limitsExchanged(windows: 0)) == 0)
      // After a failed exchange an instance keeps asking, so that it soon stops using the allowance of a disconnected
      // one.
      try await pool.script("alter table rate_limit_counts rename to rate_limit_counts_gone")
      instances[1].limiter.isConnected = false
      #expect(await instances[1].limits.exchange() == false)
      #expect(instances[1].limiter.allowance.isConnected == false)
      try await pool.script("alter table rate_limit_counts_gone rename to rate_limit_counts")
      #expect(await instances[1].limits.exchange())
      #expect(instances[1].limiter.allowance.isConnected == true)
      #expect(instances[1].observations.count(.limitsExchanged(windows: 0)) == 1)
    }
  }

  @Test("a heartbeat tells an instance whether it is the only one")
  func company() async throws {
    try await withPool { pool in
      let one = try await LimitingInstance(pool)
      #expect(one.limiter.allowance.instanceCount == 1)
      let key = KeyLimits.limited(.version7(), 100)
      for _ in 0..<60 { #expect(try await one.admits(key) == true) }
      // A single instance does not publish windows of a minute.
      #expect(await one.limits.exchange())
      #expect(one.observations.count(.limitsExchanged(windows: 1)) == 0)

      let other = try await LimitingInstance(pool)
      #expect(other.limiter.allowance.instanceCount == 2)
      try await one.beat()
      #expect(one.limiter.allowance.instanceCount == 2)
      #expect(await one.limits.exchange())
      #expect(one.observations.count(.limitsExchanged(windows: 1)) == 1)
      // From here on the bound holds: L + 2(n-1)B.
      var count = 60
      for _ in 0..<100 where try await other.admits(key) { count += 1 }
      for _ in 0..<100 where try await one.admits(key) { count += 1 }
      #expect((100...110).contains(count), "\(count)")

      try await other.end()
      try await one.beat()
      #expect(one.limiter.allowance.instanceCount == 1)
    }
  }

  @Test("if PostgreSQL hangs, exchanges and decisions wait no longer than the timeout")
  func hanging() async throws {
    try await withPool { pool in
      let instance = try await LimitingInstance(pool, timeout: .milliseconds(300))
      _ = try await LimitingInstance(pool)
      try await instance.beat()
      let fast = KeyLimits.limited(.version7(), 100)
      #expect(try await instance.admits(fast) == true)
      var consistent = KeyLimits.limited(.version7(), 100)
      consistent.mode = .consistent
      try await pool.withTransaction { transaction in
        try await transaction.executeScript("lock table rate_limit_counts, rate_limit_windows in access exclusive mode")
        let start = ContinuousClock.now
        async let one = instance.limits.exchange()
        async let other = instance.limits.exchange()
        #expect(await [one, other] == [false, false])
        await #expect(throws: PostgresError.self) { try await instance.admits(consistent) }
        // The share of the limit is admitted without waiting.
        for _ in 0..<49 { #expect(try await instance.admits(fast) == true) }
        await #expect(throws: PortalError.self) { try await instance.admits(fast) }
        #expect(.now - start < muchTooLong / 2)
      }
      #expect(await instance.limits.exchange())
      #expect(try await instance.admits(fast) == true)
    }
  }

  @Test("without PostgreSQL, an instance admits its share in the mode fast, and then answers unavailable")
  func disconnected() async throws {
    try await withPool { pool in
      let instance = try await LimitingInstance(pool)
      _ = try await LimitingInstance(pool)
      try await instance.beat()
      try await pool.script("alter table rate_limit_counts rename to rate_limit_counts_gone")
      let key = KeyLimits.limited(.version7(), 100)
      var count = 0
      await #expect(throws: PortalError.self) {
        while try await instance.admits(key) { count += 1 }
      }
      #expect(count == 50)
      var consistent = key
      consistent.mode = .consistent
      try await pool.script("alter table rate_limit_windows rename to rate_limit_windows_gone")
      await #expect(throws: (any Error).self) { try await instance.admits(consistent) }
      try await pool.script("alter table rate_limit_counts_gone rename to rate_limit_counts")
      #expect(await instance.limits.exchange())
      #expect(try await instance.admits(key) == true)
    }
  }

  @Test("counts that no window uses any more are truncated, and the others stay")
  func expiry() async throws {
    try await withPool { pool in
      try await pool.script(
        """
        insert into rate_limit_counts
        select slot, gen_random_uuid(), 1, 1, gen_random_uuid(), 1 from generate_series(0, 31) as slots (slot);
        insert into rate_limit_windows values
          (gen_random_uuid(), 1, 60, extract(epoch from now())::bigint / 60 - 1, 1, 0),
          (gen_random_uuid(), 1, 60, extract(epoch from now())::bigint / 60 - 3, 1, 0);
        insert into rate_limit_windows values
          (gen_random_uuid(), 1, 1, extract(epoch from now())::bigint * 1000 - 60000, 59 * 500, 0, 500, 1),
          (gen_random_uuid(), 1, 1, extract(epoch from now())::bigint * 1000 - 60000, 300 * 500, 0, 500, 1);
        """)
      #expect(try await pool.lines("select expire_rate_limit_counts()::text") == ["6"])
      #expect(try await pool.lines("select expire_rate_limit_counts()::text") == ["0"])
      let slot = Int(Date().timeIntervalSince1970) / 7_200
      let kept = Set((0...25).map { "\((slot + $0) % 32)" })
      #expect(Set(try await pool.lines("select slot::text from rate_limit_counts")) == kept)
      // A window that is over, and a bucket that is full.
      #expect(try await pool.lines("select expire_rate_limit_windows()::text") == ["2"])
      #expect(try await pool.lines("select expire_rate_limit_windows()::text") == ["0"])
    }
  }
}

extension KeyLimits {
  /// A key with its own limit in memory, and a shared limit of its account that PostgreSQL decides.
  fileprivate static func sharing(_ id: UUID, _ own: Int, _ account: UUID, _ shared: Int) -> KeyLimits {
    var key = limited(id, own)
    key.accountID = account
    key.accountPerMinute = shared
    key.accountMode = .consistent
    return key
  }
}
