import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Moving keys between accounts")
struct KeyMovesTests {
  private static let shop = Caller(actor: .token(id: .numbered(9), name: "shop"))

  @Test("a moved key belongs to the other account with all that it was granted, and both trails say so")
  func move() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      _ = try await world.permissions.create(CatalogPermission.Settings(slug: "a"), by: World.caller)
      _ = try await world.roles.create(
        CatalogRole.Settings(name: "pro"), permissions: [.name("a")], by: World.caller)
      let issued = try await world.makeKey(one)
      let id = issued.key.id
      _ = try await world.grants.changeRoles(of: id, GrantChanges(add: [.name("pro")]), by: World.caller)
      _ = try await world.grants.changePermissions(of: id, GrantChanges(add: [.name("a")]), by: World.caller)
      let before = try await world.keys.find(id, of: one)
      let moved = try await world.keyMoves.move(id, to: .id(other), by: Self.shop).key
      #expect(moved.accountID == other && moved.roles == ["pro"] && moved.permissions == ["a"])
      #expect(moved.revision > before.revision && moved.name == before.name && moved.createdAt == before.createdAt)
      #expect(try await world.keys.find(id, of: other) == moved)
      await #expect(throws: PortalError.notFound) { try await world.keys.find(id, of: one) }
      let verdict = try await world.makeVerifier().verify(VerificationRequest(hash: issued.secret.hash))
      #expect(verdict.isValid && verdict.found?.key.accountID == other)
      #expect(verdict.found?.key.grants?.roles == ["pro"])
      #expect(try await world.actions(on: one).last == "key.moved")
      #expect(try await world.actions(on: other).last == "key.moved")
      let details = try await pool.lines("select detail from audit_events where action = 'key.moved' order by detail")
      #expect(details == ["from the account \(one.text)", "to the account \(other.text)"])
      // Again: it is there already.
      #expect(try await world.keyMoves.move(id, to: .id(other), by: Self.shop).key == moved)
      #expect(try await pool.number("select count(*) from audit_events where action = 'key.moved'") == 2)
    }
  }

  @Test("an external id names the account as well; an account that does not exist is refused at its place")
  func reference() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      let external = try await world.makeExternal("cus_1", by: Self.shop).account.id
      #expect(try await world.keyMoves.move(id, to: .externalID("cus_1"), by: Self.shop).key.accountID == external)
      await #expect(throws: PortalError.invalid(.externalID, "is not the external id of an account")) {
        try await world.keyMoves.move(id, to: .externalID("cus_2"), by: Self.shop)
      }
      await #expect(throws: PortalError.invalid(.account, "is not the id of an account")) {
        try await world.keyMoves.move(id, to: .id(.version7()), by: Self.shop)
      }
      await #expect(throws: PortalError.notFound) {
        try await world.keyMoves.move(.version7(), to: .id(account), by: Self.shop)
      }
      let bound = Caller(actor: .token(id: .numbered(9), name: "shop"), environment: .test)
      await #expect(throws: PortalError.notFound) {
        try await world.keyMoves.move(id, to: .id(account), by: bound)
      }
    }
  }

  @Test("credits of the key move with it, as well as what an instance has set aside of them")
  func credits() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let issued = try await world.makeKey(one)
      let owner = CreditOwner.key(issued.key.id)
      let bucket = try #require(try await world.change(.set(10), of: owner)).id
      let request = VerificationRequest(hash: issued.secret.hash)
      #expect(try await world.makeVerifier().verify(request).isValid)
      let moved = try await world.keyMoves.move(issued.key.id, to: .id(other), by: Self.shop).key
      #expect(moved.credits?.id == bucket)
      let accounts = "select account_id from credits union all select account_id from credit_leases"
      #expect(try await pool.lines(accounts) == [other.text, other.text])
      #expect(try await world.makeVerifier().verify(request).isValid)
      #expect(try await world.change(.set(3), of: owner)?.remaining == 3)
      #expect(try await world.actions(on: other).last == "key.credits_changed")
    }
  }

  @Test("usage stays with the account that it was counted for, and what follows counts for the other")
  func usage() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let id = try await world.makeKey(one).key.id
      func count(_ account: UUID) async throws {
        try await pool.script(
          """
          select count_usage(array['\(account)'::uuid], array['\(id)'::uuid],
            array[date_trunc('hour', now(), 'UTC')], array['/a'], '{1}', '{0}', array[now()], '{}', '{}', '{}', '{}',
            '{}')
          """)
      }
      try await count(one)
      #expect(try await world.keys.find(id, of: one).totalRequests == 1)
      #expect(try await world.keyMoves.move(id, to: .id(other), by: Self.shop).key.totalRequests == 0)
      for _ in 1...2 { try await count(other) }
      #expect(try await world.keys.find(id, of: other).totalRequests == 2)
      #expect(
        try await pool.number("select total_requests from key_activity where account_id = '\(one)'") == 1)
    }
  }

  @Test("plan, policy and cap of the other account apply, and a suspended account neither gives nor takes a key")
  func rules() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let id = try await world.makeKey(one).key.id
      try await world.policies.set(KeyPolicy(allowedScopes: ["x"]), of: other, by: World.caller)
      let violation = FieldProblem(.scope(0), "(orders:read) is not covered by the account's policy", of: .key)
      await #expect(throws: PortalError.policyViolation([violation])) {
        try await world.keyMoves.move(id, to: .id(other), by: Self.shop)
      }
      try await world.policies.set(KeyPolicy(), of: other, by: World.caller)
      try await world.insertKeys(upTo: 25, other)
      await #expect(throws: PortalError.keyCapReached(cap: 25)) {
        try await world.keyMoves.move(id, to: .id(other), by: Self.shop)
      }
      try await pool.script("update api_keys set revoked_at = now() where account_id = '\(other)'")
      for account in [one, other] {
        try await pool.script("update accounts set suspended_at = now() where id = '\(account)'")
        await #expect(throws: PortalError.forbidden(reason: "The account is suspended.")) {
          try await world.keyMoves.move(id, to: .id(other), by: Self.shop)
        }
        try await pool.script("update accounts set suspended_at = null")
      }
      #expect(try await world.keyMoves.move(id, to: .id(other), by: Self.shop).key.accountID == other)
    }
  }

  @Test("a predecessor in its grace moves with its successor and not by itself; a revoked key does not move")
  func lineage() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let old = try await world.makeKey(one).key.id
      let new = try await world.keys.roll(old, of: one, graceSeconds: 60, by: World.caller).successor.key.id
      await #expect(throws: PortalError.keyNotActive) {
        try await world.keyMoves.move(old, to: .id(other), by: Self.shop)
      }
      _ = try await world.keyMoves.move(new, to: .id(other), by: Self.shop)
      #expect(try await world.keys.list(of: one).items == [])
      #expect(try await world.keys.list(of: other).items.map(\.id) == [new, old])
      // The roll ends what is still in its grace, so that at most two keys of the lineage work.
      let rolled = try await world.keys.roll(new, of: other, graceSeconds: 60, by: World.caller)
      #expect(rolled.ended.map(\.id) == [old])
      await #expect(throws: PortalError.keyNotActive) {
        try await world.keyMoves.move(old, to: .id(one), by: Self.shop)
      }
    }
  }

  @Test("keys that move to and fro at the same time end up in one account each, without a deadlock")
  func races() async throws {
    try await withPool { pool async throws in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let ids = [try await world.makeKey(one).key.id, try await world.makeKey(other).key.id]
      let outcomes = await concurrently(40) { number in
        try await world.keyMoves.move(
          ids[number % 2], to: .id(number % 4 < 2 ? one : other), by: Self.shop
        ).key
      }
      #expect(outcomes.errors.allSatisfy { $0 as? PortalError == .notFound }, "\(outcomes.errors)")
      #expect(!outcomes.values.isEmpty)
      #expect(try await pool.number("select count(*) from api_keys") == 2)
      #expect(try await AuditChains(pool: pool).verify { _ in }.isIntact)
    }
  }
}
