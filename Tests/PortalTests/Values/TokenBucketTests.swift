import PostgresTesting
import Testing

@testable import Portal

@Suite("TokenBucket")
struct TokenBucketTests {
  private typealias Settings = TokenBucket.Settings

  private let start = 1_800_000_000_000
  /// Ten tokens; four come back in ten seconds, one in 2.5.
  private let settings = TokenBucket.Settings(size: 10, refill: 4, intervalMilliseconds: 10_000)

  /// A bucket from which `costs` were taken, each at this many milliseconds from the start.
  private func bucket(_ costs: [(at: Int, cost: Int)]) -> TokenBucket {
    var bucket = TokenBucket()
    for (at, cost) in costs { #expect(bucket.admit(cost: cost, settings, at: start + at).isAdmitted) }
    return bucket
  }

  // MARK: Against a step per millisecond

  @Test("in random histories, agrees with a bucket that is filled in each millisecond", arguments: 0..<20)
  func agreesWithSteps(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    let settings = Settings(
      size: Int.random(in: 1...30, using: &random), refill: Int.random(in: 1...12, using: &random),
      intervalMilliseconds: random.pick([1, 7, 100, 997, 1_000]))
    let full = settings.size * settings.intervalMilliseconds
    var (bucket, level, now) = (TokenBucket(), full, start)
    var refusedCount = 0
    for _ in 0..<1_000 {
      for _ in 0..<random.pick([0, 1, 20, settings.intervalMilliseconds]) {
        now += 1
        level = min(full, level + settings.refill)
      }
      let cost = Int.random(in: 0...settings.size, using: &random)
      let isAdmitted = cost * settings.intervalMilliseconds <= level
      let peeked = bucket.peek(cost: cost, settings, at: now)
      let decision = bucket.admit(cost: cost, settings, at: now)
      if isAdmitted { level -= cost * settings.intervalMilliseconds } else { refusedCount += 1 }
      #expect(
        decision.isAdmitted == isAdmitted && peeked.isAdmitted == isAdmitted
          && decision.remaining == level / settings.intervalMilliseconds
          && bucket.isFull(settings, at: now) == (level == full), "seed \(seed)")
    }
    #expect(refusedCount > 0)
  }

  @Test("after the retry time the same request is admitted, and a second earlier it is not", arguments: 0..<20)
  func retryAfter(_ seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    var checkedCount = 0
    for _ in 0..<500 {
      let settings = Settings(
        size: Int.random(in: 1...100, using: &random), refill: Int.random(in: 1...100, using: &random),
        intervalMilliseconds: Int.random(in: 1...100_000, using: &random))
      var bucket = TokenBucket()
      var now = start
      for _ in 0..<5 {
        bucket.admit(cost: Int.random(in: 1...settings.size, using: &random), settings, at: now)
        now += Int.random(in: -800...2_000, using: &random)
      }
      let cost = Int.random(in: 1...settings.size, using: &random)
      let refusal = bucket.peek(cost: cost, settings, at: now)
      #expect(bucket.isFull(settings, at: now + refusal.resetSeconds * 1_000))
      guard !refusal.isAdmitted else { continue }
      let seconds = try #require(refusal.retryAfterSeconds)
      #expect(seconds >= 1 && seconds <= refusal.resetSeconds)
      #expect(bucket.peek(cost: cost, settings, at: now + seconds * 1_000).isAdmitted)
      #expect(seconds == 1 || !bucket.peek(cost: cost, settings, at: now + (seconds - 1) * 1_000).isAdmitted)
      checkedCount += 1
    }
    #expect(checkedCount > 20)
  }

  // MARK: Decisions

  @Test("a new bucket is full, and empties at once; then a token comes back in its share of the interval")
  func fills() {
    let bucket = bucket([(0, 10)])
    for (at, remaining) in [(0, 0), (2_499, 0), (2_500, 1), (4_999, 1), (10_000, 4), (24_999, 9), (25_000, 10)] {
      #expect(bucket.peek(cost: 0, settings, at: start + at).remaining == remaining, "at \(at)")
    }
    #expect(!bucket.isFull(settings, at: start + 24_999) && bucket.isFull(settings, at: start + 25_000))
    #expect(bucket.peek(cost: 10, settings, at: start + 1 << 40).remaining == 10, "no more than its size")
  }

  @Test("a refused request takes nothing, and a cheaper one still fits")
  func refusedTakesNothing() {
    var bucket = bucket([(0, 7)])
    let before = bucket
    #expect(
      bucket.admit(cost: 4, settings, at: start)
        == SlidingWindow.Decision(
          isAdmitted: false, limit: 10, remaining: 3, resetSeconds: 18, retryAfterSeconds: 3))
    #expect(bucket == before)
    #expect(bucket.admit(cost: 3, settings, at: start).isAdmitted)
    #expect(bucket.peek(cost: 0, settings, at: start).isAdmitted)
  }

  @Test("a request that costs more than the size is never admitted and gets no retry time")
  func tooExpensive() {
    for cost in [11, 1_000_001, .max] {
      let decision = TokenBucket().peek(cost: cost, settings, at: start)
      #expect(!decision.isAdmitted && decision.retryAfterSeconds == nil && decision.remaining == 10)
    }
    let closed = Settings(size: 0, refill: 1, intervalMilliseconds: 1_000)
    #expect(TokenBucket().peek(cost: 1, closed, at: start).retryAfterSeconds == nil)
    #expect(TokenBucket().peek(cost: 0, closed, at: start).isAdmitted)
  }

  @Test("another size or refill applies immediately to what was taken before")
  func changedSettings() {
    let bucket = bucket([(0, 8)])
    let smaller = Settings(size: 5, refill: 4, intervalMilliseconds: 10_000)
    #expect(bucket.peek(cost: 1, smaller, at: start).remaining == 0)
    // Four are to come back of the eight that are missing.
    #expect(bucket.peek(cost: 1, smaller, at: start).retryAfterSeconds == 10)
    let larger = Settings(size: 20, refill: 8, intervalMilliseconds: 10_000)
    #expect(bucket.peek(cost: 12, larger, at: start).isAdmitted)
    #expect(bucket.peek(cost: 16, larger, at: start).retryAfterSeconds == 5)
  }

  // MARK: Time

  @Test("requests that arrive seconds out of order bring nothing back, and nothing is lost by them")
  func outOfOrder() {
    var bucket = bucket([(10_000, 10)])
    for at in [9_999, 7_000, 5_000] {
      #expect(!bucket.admit(cost: 1, settings, at: start + at).isAdmitted)
      #expect(bucket.peek(cost: 1, settings, at: start + at).retryAfterSeconds == (12_500 - at + 999) / 1_000)
    }
    #expect(bucket.admit(cost: 1, settings, at: start + 12_500).isAdmitted)
  }

  @Test(
    "setting the clock back brings nothing back, and the bucket fills from then on", arguments: [5_001, 86_400_000])
  func clockSetBack(_ back: Int) {
    var bucket = bucket([(0, 10)])
    let now = start - back
    #expect(bucket.admit(cost: 1, settings, at: now).retryAfterSeconds == 3)
    #expect(bucket.peek(cost: 10, settings, at: now + 2_500).remaining == 1)
    #expect(bucket.admit(cost: 10, settings, at: now + 25_000).isAdmitted)
  }

  @Test("however often the clock is set back, no more is admitted than the size and what came back", arguments: 0..<20)
  func clockSetOften(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var (bucket, uptime, offset, admitted) = (TokenBucket(), 0, 0, 0)
    for _ in 0..<3_000 {
      uptime += Int.random(in: 0...400, using: &random)
      if random.oneIn(50) { offset -= random.pick([3_000, 10_000, 3_600_000]) }
      if bucket.admit(cost: 1, settings, at: start + uptime + offset).isAdmitted { admitted += 1 }
      #expect(admitted * 10_000 <= 10 * 10_000 + 4 * uptime)
    }
    #expect(admitted > 20)
  }

  // MARK: Values from rows

  @Test("whatever numbers a row has, the bucket decides, and the times make sense")
  func typedNumbers() {
    let extremes = [0, 1, -1, 1_000_000, 1 << 31, 1 << 32, 1 << 53, .max, .max - 1, .min, .min + 1]
    var random = SeededGenerator(seed: 5)
    func pick() -> Int { random.oneIn(2) ? random.pick(extremes) : Int.random(in: .min ... .max, using: &random) }
    // The end of the year 9999, and to fill the largest bucket by one token in each interval.
    let secondsMax = Settings.sizeMax * (Settings.intervalMillisecondsMax / 1_000) + 253_402_300_800
    for _ in 0..<20_000 {
      var bucket = TokenBucket(missing: pick(), time: pick())
      let settings = Settings(size: pick(), refill: pick(), intervalMilliseconds: pick())
      let (cost, now) = (pick(), pick())
      for decision in [bucket.peek(cost: cost, settings, at: now), bucket.admit(cost: cost, settings, at: now)] {
        #expect(
          (0...settings.size).contains(decision.remaining) && (0...secondsMax).contains(decision.resetSeconds)
            && (0...decision.resetSeconds).contains(decision.retryAfterSeconds ?? 0))
      }
      _ = bucket.isFull(settings, at: pick())
    }
  }

  // MARK: Several instances

  @Test("what others took makes a bucket emptier than empty, and it takes as long to fill as if all were one bucket")
  func takenElsewhere() {
    var bucket = TokenBucket()
    bucket.take(25, settings, at: start)
    #expect(bucket.missing == 250_000)
    #expect(bucket.peek(cost: 0, settings, at: start).remaining == 0)
    // 15 more than there were: 4 come back in ten seconds.
    #expect(!bucket.peek(cost: 1, settings, at: start + 39_999).isAdmitted)
    #expect(bucket.peek(cost: 1, settings, at: start + 40_000).isAdmitted)
    var other = TokenBucket()
    other.takeAtMost(25, settings, at: start)
    #expect(other.missing == 100_000 && other.peek(cost: 1, settings, at: start + 2_500).isAdmitted)
    other.giveBack(3, settings)
    #expect(other.peek(cost: 3, settings, at: start).isAdmitted && !other.peek(cost: 4, settings, at: start).isAdmitted)
    other.giveBack(.max, settings)
    #expect(other.missing == 0)
    other.take(.max, settings, at: .max)
    other.take(.min, settings, at: .min)
    #expect(other.missing > 0)
  }

  @Test("a take that is learned late is never too little")
  func learnedLate() {
    var random = SeededGenerator(seed: 12)
    for _ in 0..<200 {
      var (exact, late, now, unlearned) = (TokenBucket(), TokenBucket(), start, 0)
      for _ in 0..<50 {
        now += Int.random(in: 0...3_000, using: &random)
        let cost = Int.random(in: 0...3, using: &random)
        exact.take(cost, settings, at: now)
        unlearned += cost
        if Int.random(in: 0..<3, using: &random) == 0 {
          late.take(unlearned, settings, at: now)
          unlearned = 0
          exact.take(0, settings, at: now)
          #expect(late.missing >= exact.missing)
        }
      }
    }
  }

  @Test("an empty bucket fills in its time, rounded up")
  func fillTime() {
    for (size, refill, interval, time) in [
      (10, 4, 10_000, 25_000), (1, 3, 1_000, 334), (1_000_000, 1, 1, 1_000_000), (1, 1_000_000, 1, 1),
    ] {
      let settings = Settings(size: size, refill: refill, intervalMilliseconds: interval)
      #expect(settings.fillMilliseconds == time)
      var bucket = TokenBucket()
      bucket.admit(cost: size, settings, at: start)
      #expect(bucket.isFull(settings, at: start + time) && !bucket.isFull(settings, at: start + time - 1))
    }
  }
}
