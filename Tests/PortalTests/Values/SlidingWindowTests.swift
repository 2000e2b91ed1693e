import Foundation
import PostgresTesting
import Testing

@testable import Portal

/// Every admitted request with its time, of which `SlidingWindow` keeps two sums.
private struct EventLog {
  let length: Int
  var admitted: [(at: Int, cost: Int)] = []

  func cost(from start: Int, to end: Int) -> Int {
    admitted.reduce(0) { $0 + ($1.at >= start && $1.at < end ? $1.cost : 0) }
  }

  /// The cost in the current fixed window, and the part of the previous one that a sliding window still covers, rounded
  /// up.
  func used(at now: Int) -> Int {
    let start = now / length * length
    let before = cost(from: start - length, to: start)
    let share = (Double(before) * Double(length - (now - start)) / Double(length)).rounded(.up)
    return cost(from: start, to: start + length) + Int(share)
  }

  /// The maximum within any window of this length, wherever it begins.
  var worst: Int { admitted.map { cost(from: $0.at, to: $0.at + length) }.max() ?? 0 }
}

@Suite("SlidingWindow")
struct SlidingWindowTests {
  /// A multiple of ten seconds: the start of a fixed window.
  private let start = 1_800_000_000_000

  /// A window of ten seconds in which `costs` were used, each at this many milliseconds from the start.
  private func window(_ costs: [(at: Int, cost: Int)] = [], limit: Int = 1_000) -> SlidingWindow {
    var window = SlidingWindow(seconds: 10)
    for (at, cost) in costs { #expect(window.admit(cost: cost, limit: limit, at: start + at).isAdmitted) }
    return window
  }

  private func remaining(_ window: SlidingWindow, at: Int, limit: Int = 100) -> Int {
    window.peek(cost: 0, limit: limit, at: start + at).remaining
  }

  // MARK: Against the log

  @Test("in random histories, admits and refuses what a log of every event would", arguments: 0..<20)
  func agreesWithLog(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var (window, log) = (SlidingWindow(seconds: 10), EventLog(length: 10_000))
    let limit = Int.random(in: 1...30, using: &random)
    let pauseMax = [40, 400, 4_000, 12_000][seed % 4]
    var now = start + Int.random(in: 0..<10_000, using: &random)
    var refusedCount = 0
    for _ in 0..<600 {
      now += Int.random(in: 0...pauseMax, using: &random)
      let cost = Int.random(in: 1...3, using: &random)
      let isAdmitted = log.used(at: now) + cost <= limit
      let peeked = window.peek(cost: cost, limit: limit, at: now)
      let decision = window.admit(cost: cost, limit: limit, at: now)
      #expect(decision.isAdmitted == isAdmitted && peeked.isAdmitted == isAdmitted)
      #expect(peeked.remaining == max(0, limit - log.used(at: now)))
      if isAdmitted { log.admitted.append((now, cost)) } else { refusedCount += 1 }
      #expect(decision.remaining == max(0, limit - log.used(at: now)))
      #expect(log.cost(from: now / 10_000 * 10_000, to: now + 1) <= limit)
    }
    // The price of using two integers: a burst at the end of one window and a full next one are both within 10 seconds.
    #expect(log.worst < 2 * limit)
    #expect(pauseMax > 400 || refusedCount > 0)
  }

  @Test("whatever the pattern, even one request per millisecond, a long run admits the limit per window on average")
  func flood() {
    var window = window()
    var log = EventLog(length: 10_000)
    for at in 0..<60_000 where window.admit(cost: 1, limit: 50, at: start + at).isAdmitted {
      log.admitted.append((start + at, 1))
    }
    #expect((250...300).contains(log.admitted.count))
    #expect(log.worst < 100)
  }

  // MARK: Refusals

  @Test("a refused request takes nothing, however often it is repeated, and a cheaper one still fits")
  func refusedTakesNothing() {
    var window = window([(0, 95)])
    let before = window
    for at in 0..<100 { #expect(!window.admit(cost: 6, limit: 100, at: start + at).isAdmitted) }
    #expect(window == before)
    #expect(
      window.admit(cost: 5, limit: 100, at: start + 100)
        == SlidingWindow.Decision(
          isAdmitted: true, limit: 100, remaining: 0, resetSeconds: 10, retryAfterSeconds: 0))
  }

  @Test("a request that costs more than the limit is never admitted and gets no retry time, whatever was used")
  func tooExpensive() {
    let histories: [[(at: Int, cost: Int)]] = [[], [(0, 60)], [(0, 100)]]
    for used in histories {
      var window = window(used, limit: 100)
      for at in [0, 5_000, 10_000] {
        for cost in [101, 1_000] {
          let decision = window.admit(cost: cost, limit: 100, at: start + at)
          #expect(!decision.isAdmitted && decision.retryAfterSeconds == nil)
          #expect(decision.remaining == remaining(window, at: at))
        }
        // A limit that was lowered below the cost.
        #expect(window.peek(cost: 60, limit: 59, at: start + at).retryAfterSeconds == nil)
        #expect(window.peek(cost: 0, limit: 100, at: start + at).retryAfterSeconds == 0)
      }
    }
    var window = window()
    #expect(window.admit(cost: 100, limit: 100, at: start).retryAfterSeconds == 0)
    #expect(window.admit(cost: 100, limit: 100, at: start).retryAfterSeconds == 20)
  }

  @Test("after the retry time the same request is admitted, and a second earlier it is not", arguments: 0..<20)
  func retryAfter(_ seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    var checkedCount = 0
    for _ in 0..<300 {
      var window = SlidingWindow(seconds: 10)
      let limit = Int.random(in: 1...40, using: &random)
      var now = start + Int.random(in: 0..<10_000, using: &random)
      for _ in 0..<30 {
        window.admit(cost: Int.random(in: 1...5, using: &random), limit: limit, at: now)
        now += Int.random(in: 0...1_500, using: &random)
      }
      let cost = Int.random(in: 1...limit, using: &random)
      // A limit may have been lowered since, to below what was used.
      let newLimit = Int.random(in: cost...limit, using: &random)
      let refusal = window.peek(cost: cost, limit: newLimit, at: now)
      guard !refusal.isAdmitted else { continue }
      let seconds = try #require(refusal.retryAfterSeconds)
      #expect((1...20).contains(seconds))
      #expect(window.peek(cost: cost, limit: newLimit, at: now + seconds * 1_000).isAdmitted)
      if seconds > 1 {
        #expect(!window.peek(cost: cost, limit: newLimit, at: now + (seconds - 1) * 1_000).isAdmitted)
      }
      checkedCount += 1
    }
    #expect(checkedCount > 20)
  }

  // MARK: Time

  @Test("a full window slides out evenly over the next one")
  func slidesOut() {
    let window = window([(9_999, 100)])
    for (at, free) in [(9_999, 0), (10_000, 0), (10_001, 0), (10_100, 1), (15_000, 50), (19_899, 98), (19_999, 99)] {
      #expect(remaining(window, at: at) == free, "at \(at)")
    }
    #expect(remaining(window, at: 20_000) == 100)
  }

  @Test("the reset time is the end of the fixed window, rounded up to whole seconds")
  func reset() {
    for (at, seconds) in [(0, 10), (1, 10), (1_000, 9), (9_000, 1), (9_999, 1), (10_000, 10)] {
      #expect(window().peek(cost: 1, limit: 1, at: start + at).resetSeconds == seconds, "at \(at)")
    }
  }

  @Test("used cost counts until the end of the next window, and not at all after a longer pause")
  func idle() {
    let window = window([(0, 60)])
    #expect(remaining(window, at: 9_999) == 40)
    #expect(remaining(window, at: 19_999) == 99)
    for at in [20_000, 29_999, 1_000_000] { #expect(remaining(window, at: at) == 100) }
    #expect(!window.isOver(at: start + 19_999))
    #expect(window.isOver(at: start + 20_000))
  }

  @Test("requests that arrive seconds out of order do not move the window")
  func outOfOrder() {
    var window = window([(0, 70), (10_000, 20)])
    for at in [9_999, 8_000, 5_000] {
      let decision = window.admit(cost: 11, limit: 100, at: start + at)
      #expect(!decision.isAdmitted && decision.remaining == 10 && decision.resetSeconds == 10)
    }
    #expect(window.admit(cost: 45, limit: 100, at: start + 15_000).remaining == 0)
  }

  @Test(
    "setting the clock back frees nothing, and used cost is forgotten within two windows",
    arguments: [9_000, 15_000, 30_000, 3_600_000, 86_400_000])
  func clockSetBack(_ back: Int) {
    var window = window([(0, 70), (10_000, 20)])
    let now = 12_000 - back
    #expect(window.admit(cost: 11, limit: 100, at: start + now).isAdmitted == false)
    #expect(remaining(window, at: now) <= 24, "not more than before")
    #expect(!window.isOver(at: start + now))
    let refused = window.peek(cost: 100, limit: 100, at: start + now)
    #expect((1...20).contains(refused.retryAfterSeconds ?? 0))
    #expect(remaining(window, at: now + 20_000) == 100)
    #expect(window.admit(cost: 100, limit: 100, at: start + now + 20_000).isAdmitted)
    #expect(!window.admit(cost: 1, limit: 100, at: start + now + 20_000).isAdmitted)
  }

  @Test(
    "however often the clock is set back, less than twice the limit is admitted in a window's time", arguments: 0..<20)
  func clockSetOften(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var window = window()
    // By a clock that is never set; only requests within a window's time are kept.
    var log = EventLog(length: 10_000)
    var (uptime, offset, jumpCount, admittedCount) = (start, 0, 0, 0)
    for _ in 0..<6_000 {
      uptime += Int.random(in: 0...40, using: &random)
      if Int.random(in: 0..<300, using: &random) == 0 {
        offset -= Int.random(in: 0...100_000, using: &random)
        jumpCount += 1
      }
      guard window.admit(cost: 1, limit: 50, at: uptime + offset).isAdmitted else { continue }
      log.admitted.removeAll { $0.at <= uptime - 10_000 }
      log.admitted.append((uptime, 1))
      admittedCount += 1
      #expect(log.admitted.count < 2 * 50)
    }
    #expect(jumpCount > 5 && admittedCount > 100)
  }

  @Test("a raised or lowered limit applies immediately to what was used before")
  func changedLimit() {
    var window = window([(0, 50)])
    #expect(!window.peek(cost: 1, limit: 50, at: start).isAdmitted)
    #expect(window.peek(cost: 1, limit: 51, at: start).isAdmitted)
    #expect(
      window.admit(cost: 1, limit: 10, at: start)
        == SlidingWindow.Decision(
          isAdmitted: false, limit: 10, remaining: 0, resetSeconds: 10, retryAfterSeconds: 19))
  }

  // MARK: Values from rows

  @Test("whatever numbers a row has, its window decides, and the retry time makes sense")
  func typedNumbers() {
    let extremes = [0, 1, -1, 60, 86_400, 1 << 31, 1 << 32, 1 << 53, .max, .max - 1, .min, .min + 1]
    var random = SeededGenerator(seed: 4)
    func pick() -> Int {
      Bool.random(using: &random)
        ? extremes.randomElement(using: &random) ?? 0 : Int.random(in: .min ... .max, using: &random)
    }
    for _ in 0..<20_000 {
      var window = SlidingWindow(seconds: pick(), index: pick(), current: pick(), previous: pick())
      let limit = Int.random(in: 0...Int(Int32.max), using: &random)
      let now = Int.random(in: 0...253_402_300_799_999, using: &random)
      for decision in [
        window.peek(cost: 1_000, limit: limit, at: now), window.decision(false, cost: 1, limit: limit, at: now),
        window.admit(cost: 1, limit: limit, at: now),
      ] {
        #expect((0...limit).contains(decision.remaining))
        #expect((0...2 * 3_660 * 86_400).contains(decision.retryAfterSeconds ?? 0))
      }
      _ = window.isOver(at: now)
    }
  }

  @Test("a window of less than a second, or of more than ten years, is one of a second, or of ten years")
  func typedLengths() {
    let tenYears = 3_660 * 86_400_000
    for (length, bounded) in [
      (0, 1_000), (-5, 1_000), (.min, 1_000), (999, 1_000), (1_001, 1_001), (tenYears, tenYears),
      (tenYears + 1, tenYears), (.max, tenYears),
    ] { #expect(SlidingWindow.bounded(length: length) == bounded) }
    for (seconds, milliseconds) in [(0, 1_000), (.min, 1_000), (86_401, 86_401_000), (.max, tenYears)] {
      #expect(SlidingWindow.milliseconds(seconds) == milliseconds)
    }
  }

  @Test("milliseconds of a date are whole ones, rounded down")
  func milliseconds() {
    #expect(Date(timeIntervalSince1970: 1_800_000_000.125).milliseconds == 1_800_000_000_125)
    #expect(Date(timeIntervalSince1970: 0.0009).milliseconds == 0)
    for seconds in [Double.infinity, -.infinity, .nan, 1e300] {
      #expect((-(1 << 53)...(1 << 53)).contains(Date(timeIntervalSince1970: seconds).milliseconds))
    }
  }
}
