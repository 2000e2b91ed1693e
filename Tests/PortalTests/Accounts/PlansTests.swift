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

  @Test("a plan carries apis and roles; a change is one row of the invalidation log, and no change is none")
  func carried() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (orders, users) = try await makeCatalog(world)
      let role = try await world.roles.create(CatalogRole.Settings(name: "pro"), permissions: [], by: World.caller)
      let (made, _) = try await world.plans.set(
        Self.small, apis: [.name("users"), .id(orders), .name("orders")], roles: [.name("pro")], by: World.caller)
      #expect(made.apiIDs.map(Set.init) == [orders, users] && made.apiIDs?.count == 2 && made.roleIDs == [role.id])
      #expect(try await world.plans.list().last == made)
      let before = try await pool.number("select seq from invalidation_head")
      let same = try await world.plans.set(
        Self.small, apis: [.id(orders), .id(users)], roles: [.id(role.id)], by: World.caller)
      #expect(same.plan == made)
      #expect(try await pool.number("select seq from invalidation_head") == before)
      let less = try await world.plans.set(Self.small, apis: [.id(orders)], by: World.caller)
      #expect(less.plan.apiIDs == [orders] && less.plan.roleIDs == [])
      #expect(try await pool.number("select seq from invalidation_head") == before + 1)
      #expect(try await pool.text("select kind from invalidation_log order by seq desc limit 1") == "everything")
      let problem = FieldProblem(.apiID(1), "is not the id or slug of an api")
      await #expect(throws: PortalError.invalid([problem])) {
        try await world.plans.set(Self.small, apis: [.name("orders"), .name("x")], by: World.caller)
      }
      await #expect(throws: PortalError.invalid(.roleID(0), "is not the id or name of a role")) {
        try await world.plans.set(Self.small, roles: [.name("x")], by: World.caller)
      }
      #expect(try await world.plans.list().last == less.plan)
    }
  }

  private func makeCatalog(_ world: World) async throws -> (orders: UUID, users: UUID) {
    let orders = try await world.apis.create(CatalogAPI.Settings(slug: "orders", name: "Orders"), by: World.caller)
    let users = try await world.apis.create(CatalogAPI.Settings(slug: "users", name: "Users"), by: World.caller)
    return (orders.id, users.id)
  }

  @Test("the keys of an account are for the apis of its plan, whoever makes them, and a member may choose among them")
  func apis() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (orders, users) = try await makeCatalog(world)
      let account = try await world.makeAccount()
      let member = Caller(actor: .user(id: .version7(), email: "ada@example.com"))
      func make(_ api: CatalogReference?, by caller: Caller) async throws -> Key {
        let now = try await world.keys.now()
        return try await pool.withTransaction(as: .account(account)) { transaction in
          try await world.keys.create(.plain, api: api, for: account, by: caller, at: now, on: transaction).key
        }
      }
      let unknown = PortalError.invalid(.api, "is not the id or slug of an api")
      // The plan lists no apis: a member has none to choose from.
      await #expect(throws: unknown) { try await make(.name("orders"), by: member) }
      let forUsers = try await make(.name("users"), by: World.caller)
      #expect(forUsers.effectiveAPIIDs == [users])

      _ = try await world.plans.set(
        Plan(name: "default", keyCap: 25, scopes: ["*"], rateLimitPerMinuteMax: 10_000), apis: [.id(orders)],
        by: World.caller)
      let chosen = try await make(.name("orders"), by: member)
      #expect(chosen.apiID == orders)
      let forAll = try await make(nil, by: member)
      #expect(forAll.apiID == nil && forAll.effectiveAPIIDs == [orders])
      await #expect(throws: unknown) { try await make(.name("users"), by: member) }
      await #expect(throws: unknown) { try await make(.name("nonsense"), by: member) }
      let problem = FieldProblem(.api, "is not among the apis of the plan default")
      await #expect(throws: PortalError.limitNotAllowed([problem])) {
        try await make(.name("users"), by: World.caller)
      }
      await #expect(throws: PortalError.limitNotAllowed([FieldProblem(.api, problem.message, of: .key)])) {
        try await world.keys.roll(forUsers.id, of: account, graceSeconds: 0, by: World.caller)
      }
      // Other changes of such a key go on.
      let renamed = try await world.keys.update(
        forUsers.id, of: account, KeyChanges(name: "Renamed"), by: World.caller
      ).key
      #expect(renamed.effectiveAPIIDs == [])
      let moved = try await world.keys.update(
        forUsers.id, of: account, KeyChanges(api: .set(.name("orders"))), by: member
      ).key
      #expect(moved.effectiveAPIIDs == [orders])
    }
  }

  @Test("a key is found for the apis that it has in common with its plan, and has the roles of the plan at once")
  func verification() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (orders, users) = try await makeCatalog(world)
      _ = try await world.permissions.create(CatalogPermission.Settings(slug: "a"), by: World.caller)
      _ = try await world.roles.create(CatalogRole.Settings(name: "pro"), permissions: [.name("a")], by: World.caller)
      _ = try await world.roles.create(CatalogRole.Settings(name: "free"), permissions: [], by: World.caller)
      let account = try await world.makeAccount()
      let forAll = try await world.makeKey(account)
      let forUsers = try await world.makeKey(account, KeySettings(name: "Key", scopes: ["a"], apiID: users))
      _ = try await world.grants.changeRoles(
        of: forAll.key.id, GrantChanges(add: [.name("free")]), by: World.caller)
      func code(_ key: IssuedKey, _ api: String?) async throws -> Verdict.Code {
        try await world.makeVerifier().verify(
          VerificationRequest(
            hash: key.secret.hash, api: api.map { .name($0) }, permissions: try PermissionQuery("a"))
        ).code
      }
      #expect(try await code(forAll, "orders") == .insufficientPermissions)
      _ = try await world.plans.set(
        Plan(name: "default", keyCap: 25, scopes: ["*"], rateLimitPerMinuteMax: 10_000), apis: [.id(orders)],
        roles: [.name("pro")], by: World.caller)
      #expect(try await code(forAll, "orders") == .valid)
      #expect(try await code(forAll, nil) == .valid)
      #expect(try await code(forAll, "users") == .notFound)
      for api in ["users", "orders", nil] { #expect(try await code(forUsers, api) == .notFound) }
      let key = try await world.keys.find(forAll.key.id, of: account)
      #expect(key.roles == ["free"] && key.effectiveRoles == ["free", "pro"])
      #expect(key.permissions == [] && key.effectivePermissions == ["a"])
      let rolled = try await world.keys.roll(key.id, of: account, graceSeconds: 0, by: World.caller)
      #expect(rolled.successor.key.roles == ["free"], "it has no copy of the plan's role")
    }
  }

  @Test("an api or a role that a plan carries is not deleted")
  func uses() async throws {
    try await withPool { pool in
      let world = World(pool)
      _ = try await makeCatalog(world)
      _ = try await world.roles.create(CatalogRole.Settings(name: "pro"), permissions: [], by: World.caller)
      _ = try await world.plans.set(Self.small, apis: [.name("orders")], roles: [.name("pro")], by: World.caller)
      await #expect(throws: PortalError.inUse(reason: "Plans list this api.")) {
        try await world.apis.delete(.name("orders"), by: World.caller)
      }
      await #expect(throws: PortalError.inUse(reason: "Plans give keys this role.")) {
        try await world.roles.delete(.name("pro"), by: World.caller)
      }
      _ = try await world.plans.set(Self.small, by: World.caller)
      try await world.apis.delete(.name("orders"), by: World.caller)
      try await world.roles.delete(.name("pro"), by: World.caller)
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
