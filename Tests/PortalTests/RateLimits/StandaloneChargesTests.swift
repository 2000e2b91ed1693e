import Foundation
import PortalTesting
import Postgres
import Synchronization
import Testing

@testable import Portal

@Suite("Charges to standalone limits")
struct StandaloneChargesTests {
  private static let now = 1_800_000_000_000
  private let limiter = RateLimiter()

  private func charge(
    _ cost: Int = 1, of limit: Int = 10, to subject: Int = 1, milliseconds: Int = 60_000
  ) -> LimitCharge {
    LimitCharge(cost, from: WindowLimit(limit: limit, windowMilliseconds: milliseconds), of: .numbered(subject))
  }

  /// Whether each of the charges fits.
  private func take(_ charges: LimitCharge..., at now: Int = now) throws -> [Bool] {
    try #require(try limiter.take(charges, at: now)).map(\.window.isAdmitted)
  }

  private func remaining(_ charge: LimitCharge) throws -> Int {
    let free = LimitCharge(0, from: charge.applied.windowLimit, of: charge.applied.window.subject)
    return try #require(try limiter.take([free], at: Self.now)?.first).window.remaining
  }

  @Test("a subject is counted by itself and by the length of the window, whatever the limit")
  func apart() throws {
    for _ in 0..<10 { #expect(try take(charge()) == [true]) }
    #expect(try take(charge()) == [false])
    #expect(try take(charge(of: 11)) == [true])
    #expect(try take(charge(to: 2)) == [true])
    #expect(try take(charge(milliseconds: 61_000)) == [true])
    #expect(try take(charge(), at: Self.now + 120_000) == [true])
  }

  @Test("a cost of 0 takes nothing, and a limit of 0 refuses whatever costs something")
  func zero() throws {
    for _ in 0..<20 { #expect(try take(charge(0)) == [true]) }
    #expect(try remaining(charge()) == 10)
    #expect(try take(charge(of: 0, to: 2)) == [false])
    #expect(try take(charge(0, of: 0, to: 2)) == [true])
  }

  @Test("one that does not fit takes nothing from any, and the others say that they would fit")
  func allOrNone() throws {
    _ = try take(charge(8, to: 7))
    let charges = (1...100).map { charge(3, to: $0) }
    let standings = try #require(try limiter.take(charges, at: Self.now))
    #expect(standings.map(\.window.isAdmitted) == (1...100).map { $0 != 7 })
    #expect(standings.map(\.window.remaining) == (1...100).map { $0 == 7 ? 2 : 10 })
    for subject in 1...100 { #expect(try remaining(charge(to: subject)) == (subject == 7 ? 2 : 10)) }
    let others = charges.filter { $0.applied.window.subject != .numbered(7) }
    #expect(try limiter.take(others, at: Self.now)?.allSatisfy { $0.window.remaining == 7 } == true)
  }

  @Test("several charges from one window count together, each with those before it that fit")
  func repeated() throws {
    #expect(try take(charge(4), charge(4), charge(4)) == [true, true, false])
    #expect(try remaining(charge()) == 10)
    #expect(try take(charge(8), charge(4), charge(2)) == [true, false, true])
    #expect(try remaining(charge()) == 10)
    #expect(try take(charge(4), charge(4), charge(2)) == [true, true, true])
    #expect(try remaining(charge()) == 0)
    // Of different limits for the same window, each has its own maximum.
    #expect(try take(charge(2, of: 10, to: 2), charge(2, of: 3, to: 2)) == [true, false])
  }

  @Test("concurrent lists in any order take exactly the limit, and never wait for each other for ever")
  func concurrent() async throws {
    for round in 0..<20 {
      let outcomes = await concurrently(300) { index in
        var charges = (0..<20).map { charge(of: 37, to: round * 20 + $0) }
        if index % 2 == 0 { charges.reverse() }
        return try limiter.take(charges, at: Self.now)?.allSatisfy(\.window.isAdmitted) == true
      }
      #expect(outcomes.errors.isEmpty)
      #expect(outcomes.values.count { $0 } == 37)
    }
  }

  /// As much as one instance of two takes by itself.
  private func makeLimits(_ pool: PostgresPool) -> RateLimits {
    let limiter = RateLimiter()
    limiter.instanceCount = 2
    return RateLimits(pool: pool, limiter: limiter, instanceID: .version7(), observer: Observer([]))
  }

  @Test("two instances exceed a small limit by two at most, and use all of it")
  func exchange() async throws {
    try await withPool { pool in
      let instances = [makeLimits(pool), makeLimits(pool)]
      var count = 0
      let charge = charge(of: 20, milliseconds: 86_400_000)
      for number in 0..<60 where try await instances[number % 2].take([charge])[0].window.isAdmitted { count += 1 }
      #expect((20...22).contains(count))
    }
  }

  @Test("a list that repeats a window is decided after an exchange, also if it takes more than an instance's share")
  func repeatedOnTwo() async throws {
    try await withPool { pool in
      let limits = makeLimits(pool)
      let day = 86_400_000
      for _ in 0..<2 {
        let standings = try await limits.take((0..<5).map { _ in charge(of: 12, milliseconds: day) })
        #expect(standings.map(\.window.isAdmitted) == Array(repeating: true, count: 5))
      }
      #expect(try await limits.take([charge(3, of: 12, milliseconds: day)])[0].window.remaining == 2)
    }
  }

  @Test("in the mode consistent, concurrent charges on two instances take exactly the limit")
  func consistent() async throws {
    try await withPool { pool in
      let instances = [makeLimits(pool), makeLimits(pool)]
      let limit = WindowLimit(limit: 31, windowMilliseconds: 86_400_000)
      let outcomes = await concurrently(100) { index in
        try await instances[index % 2].takeConsistently(
          LimitCharge(1, from: limit, of: .numbered(1), .consistent)
        ).window
      }
      #expect(outcomes.errors.isEmpty)
      #expect(outcomes.values.count { $0.isAdmitted } == 31)
      #expect(outcomes.values.filter(\.isAdmitted).map(\.remaining).sorted() == Array(0..<31))
    }
  }
}

extension AppliedLimit {
  fileprivate var windowLimit: WindowLimit {
    WindowLimit(limit: limit.limit, windowMilliseconds: limit.windowSeconds * 1_000)
  }
}
