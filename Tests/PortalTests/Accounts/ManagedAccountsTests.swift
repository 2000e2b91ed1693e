import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Accounts of backends")
struct ManagedAccountsTests {
  private static let shop = Caller(
    actor: .token(id: .numbered(9), name: "shop"), ip: "192.0.2.7", onBehalfOf: "agent 12")

  @Test("an external account has the plan without limits, and its trail names the token and for whom it acted")
  func create() async throws {
    try await withPool { pool in
      let world = World(pool)
      let made = try await world.makeExternal("cus_1", metadata: #"{"b":1,"a":1.0}"#, by: Self.shop)
      #expect(made.account.kind == .external && made.account.plan.name == "external")
      #expect(made.account.plan.keyCap == nil && made.account.plan.rateLimitPerMinuteMax == nil)
      #expect(made.externalID == "cus_1" && made.metadata == #"{"b":1,"a":1.0}"#)
      #expect(try await world.managed.find(made.account.id) == made)
      let event = try #require(try await world.audit.list(of: made.account.id, page: PageRequest()).items.first)
      #expect(event.action == "account.created" && event.actorKind == "token" && event.actorName == "shop")
      #expect(event.detail == "on behalf of agent 12" && event.ip == "192.0.2.7")
    }
  }

  @Test("of twenty concurrent creations with one external id, one succeeds and the others leave nothing behind")
  func taken() async throws {
    try await withPool { pool async throws in
      let world = World(pool)
      let outcomes = await concurrently(20) { _ in try await world.makeExternal("cus_1", by: Self.shop) }
      #expect(outcomes.values.count == 1 && outcomes.count(of: .externalIDTaken) == 19)
      #expect(try await pool.number("select count(*) from accounts") == 1)
      #expect(try await pool.number("select count(*) from audit_events") == 1)
      // Ids are compared by their bytes.
      for id in ["CUS_1", "e\u{301}", "\u{e9}"] { _ = try await world.makeExternal(id, by: Self.shop) }
      await #expect(throws: PortalError.externalIDTaken) { try await world.makeExternal("\u{e9}", by: Self.shop) }
    }
  }

  @Test("an unknown plan is refused, and creates nothing")
  func unknownPlan() async throws {
    try await withPool { pool in
      let world = World(pool)
      let unknown = PortalError.invalid(.plan, "is not the name of a plan")
      await #expect(throws: unknown) { try await world.makeExternal("cus_1", plan: "gold", by: Self.shop) }
      #expect(try await pool.number("select count(*) from accounts") == 0)
      let made = try await world.makeExternal("cus_1", by: Self.shop)
      await #expect(throws: unknown) {
        try await world.managed.update(
          made.account.id, ManagedAccountChanges(name: "Other", plan: "gold"), by: Self.shop)
      }
      #expect(try await world.managed.find(made.account.id) == made)
    }
  }

  @Test("the named limits of an account are kept as they are set, and a change of them is in the trail")
  func limits() async throws {
    try await withPool { pool in
      let world = World(pool)
      let limits = [
        RateLimit(name: "monthly", limit: 9, windowMilliseconds: 31 * 86_400_000),
        RateLimit(name: "asked", limit: 1_000_000, windowMilliseconds: 1_001, isAutomatic: false),
      ]
      let id = try await world.makeExternal("cus_1", by: Self.shop).account.id
      func update(_ limits: [RateLimit]?, name: String? = nil) async throws -> [RateLimit] {
        try await world.managed.update(
          id, ManagedAccountChanges(name: name, limits: limits), by: Self.shop
        ).account.limits
      }
      #expect(try await update(limits) == limits)
      #expect(try await world.managed.find(id).limits == limits)
      #expect(try await update(limits) == limits)
      #expect(try await update(nil, name: "Other") == limits)
      #expect(try await world.managed.list().items.map(\.limits) == [limits])
      #expect(try await update([limits[1]], name: "Last") == [limits[1]])
      #expect(try await update([]) == [])
      let details = try await world.audit.list(of: id, page: PageRequest()).items.compactMap(\.detail)
      #expect(details.map { $0.contains("limits") } == [true, true, false, true, false])
      #expect(try await world.actions(on: id) == ["account.created"] + Array(repeating: "account.updated", count: 4))
      // What no account can have is an error of the account, not a crash.
      try await pool.script("update accounts set named_limits = '[{}]'")
      let error = await #expect(throws: PostgresError.self) { try await world.managed.find(id) }
      #expect(error?.code == .decoding)
    }
  }

  @Test("a list has all accounts that are not deleted, newest first, by kind and external id, in pages")
  func list() async throws {
    try await withPool { pool in
      let world = World(pool)
      let person = try await world.makeAccount()
      var ids: [UUID] = []
      for number in 1...3 {
        ids.append(try await world.makeExternal("cus_\(number)", by: Self.shop).account.id)
      }
      func found(_ filter: ManagedAccountFilter = ManagedAccountFilter()) async throws -> [UUID] {
        try await world.managed.list(filter).items.map(\.account.id)
      }
      #expect(try await found() == ids.reversed() + [person])
      #expect(try await found(ManagedAccountFilter(kind: .customer)) == [person])
      #expect(try await found(ManagedAccountFilter(externalID: "cus_2")) == [ids[1]])
      #expect(try await found(ManagedAccountFilter(externalID: "cus_2", kind: .customer)) == [])
      let first = try await world.managed.list(page: PageRequest(limit: 3))
      #expect(first.items.map(\.account.id) == ids.reversed())
      let next = try await world.managed.list(page: PageRequest(limit: 3, before: first.next))
      #expect(next.items.map(\.account.id) == [person] && next.next == nil)
      _ = try await world.deletion.delete(ids[1], by: Self.shop)
      #expect(try await found() == [ids[2], ids[0], person])
    }
  }

  @Test("each setting can be changed and removed; a change that changes nothing writes nothing")
  func update() async throws {
    try await withPool { pool in
      let world = World(pool)
      let id = try await world.makeExternal("cus_1", metadata: #"{"a":1}"#, by: Self.shop).account.id
      _ = try await world.makeExternal("cus_2", by: Self.shop)
      let before = try await pool.number("select seq from invalidation_head")
      let same = ManagedAccountChanges(
        name: "Customer", externalID: .set("cus_1"), metadata: .set(#"{"a":1}"#), plan: "external")
      _ = try await world.managed.update(id, same, by: Self.shop)
      _ = try await world.managed.update(id, ManagedAccountChanges(), by: Self.shop)
      #expect(try await pool.number("select seq from invalidation_head") == before)
      #expect(try await world.actions(on: id) == ["account.created"])

      let changes = ManagedAccountChanges(name: "Other", externalID: .remove, metadata: .remove, plan: "default")
      let changed = try await world.managed.update(id, changes, by: Self.shop).account
      #expect(changed.account.name == "Other" && changed.account.plan.name == "default")
      #expect(changed.externalID == nil && changed.metadata == nil && changed.account.kind == .external)
      #expect(
        try await pool.lines("select action || ': ' || detail from audit_events where seq > 1 and account_id = '\(id)'")
          == [
            "account.updated: name, externalId, metadata; on behalf of agent 12",
            "account.plan_changed: from external to default; on behalf of agent 12",
          ])
      await #expect(throws: PortalError.externalIDTaken) {
        try await world.managed.update(id, ManagedAccountChanges(externalID: .set("cus_2")), by: Self.shop)
      }
      await #expect(throws: PortalError.notFound) {
        try await world.managed.update(.version7(), ManagedAccountChanges(name: "x"), by: Self.shop)
      }
    }
  }

  @Test("a deleted account is gone with its keys and its metadata, and its external id is free again")
  func delete() async throws {
    try await withPool { pool in
      let world = World(pool)
      let id = try await world.makeExternal("cus_1", metadata: #"{"a":1}"#, by: Self.shop).account.id
      try await world.makeKey(id)
      let deleted = try await world.deletion.delete(id, by: Self.shop)
      #expect(deleted.id == id && deleted.revokedKeyCount == 1)
      await #expect(throws: PortalError.notFound) { try await world.managed.find(id) }
      await #expect(throws: PortalError.notFound) { try await world.deletion.delete(id, by: Self.shop) }
      await #expect(throws: PortalError.notFound) {
        try await world.managed.update(id, ManagedAccountChanges(name: "x"), by: Self.shop)
      }
      #expect(try await pool.lines("select metadata is null and external_id = 'cus_1' from accounts") == ["true"])
      #expect(
        try await pool.lines("select action || ': ' || detail from audit_events where action ~ 'revoked|deleted'")
          == ["key.revoked: on behalf of agent 12", "account.deleted: on behalf of agent 12"])
      #expect(try await world.makeExternal("cus_1", by: Self.shop).account.id != id)
    }
  }

  @Test("an external account has any number of keys, with or without a limit; a customer's have the cap of the plan")
  func keys() async throws {
    try await withPool { pool in
      let world = World(pool)
      let id = try await world.makeExternal("cus_1", by: Self.shop).account.id
      let unlimited = KeySettings(name: "Key", scopes: [], rateLimitPerMinute: nil)
      for _ in 1...30 { try await world.makeKey(id, unlimited) }
      let key = try await world.makeKey(id).key
      #expect(key.rateLimitPerMinute == 60 && key.effectiveRateLimitPerMinute == 60)
      #expect(try await pool.query(CountLiveKeys(accountID: id), as: .account(id)) == [0])
      _ = try await world.managed.update(id, ManagedAccountChanges(plan: "default"), by: Self.shop)
      await #expect(throws: PortalError.keyCapReached(cap: 25)) { try await world.makeKey(id) }
      let kept = try await world.keys.list(of: id, page: PageRequest(limit: 1, before: key.id)).items[0]
      // Without a limit of its own, it has the plan's.
      #expect(kept.rateLimitPerMinute == nil && kept.effectiveRateLimitPerMinute == 10_000 && kept.scopes == [])
      #expect(try await world.keys.roll(kept.id, of: id, graceSeconds: 0, by: World.caller).successor.key.scopes == [])
    }
  }

  @Test("the usual limit of a key is none in an external account, and 60 in any other")
  func usualLimit() async throws {
    try await withPool { pool in
      let world = World(pool)
      let external = try await world.makeExternal("cus_1", by: Self.shop).account.id
      let customer = try await world.makeAccount()
      for (account, limit) in [(external, Int?.none), (customer, 60)] {
        let now = try await world.keys.now()
        let made = try await pool.withTransaction(as: .account(account)) { transaction in
          try await world.keys.create(
            KeySettings(name: "Key", scopes: [], rateLimitPerMinute: 7), takesUsualLimit: true, for: account,
            by: Self.shop, at: now, on: transaction)
        }
        #expect(made.key.rateLimitPerMinute == limit)
      }
    }
  }

  @Test("a key without a limit per minute is verified without one, or with the plan's, as soon as the plan has one")
  func verification() async throws {
    try await withPool { pool in
      let world = World(pool)
      let id = try await world.makeExternal("cus_1", by: Self.shop).account.id
      let secret = try await world.makeKey(id, KeySettings(name: "Key", scopes: [], rateLimitPerMinute: nil)).secret
      func verdict() async throws -> Verdict {
        try await world.makeVerifier().verify(VerificationRequest(hash: secret.hash, cost: 1_000))
      }
      let free = try await verdict()
      #expect(free.code == .valid && free.found?.limits == .unlimited && free.found?.key.limits.perMinute == nil)
      try await pool.script("update plans set rate_limit_per_minute_max = 7 where name = 'external'")
      let limited = try await verdict()
      #expect(limited.code == .rateLimited && limited.found?.limits.binding?.limit == 7)
    }
  }

  @Test(
    "an external id has 1 to 200 visible characters, without white space around them",
    arguments: [
      ("c", true), ("org/12 3", true), ("Müller 🔑", true), (String(repeating: "é", count: 200), true), ("", false),
      (" c", false), ("c\n", false), ("a\u{0}b", false), ("\u{202e}abc", false),
      (String(repeating: "a", count: 201), false), (String(repeating: "e\u{301}", count: 101), false),
    ])
  func externalIDs(_ id: String, _ isValid: Bool) {
    #expect(ManagedAccount.isValid(externalID: id) == isValid)
  }
}

extension World {
  func makeExternal(
    _ externalID: String?, metadata: String? = nil, plan: String = Plan.externalName, by caller: Caller
  ) async throws -> ManagedAccount {
    let id = UUID.version7()
    return try await pool.withTransaction(as: .account(id)) { transaction in
      try await managed.create(
        ManagedAccountSettings(name: "Customer", externalID: externalID, metadata: metadata, plan: plan), id: id,
        by: caller, on: transaction)
    }
  }
}
