import Foundation
import Testing

@testable import Portal

@Suite("RateLimitWindows")
struct RateLimitWindowsTests {
  private static let now = 1_700_000_000_000
  private static let allowance = RateLimitAllowance()
  private var windows = RateLimitWindows(isAccount: false)

  private func minute(_ number: Int, _ mode: RateLimitMode = .fast) -> AppliedLimit {
    AppliedLimit(.ofKey(perMinute: 100), mode, of: .numbered(number))
  }

  private func hour(_ number: Int) -> AppliedLimit {
    AppliedLimit(RateLimit(name: "hour", limit: 100, windowSeconds: 3_600), .fast, of: .numbered(number))
  }

  private mutating func admit(_ limit: AppliedLimit, at now: Int = now) -> Int? {
    windows.admit(limit, cost: 1, Self.allowance, at: now)?.standing.window.remaining
  }

  @Test("limits of different keys, names and modes have windows of their own")
  mutating func apart() {
    for limit in [minute(1), minute(2), hour(1), minute(1, .consistent)] {
      #expect(admit(limit) == 99)
      #expect(admit(limit) == 98)
    }
  }

  @Test("a window takes 40 bytes, so that one with its ID fits into a cache line")
  func size() {
    #expect(MemoryLayout<SharedWindow>.stride == 40)
  }

  @Test("windows that are over make room for others, and are looked for at most once a second")
  mutating func room() {
    for number in 1...3 { _ = admit(minute(number)) }
    var rooms: [Bool] = []
    for (count, later) in [(0, 0), (1, 99_500), (1, 100_000), (3, 100_500)] {
      rooms.append(windows.hasRoom(for: count, of: 3, at: Self.now + later))
    }
    // At the third time they are over, but were looked at half a second ago.
    #expect(rooms == [true, false, false, true])
    #expect(!windows.has(minute(1).window))
  }

  @Test("the windows of a minute wait until they are asked for, the others are taken once")
  mutating func queues() {
    for number in 1...3 {
      _ = admit(minute(number))
      _ = admit(hour(number))
      _ = admit(hour(number))
    }
    #expect(windows.takeQueued(2, withShort: false).map(\.0.subject) == [.numbered(1), .numbered(2)])
    #expect(windows.takeQueued(5, withShort: false).map(\.0.subject) == [.numbered(3)])
    #expect(windows.takeQueued(5, withShort: false).isEmpty)
    _ = admit(hour(2))
    let taken = windows.takeQueued(3, withShort: true)
    #expect(taken.map(\.0.subject) == [.numbered(2), .numbered(1), .numbered(2)])
    #expect(taken.map(\.1.own.current) == [3, 1, 1])
    #expect(windows.takeQueued(5, withShort: true).map(\.0.subject) == [.numbered(3)])
  }

  @Test("a window that could not be published is queued again")
  mutating func failed() {
    _ = admit(hour(1))
    let taken = windows.takeQueued(1, withShort: false)
    for (id, publication) in taken { windows.exchanged(id, publication, others: nil, at: Self.now) }
    #expect(windows.takeQueued(1, withShort: false).map(\.0) == taken.map(\.0))
  }

  @Test("a sweep forgets windows that are over, and keeps the others with what they have to publish")
  mutating func sweep() {
    for number in 0..<5_000 { _ = admit(minute(number)) }
    for number in 0..<100 { _ = admit(hour(number)) }
    let later = Self.now + 10 * 60_000
    windows.sweepIfLarge(at: later)
    #expect(admit(hour(7), at: later) == 98)
    #expect(admit(minute(7), at: later) == 99)
    #expect(windows.takeQueued(10_000, withShort: true).count == 101)
  }

  @Test("ten thousand windows are found by their IDs, in any order, and after sweeps")
  mutating func many() {
    for round in 1...3 {
      for number in (0..<10_000).shuffled() {
        #expect(admit(minute(number)) == 100 - round)
        windows.sweepIfLarge(at: Self.now)
      }
    }
  }
}
