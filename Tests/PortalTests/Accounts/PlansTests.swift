import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Plans")
struct PlansTests {
  private static let reason = SupportReason(text: "asked for it")
  private static let small = Plan(name: "small", keyCap: 3, scopes: ["orders:*"], rateLimitPerMinuteMax: 60)

  @Test("creating, changing and assigning a plan takes effect and is recorded; repeating it does nothing")
  func assign() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.plans.set(Self.small, by: World.caller)
      var longer = Self.small
      longer.maxKeyLifetimeDays = 30
      _ = try await world.plans.set(longer, by: World.caller)
      #expect(try await world.plans.list().map(\.name) == ["default", "external", "small"])
      #expect(try await world.plans.list().last == longer)
      for _ in 1...2 {
        let assigned = try await world.plans.assign("small", to: account, by: World.caller, Self.reason).account
        #expect(assigned.plan == longer)
      }
      #expect(try await world.actions(on: account) == ["account.created", "account.plan_changed"])
      let before = try await pool.number("select seq from invalidation_head")
      _ = try await world.plans.set(longer, by: World.caller)
      #expect(try await pool.number("select seq from invalidation_head") == before)
      await #expect(throws: PortalError.invalid(.plan, "is not the name of a plan")) {
        try await world.plans.assign("big", to: account, by: World.caller, Self.reason)
      }
      await #expect(throws: PortalError.notFound) {
        try await world.plans.assign("small", to: .version7(), by: World.caller, Self.reason)
      }
    }
  }

  /// A request that waits for the account's lock must see the plan that was assigned in the meantime.
  @Test("keys created while the account gets a smaller plan are within one of the two plans, and no request fails")
  func createMeanwhile() async throws {
    try await withPool { pool in
      let world = World(pool)
      _ = try await world.plans.set(Self.small, by: World.caller)
      for round in 0..<5 {
        let account = try await world.makeAccount("ada\(round)@example.com")
        let outcomes = await concurrently(41) { index -> Int in
          if index == 20 {
            _ = try await world.plans.assign("small", to: account, by: World.caller, Self.reason)
            return 0
          }
          try await world.makeKey(account)
          return 1
        }
        let refused = outcomes.count(of: .keyCapReached(cap: 3)) + outcomes.count(of: .keyCapReached(cap: 25))
        #expect(outcomes.values.count + refused == 41, "\(outcomes.errors)")
        // The id of each event is generated while the account is locked.
        let actions = try await world.actions(on: account)
        let change = try #require(actions.firstIndex(of: "account.plan_changed"))
        let (before, after) = (change - 1, actions.count - 1 - change)
        #expect(before <= 25 && after <= max(0, 3 - before), "\(before) keys before, \(after) after")
        await #expect(throws: PortalError.keyCapReached(cap: 3)) {
          for _ in 0..<4 { try await world.makeKey(account) }
        }
      }
    }
  }

  @Test("once a lower cap of a plan is committed, no key is created beyond it")
  func lowerCap() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      async let creating = concurrently(60) { _ in try await world.makeKey(account).key.id }
      try await pool.script("update plans set key_cap = 2")
      let after = await concurrently(20) { _ in try await world.makeKey(account).key.id }
      let before = await creating
      #expect(before.errors.allSatisfy { if case PortalError.keyCapReached = $0 { true } else { false } })
      #expect(after.values.count <= 2)
      await #expect(throws: PortalError.keyCapReached(cap: 2)) {
        for _ in 0..<3 { try await world.makeKey(account) }
      }
    }
  }

  @Test("a key past its plan's maximum lifetime is listed as expired, and does not count towards the cap")
  func lifetime() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      try await pool.script(
        """
        update api_keys set created_at = now() - interval '8 days';
        update plans set key_cap = 1, max_key_lifetime_days = 9
        """
      )
      let found = try await world.keys.find(id, of: account)
      #expect(found.status(at: Date()) == .active && found.expiresAt == nil)
      #expect(abs(try #require(found.effectiveExpiresAt).timeIntervalSinceNow - 86_400) < 60)
      let soon = KeySettings(name: "Key", scopes: ["a"], expiresAt: Date().addingTimeInterval(60))
      await #expect(throws: PortalError.keyCapReached(cap: 1)) { try await world.makeKey(account, soon) }
      try await pool.script("update plans set max_key_lifetime_days = 8")
      #expect(try await world.keys.find(id, of: account).status(at: Date()) == .expired)
      #expect(try await world.keys.list(of: account, KeyFilter(status: .expired)).items.map(\.id) == [id])
      #expect(try await world.keys.list(of: account, KeyFilter(status: .active)).items.isEmpty)
      try await world.makeKey(account, soon)
    }
  }
}
