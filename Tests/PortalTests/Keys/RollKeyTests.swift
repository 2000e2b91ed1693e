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

  @Test("without a grace the old key is revoked, and the new key has its settings and a different secret")
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

  @Test("with a grace the old key stays valid for that long, but never longer than it would have been")
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

  @Test("at the cap a key can be rolled repeatedly, but no key can be created")
  func atTheCap() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.script("update plans set key_cap = 2")
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
    "a revoked, disabled, expired or rolled key cannot be rolled",
    arguments: ["revoked_at = now()", "disabled_at = now()", "expires_at = now()", "rolled_at = now()"])
  func notActive(_ change: String) async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      try await pool.script("update api_keys set \(change)")
      await #expect(throws: PortalError.keyNotActive) { try await roll(world, id, account, grace: 60) }
      #expect(try await world.keys.list(of: account).items.count == 1)
    }
  }

  @Test("a key in its grace cannot be rolled again")
  func inGrace() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      _ = try await roll(world, id, account, grace: 3_600)
      await #expect(throws: PortalError.keyNotActive) { try await roll(world, id, account) }
    }
  }

  // MARK: One predecessor

  /// Keys that verification would accept.
  private func workingCount(_ pool: PostgresPool) async throws -> Int {
    try await pool.number(
      "select count(*) from api_keys where revoked_at is null and coalesce(expires_at, 'infinity') > now()")
  }

  @Test("149 rolls of a key with the longest grace leave two working keys: each roll ends the previous grace")
  func oneInGrace() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      var keys = [try await world.makeKey(account)]
      for number in 0..<149 {
        let rolled = try await roll(world, keys[number].key.id, account, grace: Key.graceSecondsMax)
        keys.append(rolled.successor)
        #expect(rolled.predecessor.status(at: Date()) == .active)
        #expect(rolled.ended.map(\.id) == (number == 0 ? [] : [keys[number - 1].key.id]))
        #expect(rolled.ended.allSatisfy { $0.status(at: Date()) == .revoked && $0.rolledAt != nil })
      }
      #expect(try await workingCount(pool) == 2)
      let verifier = world.makeVerifier()
      for (number, key) in keys.enumerated().suffix(4) {
        let code = try await verifier.verify(VerificationRequest(hash: key.secret.hash)).code
        #expect(code == (number < 148 ? .revoked : .valid), "\(number)")
      }
      let events = try await pool.lines(
        "select concat_ws(' ', target_id, reason, detail) from audit_events where action = 'key.revoked' order by seq")
      #expect(events == keys.prefix(148).map { "\($0.key.id.text) Its successor was rolled." })
      #expect(try await AuditChains(pool: pool).verify { _ in }.isIntact)
    }
  }

  @Test("a roll without a grace also revokes the key in its grace, even if that key is disabled")
  func endedInAnyCase() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      for isDisabled in [false, true] {
        let old = try await world.makeKey(account).key
        let key = try await roll(world, old.id, account, grace: 3_600).successor.key
        if isDisabled {
          _ = try await world.keys.update(old.id, of: account, KeyChanges(isEnabled: false), by: World.caller)
        }
        let rolled = try await roll(world, key.id, account)
        #expect(rolled.ended.map(\.id) == [old.id] && rolled.predecessor.revokedAt != nil)
        await #expect(throws: PortalError.keyNotActive) {
          try await world.keys.update(old.id, of: account, KeyChanges(isEnabled: true), by: World.caller)
        }
      }
      #expect(try await workingCount(pool) == 2)
    }
  }

  @Test("a roll does not revoke, or record again, a predecessor that is already expired or revoked")
  func overAlready() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      for change in ["expires_at = now()", "revoked_at = now()"] {
        let old = try await world.makeKey(account).key.id
        let key = try await roll(world, old, account, grace: 3_600).successor.key.id
        try await pool.script("update api_keys set \(change) where id = '\(old)'")
        let before = try await world.keys.find(old, of: account)
        #expect(try await roll(world, key, account, grace: 60).ended == [])
        #expect(try await world.keys.find(old, of: account) == before)
      }
      #expect(try await world.actions(on: account).allSatisfy { $0 != "key.revoked" })
    }
  }

  @Test("a grace that was ended only by the plan does not resume under another plan")
  func endedByPlan() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let old = try await world.makeKey(account)
      let key = try await roll(world, old.key.id, account, grace: 3_600).successor.key.id
      try await pool.script(
        """
        update api_keys set created_at = now() - interval '2 days' where id = '\(old.key.id)';
        update plans set max_key_lifetime_days = 1;
        update api_keys set expires_at = now() + interval '1 hour' where id = '\(key)'
        """)
      #expect(try await roll(world, key, account, grace: 60).ended.map(\.id) == [old.key.id])
      try await pool.script("update plans set max_key_lifetime_days = null")
      let code = try await world.makeVerifier().verify(VerificationRequest(hash: old.secret.hash)).code
      #expect(code == .revoked)
    }
  }

  @Test("another key's predecessor is left alone, even in the same account")
  func otherLineages() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let accounts = [one, one, other]
      var ids: [UUID] = []
      for account in accounts {
        let id = try await world.makeKey(account).key.id
        ids.append(try await roll(world, id, account, grace: 3_600).successor.key.id)
      }
      #expect(try await workingCount(pool) == 6)
      #expect(try await roll(world, ids[0], one).ended.count == 1)
      #expect(try await workingCount(pool) == 5)
      for number in 1...2 { #expect(try await roll(world, ids[number], accounts[number]).ended.count == 1) }
    }
  }

  @Test("concurrent rolls of a key and revocations of its predecessor leave two working keys, each end recorded once")
  func endedMeanwhile() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      for _ in 0..<20 {
        try await pool.script("update api_keys set revoked_at = now() where revoked_at is null")
        let old = try await world.makeKey(account).key.id
        let key = try await roll(world, old, account, grace: 3_600).successor.key.id
        let outcomes = await concurrently(6) { index -> Int in
          if index < 4 { return try await roll(world, key, account, grace: 3_600).ended.count }
          _ = try await world.keys.revoke(old, of: account, by: World.caller)
          return 0
        }
        #expect(outcomes.count(of: .keyNotActive) == 3 && outcomes.values.count == 3)
        #expect(try await workingCount(pool) == 2)
        let told = try await pool.lines("select action from audit_events where target_id = '\(old)' order by seq")
        #expect(told == ["key.created", "key.rolled", "key.revoked"])
      }
    }
  }

  // MARK: The cap

  @Test("creating, rolling and ending keys yields at most as many lineages as the cap, and twice as many working keys")
  func twiceTheCap() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.script("update plans set key_cap = 3")
      let endings: [@Sendable (UUID) async throws -> Void] = [
        { _ = try await world.keys.revoke($0, of: account, by: World.caller) },
        {
          // Expires immediately.
          _ = try await world.keys.update(
            $0, of: account, KeyChanges(expiresAt: .set(Date(timeIntervalSinceNow: 0.01))), by: World.caller)
        },
        { _ = try await roll(world, $0, account, grace: 3_600) },
      ]
      for end in endings {
        // The successor has ended, and its predecessor works until the end of its grace.
        let key = try await world.makeKey(account).key.id
        try await end(try await roll(world, key, account, grace: Key.graceSecondsMax).successor.key.id)
      }
      try await Task.sleep(for: .milliseconds(20))
      await #expect(throws: PortalError.keyCapReached(cap: 3)) { try await world.makeKey(account) }
      #expect(try await workingCount(pool) == 4)
      // Once a predecessor has expired, too, there is room for another key.
      try await pool.script(
        """
        update api_keys set expires_at = now() where id = (
          select id from api_keys where rolled_at is not null and revoked_at is null order by id limit 1)
        """)
      try await world.makeKey(account)
      await #expect(throws: PortalError.keyCapReached(cap: 3)) { try await world.makeKey(account) }
    }
  }

  @Test("at the cap, an expired key can be revived only if its predecessor counts")
  func revived() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.script("update plans set key_cap = 2")
      func expire(_ id: UUID) async throws {
        try await pool.script("update api_keys set expires_at = now() where id = '\(id)'")
      }
      func revive(_ id: UUID) async throws {
        _ = try await world.keys.update(id, of: account, KeyChanges(expiresAt: .remove), by: World.caller)
      }
      let alone = try await world.makeKey(account).key.id
      try await expire(alone)
      let old = try await world.makeKey(account).key.id
      let key = try await roll(world, old, account, grace: 3_600).successor.key.id
      try await expire(key)
      try await world.makeKey(account)
      await #expect(throws: PortalError.keyCapReached(cap: 2)) { try await revive(alone) }
      try await revive(key)
      #expect(try await workingCount(pool) == 3)
    }
  }

  /// Such keys were rolled before lineages were recorded.
  @Test("a key that was rolled without a lineage neither counts nor is ended, and its successor begins a lineage")
  func withoutLineage() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.script("update plans set key_cap = 1")
      let old = try await world.makeKey(account).key.id
      let key = try await roll(world, old, account, grace: 3_600).successor.key.id
      try await pool.script("update api_keys set lineage_id = null")
      await #expect(throws: PortalError.keyCapReached(cap: 1)) { try await world.makeKey(account) }
      let rolled = try await roll(world, key, account, grace: 3_600)
      #expect(rolled.ended == [] && rolled.predecessor.status(at: Date()) == .active)
      #expect(try await roll(world, rolled.successor.key.id, account).ended.map(\.id) == [key])
      #expect(
        try await pool.lines("select distinct lineage_id from api_keys where id <> '\(old)'") == [key.text])
    }
  }

  @Test("a key of a suspended account, or one that does not exist, cannot be rolled")
  func suspended() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      await #expect(throws: PortalError.notFound) { try await roll(world, .version7(), account) }
      try await pool.script("update accounts set suspended_at = now()")
      await #expect {
        try await roll(world, id, account)
      } throws: {
        if case PortalError.forbidden = $0 { true } else { false }
      }
    }
  }

  @Test("a hundred concurrent rolls of a key leave one successor", arguments: [0, 3_600])
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

  /// In either order, the old key is revoked, and the trail records what happened.
  @Test("a concurrent roll and revocation leave the old key revoked, and at most one successor")
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

  @Test("concurrent creates, rolls and revocations never exceed the cap")
  func everythingAtOnce() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.script("update plans set key_cap = 5")
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
