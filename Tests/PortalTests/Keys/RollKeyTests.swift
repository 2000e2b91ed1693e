import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Rolling a key")
struct RollKeyTests {
  private func roll(_ world: World, _ id: UUID, _ account: UUID, grace: Int = 0) async throws -> Keys.Rolled {
    try await world.keys.roll(id, of: account, graceSeconds: grace, by: World.caller)
  }

  @Test("without a grace the old key is revoked, and the new one has its settings and another secret")
  func noGrace() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let settings = KeySettings(
        name: "Key", environment: .test, scopes: ["a", "b:*"], rateLimitPerMinute: 9,
        allowedIPs: [AddressBlock("10.0.0.0/8")!], expiresAt: Date(timeIntervalSince1970: 4_000_000_000))
      let old = try await world.makeKey(account, settings)
      let rolled = try await roll(world, old.key.id, account)
      #expect(KeySettings(of: rolled.successor.key) == settings)
      #expect(rolled.successor.key.id != old.key.id)
      #expect(rolled.successor.secret.reveal() != old.secret.reveal())
      #expect(rolled.predecessor.status(at: Date()) == .revoked)
      #expect(rolled.predecessor.rolledAt != nil)
      let verifier = world.makeVerifier()
      #expect(try await verifier.verify(VerificationRequest(hash: old.secret.hash)).code == .revoked)
      let request = VerificationRequest(hash: rolled.successor.secret.hash, clientIP: AddressBlock("10.1.2.3"))
      #expect(try await verifier.verify(request).code == .valid)
      #expect(try await world.actions(on: account).filter { $0 == "key.rolled" }.count == 1)
    }
  }

  @Test("with a grace the old key lives on for that long, but never longer than it would have")
  func grace() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let soon = Date(timeIntervalSince1970: Date().timeIntervalSince1970.rounded() + 100)
      for (expiresAt, grace) in [(nil, 3_600), (soon, 3_600), (soon, 10)] {
        let old = try await world.makeKey(
          account, KeySettings(name: "Key", scopes: ["a"], expiresAt: expiresAt))
        let rolled = try await roll(world, old.key.id, account, grace: grace)
        let now = Date()
        #expect(rolled.predecessor.status(at: now) == .active)
        let remaining = try #require(rolled.predecessor.expiresAt).timeIntervalSince(now)
        #expect(remaining <= Double(grace) && remaining > Double(min(grace, 100)) - 30)
        if let expiresAt { #expect(try #require(rolled.predecessor.expiresAt) <= expiresAt) }
        #expect(rolled.successor.key.expiresAt == expiresAt)
        #expect(try await world.makeVerifier().verify(VerificationRequest(hash: old.secret.hash)).code == .valid)
      }
    }
  }

  @Test("at the cap a key can be rolled, again and again; no key more can be made")
  func atTheCap() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.type("update plans set key_cap = 2")
      var id = try await world.makeKeys(2, account)[0].key.id
      for grace in [0, 3_600, 0, 60] {
        id = try await roll(world, id, account, grace: grace).successor.key.id
        await #expect(throws: PortalError.keyCapReached(cap: 2)) { try await world.makeKey(account) }
      }
      #expect(
        try await pool.number("select count(*) from api_keys where revoked_at is null and rolled_at is null") == 2)
    }
  }

  @Test(
    "a revoked, disabled, expired or rolled key is not rolled",
    arguments: ["revoked_at = now()", "disabled_at = now()", "expires_at = now()", "rolled_at = now()"])
  func notActive(_ change: String) async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      try await pool.type("update api_keys set \(change)")
      await #expect(throws: PortalError.keyNotActive) { try await roll(world, id, account, grace: 60) }
      #expect(try await world.keys.list(of: account).items.count == 1)
    }
  }

  @Test("a key in its grace is not rolled a second time")
  func inGrace() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      _ = try await roll(world, id, account, grace: 3_600)
      await #expect(throws: PortalError.keyNotActive) { try await roll(world, id, account) }
    }
  }

  @Test("a key of a suspended account is not rolled, nor one that does not exist")
  func suspended() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      await #expect(throws: PortalError.notFound) { try await roll(world, .version7(), account) }
      try await pool.type("update accounts set suspended_at = now()")
      await #expect {
        try await roll(world, id, account)
      } throws: {
        if case PortalError.forbidden = $0 { true } else { false }
      }
    }
  }

  @Test("a hundred rolls of one key at once leave one successor", arguments: [0, 3_600])
  func concurrentRolls(_ grace: Int) async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      let outcomes = await concurrently(100) { _ in try await roll(world, id, account, grace: grace) }
      #expect(outcomes.values.count == 1)
      #expect(outcomes.count(of: .keyNotActive) == 99)
      #expect(try await pool.number("select count(*) from api_keys") == 2)
      #expect(try await world.actions(on: account).filter { $0 == "key.rolled" }.count == 1)
    }
  }

  /// Whoever wins, the key that was revoked is dead, and the trail tells what happened.
  @Test("a roll and a revocation at the same moment leave the old key dead, and at most one successor")
  func rollAgainstRevoke() async throws {
    try await withPool { pool in
      let world = World(pool)
      for round in 0..<30 {
        let account = try await world.makeAccount("ada\(round)@example.com")
        let id = try await world.makeKey(account).key.id
        async let revoking = concurrently(1) { _ in
          try await world.keys.revoke(id, of: account, by: World.caller).revokedAt
        }
        async let rolling = concurrently(1) { _ in
          try await roll(world, id, account, grace: round.isMultiple(of: 2) ? 3_600 : 0).successor.key.id
        }
        let (revoked, rolled) = await (revoking, rolling)
        #expect(revoked.values.count == 1)
        #expect(rolled.values.count + rolled.count(of: .keyNotActive) == 1)
        let keys = try await world.keys.list(of: account).items
        let old = try #require(keys.first { $0.id == id })
        #expect(old.status(at: Date()) == .revoked && old.revokedAt == revoked.values.first)
        #expect(keys.count == 1 + rolled.values.count)
        #expect(keys.filter { $0.status(at: Date()) == .active }.map(\.id) == rolled.values)
        let actions = try await world.actions(on: account)
        #expect(actions.filter { $0 == "key.rolled" }.count == rolled.values.count)
      }
    }
  }

  @Test("creates, rolls and revocations all at once never pass the cap")
  func everythingAtOnce() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.type("update plans set key_cap = 5")
      let first = try await world.makeKeys(5, account).map(\.key.id)
      let outcomes = await concurrently(60) { index in
        switch index % 3 {
        case 0: _ = try await world.makeKey(account)
        case 1: _ = try await roll(world, first[index / 3 % 5], account, grace: index % 2 * 60)
        default: _ = try await world.keys.revoke(first[index / 3 % 5], of: account, by: World.caller)
        }
        let live = try await pool.number(
          "select count(*) from api_keys where revoked_at is null and rolled_at is null")
        #expect(live <= 5)
      }
      #expect(outcomes.errors.allSatisfy { $0 is PortalError })
    }
  }
}
