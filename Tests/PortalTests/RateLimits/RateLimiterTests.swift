import Foundation
import Testing

@testable import Portal

@Suite("RateLimiter")
struct RateLimiterTests {
  /// The beginning of a minute.
  private let start = Date(timeIntervalSince1970: 1_800_000_000)
  private let limiter = RateLimiter()

  private func admits(_ key: UUID, limit: Int = 10, after seconds: Double = 0, cost: Int = 1) -> Bool {
    limiter.admit(key, cost: cost, limitPerMinute: limit, at: start.addingTimeInterval(seconds)).isAdmitted
  }

  private func remaining(_ key: UUID, limit: Int = 10, after seconds: Double = 0) -> Int {
    limiter.peek(key, limitPerMinute: limit, at: start.addingTimeInterval(seconds)).remaining
  }

  @Test("a key has its limit each minute, and another key, also in the same shard, has its own")
  func independent() {
    let keys = (0..<64).map { _ in UUID.version7() }
    for key in keys {
      for _ in 0..<10 { #expect(admits(key)) }
      #expect(!admits(key))
    }
    #expect(keys.allSatisfy { remaining($0) == 0 && remaining($0, after: 120) == 10 })
    #expect(admits(.version7()))
  }

  @Test("a thousand requests at once are admitted to the limit and not one beyond")
  func concurrent() async {
    let keys = (0..<4).map { _ in UUID.version7() }
    let outcomes = await concurrently(1_000) { index in
      self.admits(keys[index % 4], limit: 37) ? index % 4 : nil
    }
    for number in 0..<4 { #expect(outcomes.values.count { $0 == number } == 37) }
  }

  @Test("looking takes nothing, and remembers no key")
  func peek() {
    let key = UUID.version7()
    for _ in 0..<100 { #expect(remaining(key) == 10) }
    #expect(admits(key, cost: 10))
    #expect(!limiter.peek(key, limitPerMinute: 9, at: start).isAdmitted)
    #expect(limiter.peek(key, limitPerMinute: 10, at: start).isAdmitted)
  }

  @Test("a changed limit holds from the next request on, up and down")
  func changedLimit() {
    let key = UUID.version7()
    #expect(admits(key, limit: 10, cost: 10))
    #expect(!admits(key, limit: 10))
    #expect(admits(key, limit: 12, cost: 2))
    #expect(!admits(key, limit: 5))
    #expect(remaining(key, limit: 5) == 0 && remaining(key, limit: 20) == 8)
  }

  /// A swept window shows itself if the clock is set back: without the sweep, the key would be at its limit still.
  @Test("however many keys come and go, no more are remembered than twice those in use and a fixed number")
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

  @Test("sweeping forgets no window that still counts")
  func sweepKeepsLive() {
    let keys = (0..<100_000).map { _ in UUID.version7() }
    for key in keys { #expect(admits(key, limit: 1)) }
    #expect(keys.allSatisfy { !admits($0, limit: 1, after: 59) })
  }
}
