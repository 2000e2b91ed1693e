import PostgresTesting
import Testing

@testable import Portal

@Suite("DatabaseTime")
struct DatabaseTimeTests {
  private static let second = 1_000_000
  private static let start = 1_800_000_000 * second

  /// A measurement of a database whose clock is `offset` ahead of the uptime, with a query that takes `there` and an
  /// answer that takes `back`.
  private func measurement(at sentAt: Int, offset: Int, there: Int = 0, back: Int = 0) -> DatabaseTime.Measurement {
    .init(sentAt: sentAt, time: sentAt + there + offset, receivedAt: sentAt + there + back)
  }

  @Test("the first measurement replaces the guess, with an error of at most half of its round trip")
  func first() {
    for (there, back) in [(0, 0), (0, 400_000), (400_000, 0), (200_000, 200_000), (3, 10)] {
      var time = DatabaseTime(offset: 7)
      #expect(!time.isMeasured && time.isStale(at: 0))
      let moved = time.take(measurement(at: 100, offset: Self.start, there: there, back: back), at: 500_000)
      #expect(moved == 0 && time.isMeasured && !time.isStale(at: 500_000))
      #expect(abs(time.offset - Self.start) <= (there + back) / 2 + 1)
      #expect(time.expiryTime(at: 0) == time.time(at: 0), "no time of the guess counts")
    }
  }

  @Test("a measurement that agrees with the estimate changes nothing, however long its round trip was")
  func agreeing() {
    var time = DatabaseTime(offset: 0)
    _ = time.take(measurement(at: 0, offset: Self.start), at: 0)
    let before = time.offset
    for (there, back) in [(0, 5 * Self.second), (5 * Self.second, 0), (20, 30)] {
      #expect(time.take(measurement(at: 10, offset: Self.start, there: there, back: back), at: 10) == 0)
      #expect(time.offset == before)
    }
  }

  @Test("any other moves it as little as possible, so that a fast answer refines what a slow one left open")
  func corrected() {
    var time = DatabaseTime(offset: 0)
    _ = time.take(measurement(at: 0, offset: Self.start, there: 0, back: 400_000), at: 400_000)
    #expect(abs(time.offset - Self.start) == 200_000)
    _ = time.take(measurement(at: 800_000, offset: Self.start, there: 100, back: 200), at: 800_300)
    #expect(abs(time.offset - Self.start) <= 300)
  }

  @Test("it is stale after a minute without a measurement")
  func stale() {
    var time = DatabaseTime(offset: 0)
    _ = time.take(measurement(at: 5, offset: Self.start), at: 5)
    #expect(!time.isStale(at: 60 * Self.second + 5) && time.isStale(at: 60 * Self.second + 6))
  }

  @Test("times outside the calendar are bounded")
  func bounds() {
    for wrong in [Int.min, -1, .max] {
      var time = DatabaseTime(offset: Self.start)
      for uptime in [0, Self.second, 2 * Self.second] {
        _ = time.take(.init(sentAt: uptime, time: wrong, receivedAt: uptime), at: uptime)
        #expect((-10 * Self.second...253_402_300_802 * Self.second).contains(time.time(at: uptime)))
      }
    }
  }

  @Test(
    """
    while the database's clock drifts and is set forward and back, an estimate after a measurement is wrong by \
    its round trip at most, and the time for expiry never goes back
    """,
    arguments: 0..<30)
  func model(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var time = DatabaseTime(offset: Int.random(in: 0...2 * Self.start, using: &random))
    var (uptime, offset, jumpCount, expiry) = (0, Self.start, 0, 0)
    for number in 0..<2_000 {
      if number > 0, Int.random(in: 0..<20, using: &random) == 0 {
        offset += Int.random(in: -4_000...4_000, using: &random) * Self.second
        jumpCount += 1
      }
      // Half a part in a thousand, as when a clock is slewed.
      offset += Int.random(in: -200...200, using: &random)
      let there = Int.random(in: 0...50_000, using: &random)
      let back = Int.random(in: 0...50_000, using: &random)
      let asked = measurement(at: uptime, offset: offset, there: there, back: back)
      uptime += there + back + Int.random(in: 0...20, using: &random)
      let before = time.time(at: uptime)
      let moved = time.take(asked, at: uptime)
      #expect(number == 0 || time.time(at: uptime) - before == moved)
      #expect(abs(time.offset - offset) <= there + back + 1)
      for _ in 0..<3 {
        let told = time.expiryTime(at: uptime)
        #expect(told >= max(expiry, time.time(at: uptime)))
        expiry = told
        uptime += Int.random(in: 0...130_000, using: &random)
      }
    }
    #expect(jumpCount > 50)
  }

  @Test("once a clock that was set back has caught up, expiry is judged by it again")
  func caughtUp() {
    var time = DatabaseTime(offset: 0)
    _ = time.take(measurement(at: 0, offset: Self.start), at: 0)
    #expect(time.take(measurement(at: Self.second, offset: Self.start - 30 * Self.second), at: Self.second) < 0)
    #expect(abs(time.expiryTime(at: Self.second) - Self.start - Self.second) <= 2)
    #expect(abs(time.expiryTime(at: 20 * Self.second) - Self.start - Self.second) <= 2)
    #expect(time.expiryTime(at: 32 * Self.second) == time.time(at: 32 * Self.second))
  }
}

extension DatabaseTime {
  /// The time that expiry is judged by, as in a ``Moment``.
  fileprivate func expiryTime(at uptime: Int) -> Int { max(time(at: uptime), latest) }
}
