import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Apis, permissions and roles")
struct CatalogTests {
  private static let reason = SupportReason(text: "asked for it")
  private static let orders = CatalogAPI.Settings(slug: "orders", name: "Orders", keyPrefix: "ord", keyBytes: 16)

  @Test("an api is created, found by id and by slug, changed and deleted")
  func api() async throws {
    try await withPool { pool in
      let apis = World(pool).apis
      let made = try await apis.create(Self.orders, by: World.caller, Self.reason)
      #expect(made.settings == Self.orders)
      #expect(try await apis.find(.id(made.id)) == made)
      #expect(try await apis.find(.name("orders")) == made)
      let changes = CatalogAPIChanges(slug: "shop", keyPrefix: .remove, keyBytes: 255)
      let changed = try await apis.update(.name("orders"), changes, by: World.caller).api
      #expect(changed.settings == CatalogAPI.Settings(slug: "shop", name: "Orders", keyBytes: 255))
      #expect(try await apis.find(.id(made.id)) == changed)
      await #expect(throws: PortalError.notFound) { try await apis.find(.name("orders")) }
      try await apis.delete(.name("shop"), by: World.caller)
      await #expect(throws: PortalError.notFound) { try await apis.delete(.id(made.id), by: World.caller) }
    }
  }

  @Test("an api keeps its endpoint limits, the most specific first, until they are replaced")
  func endpointLimits() async throws {
    try await withPool { pool in
      let apis = World(pool).apis
      func entry(_ pattern: String, _ limit: Int, _ roles: [String: WindowLimit] = [:]) throws -> EndpointLimits.Entry {
        .init(
          try #require(EndpointLimits.pattern(pattern)),
          otherwise: WindowLimit(limit: limit, windowMilliseconds: 60_000), roles: roles)
      }
      var settings = Self.orders
      settings.endpointLimits = EndpointLimits([
        try entry("*", 5), try entry("GET /a", 1, ["pro": WindowLimit(limit: 9, windowMilliseconds: 1_500)]),
      ])
      let made = try await apis.create(settings, by: World.caller)
      #expect(made.settings.endpointLimits.entries.map(\.pattern.text) == ["GET /a", "*"])
      #expect(try await apis.find(.name("orders")) == made)
      #expect(try await apis.list().items == [made])
      let renamed = try await apis.update(.name("orders"), CatalogAPIChanges(name: "Other"), by: World.caller).api
      #expect(renamed.settings.endpointLimits == settings.endpointLimits)
      let other = EndpointLimits([try entry("GET /b*", 7)])
      let changed = try await apis.update(
        .name("orders"), CatalogAPIChanges(endpointLimits: other), by: World.caller
      ).api
      #expect(changed.settings.endpointLimits == other)
      #expect(try await apis.find(.name("orders")) == changed)
      let none = CatalogAPIChanges(endpointLimits: EndpointLimits([]))
      #expect(
        try await apis.update(.name("orders"), none, by: World.caller).api.settings.endpointLimits.entries.isEmpty)
      #expect(try await pool.number("select count(*) from apis where endpoint_limits is null") == 1)
      #expect(try await pool.number("select count(*) from apis where endpoint_limits_digest is null") == 1)
    }
  }

  @Test("a slug is unique, and compared exactly")
  func slugs() async throws {
    try await withPool { pool in
      let world = World(pool)
      _ = try await world.apis.create(Self.orders, by: World.caller)
      _ = try await world.apis.create(CatalogAPI.Settings(slug: "Orders", name: "Orders"), by: World.caller)
      await #expect(throws: PortalError.nameTaken) { try await world.apis.create(Self.orders, by: World.caller) }
      await #expect(throws: PortalError.nameTaken) {
        try await world.apis.update(.name("Orders"), CatalogAPIChanges(slug: "orders"), by: World.caller)
      }
      let read = CatalogPermission.Settings(slug: "orders")
      _ = try await world.permissions.create(read, by: World.caller)
      await #expect(throws: PortalError.nameTaken) { try await world.permissions.create(read, by: World.caller) }
      let pro = CatalogRole.Settings(name: "orders")
      _ = try await world.roles.create(pro, permissions: [], by: World.caller)
      await #expect(throws: PortalError.nameTaken) {
        try await world.roles.create(pro, permissions: [], by: World.caller)
      }
    }
  }

  @Test("what is protected or used by a key that is not revoked, a role or a service token is not deleted")
  func uses() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key.id
      var protected = Self.orders
      protected.isProtected = true
      let api = try await world.apis.create(protected, by: World.caller)
      let permission = try await world.permissions.create(CatalogPermission.Settings(slug: "a"), by: World.caller)
      let role = try await world.roles.create(
        CatalogRole.Settings(name: "pro"), permissions: [.name("a"), .id(permission.id)], by: World.caller)
      #expect(role.permissions == ["a"])
      await #expect(throws: PortalError.protected) { try await world.apis.delete(.id(api.id), by: World.caller) }
      _ = try await world.apis.update(.id(api.id), CatalogAPIChanges(isProtected: false), by: World.caller)
      await #expect(throws: PortalError.inUse(reason: "Roles have this permission.")) {
        try await world.permissions.delete(.name("a"), by: World.caller)
      }
      try await pool.script(
        """
        update api_keys set api_id = '\(api.id)';
        insert into key_roles (account_id, key_id, role_id) values ('\(account)', '\(key)', '\(role.id)');
        insert into key_permissions (account_id, key_id, permission_id)
        values ('\(account)', '\(key)', '\(permission.id)')
        """)
      let before = try await pool.number("select count(*) from audit_events")
      await #expect(throws: PortalError.inUse(reason: "Keys that are not revoked are for this api.")) {
        try await world.apis.delete(.id(api.id), by: World.caller)
      }
      await #expect(throws: PortalError.inUse(reason: "Keys that are not revoked have this role.")) {
        try await world.roles.delete(.name("pro"), by: World.caller)
      }
      _ = try await world.roles.update(.name("pro"), CatalogRoleChanges(permissions: []), by: World.caller)
      await #expect(throws: PortalError.inUse(reason: "Keys that are not revoked have this permission.")) {
        try await world.permissions.delete(.name("a"), by: World.caller)
      }
      #expect(try await pool.number("select count(*) from audit_events") == before + 1)
      _ = try await world.keys.revoke(key, of: account, by: World.caller)
      try await pool.script(
        """
        insert into service_tokens (id, name, token_hash, permissions, api_ids)
        values (gen_random_uuid(), 'bound', sha256('x'), '{keys.verify}', array['\(api.id)'::uuid])
        """)
      await #expect(throws: PortalError.inUse(reason: "Service tokens are bound to this api.")) {
        try await world.apis.delete(.id(api.id), by: World.caller)
      }
      try await pool.script("update service_tokens set revoked_at = now()")
      try await world.apis.delete(.id(api.id), by: World.caller)
      try await world.roles.delete(.id(role.id), by: World.caller)
      try await world.permissions.delete(.id(permission.id), by: World.caller)
      #expect(try await pool.number("select count(*) from key_roles") == 0)
      #expect(try await pool.number("select count(*) from key_permissions") == 0)
      #expect(try await pool.number("select count(*) from api_keys where api_id is not null") == 0)
    }
  }

  @Test("a change of a role and of its permissions is one row of the invalidation log, and no change is none")
  func oneInvalidation() async throws {
    try await withPool { pool in
      let world = World(pool)
      for slug in ["a", "b"] {
        _ = try await world.permissions.create(CatalogPermission.Settings(slug: slug), by: World.caller)
      }
      _ = try await world.roles.create(CatalogRole.Settings(name: "pro"), permissions: [.name("a")], by: World.caller)
      let before = try await pool.number("select seq from invalidation_head")
      let changes = CatalogRoleChanges(
        name: "team", description: .set("For teams."), permissions: [.name("b"), .name("b")])
      let role = try await world.roles.update(.name("pro"), changes, by: World.caller).role
      #expect(role.permissions == ["b"])
      #expect(role.settings == CatalogRole.Settings(name: "team", description: "For teams."))
      #expect(try await pool.number("select seq from invalidation_head") == before + 1)
      #expect(try await pool.text("select kind from invalidation_log order by seq desc limit 1") == "catalog")
      #expect(try await world.roles.update(.name("team"), changes, by: World.caller).role == role)
      #expect(try await pool.number("select seq from invalidation_head") == before + 1)
      let detail = try await pool.text("select detail from audit_events where action = 'role.updated'")
      #expect(detail == "from pro to team: +b, -a")
    }
  }

  @Test("a role with permissions that do not exist is refused with the places of all of them, and nothing is changed")
  func unknownPermissions() async throws {
    try await withPool { pool in
      let world = World(pool)
      _ = try await world.permissions.create(CatalogPermission.Settings(slug: "a"), by: World.caller)
      let problems = [1, 2].map { FieldProblem(.permission($0), "is not the id or slug of a permission") }
      let references: [CatalogReference] = [.name("a"), .name("b"), .id(.version7())]
      await #expect(throws: PortalError.invalid(problems)) {
        try await world.roles.create(CatalogRole.Settings(name: "pro"), permissions: references, by: World.caller)
      }
      #expect(try await world.roles.list().items == [])
      let role = try await world.roles.create(
        CatalogRole.Settings(name: "pro"), permissions: [.name("a")], by: World.caller)
      await #expect(throws: PortalError.invalid(problems)) {
        try await world.roles.update(
          .name("pro"), CatalogRoleChanges(name: "team", permissions: references), by: World.caller)
      }
      #expect(try await world.roles.list().items == [role])
    }
  }

  @Test("lists are paged, newest first")
  func pages() async throws {
    try await withPool { pool in
      let permissions = World(pool).permissions
      for slug in ["a", "b", "c"] {
        _ = try await permissions.create(CatalogPermission.Settings(slug: slug), by: World.caller)
      }
      let page = try await permissions.list(page: PageRequest(limit: 2))
      #expect(page.items.map(\.settings.slug) == ["c", "b"])
      let rest = try await permissions.list(page: PageRequest(limit: 2, before: page.next))
      #expect(rest.items.map(\.settings.slug) == ["a"] && rest.next == nil)
    }
  }

  @Test("a permission that is granted while it is deleted is either granted or deleted")
  func races() async throws {
    try await withPool { pool in
      let world = World(pool)
      for round in 0..<10 {
        let slug = "p\(round)"
        _ = try await world.permissions.create(CatalogPermission.Settings(slug: slug), by: World.caller)
        async let deleting: Void = world.permissions.delete(.name(slug), by: World.caller)
        async let making = world.roles.create(
          CatalogRole.Settings(name: slug), permissions: [.name(slug)], by: World.caller)
        let made: Bool
        do { made = try await !making.permissions.isEmpty } catch let error as PortalError {
          #expect(error == .invalid(.permission(0), "is not the id or slug of a permission"))
          made = false
        }
        do {
          try await deleting
          #expect(!made)
        } catch let error as PortalError {
          #expect(made && error == .inUse(reason: "Roles have this permission."))
        }
      }
    }
  }
}
