import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Roles, permissions and apis of keys")
struct GrantsTests {
  private func makeCatalog(_ world: World) async throws {
    for slug in ["a", "b", "c"] {
      _ = try await world.permissions.create(CatalogPermission.Settings(slug: slug), by: World.caller)
    }
    _ = try await world.roles.create(
      CatalogRole.Settings(name: "pro"), permissions: [.name("b"), .name("c")], by: World.caller)
    _ = try await world.roles.create(CatalogRole.Settings(name: "free"), permissions: [.name("a")], by: World.caller)
  }

  @Test("a key has what it was granted, and the permissions of its roles; a change is a new revision")
  func grant() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await makeCatalog(world)
      let account = try await world.makeAccount()
      let made = try await world.makeKey(account).key
      #expect(made.roles == [] && made.permissions == [] && made.effectivePermissions == [] && made.apiID == nil)
      let roles = GrantChanges(add: [.name("pro"), .name("free"), .name("pro")])
      let withRoles = try await world.grants.changeRoles(of: made.id, roles, by: World.caller).key
      #expect(withRoles.roles == ["free", "pro"] && withRoles.effectivePermissions == ["a", "b", "c"])
      #expect(withRoles.revision > made.revision)
      let changes = GrantChanges(add: [.name("b")])
      let key = try await world.grants.changePermissions(of: made.id, changes, by: World.caller).key
      #expect(key.permissions == ["b"] && key.effectivePermissions == ["a", "b", "c"])
      let swapped = GrantChanges(add: [.name("free")], remove: [.name("pro")])
      let fewer = try await world.grants.changeRoles(of: made.id, swapped, by: World.caller).key
      #expect(fewer.roles == ["free"] && fewer.effectivePermissions == ["a", "b"])
      #expect(try await world.keys.find(made.id, of: account) == fewer)
      #expect(try await world.keys.list(of: account).items == [fewer])
      _ = try await world.roles.update(.name("free"), CatalogRoleChanges(permissions: []), by: World.caller)
      #expect(try await world.keys.find(made.id, of: account).effectivePermissions == ["b"])
      #expect(
        try await pool.lines("select detail from audit_events where action = 'key.roles_changed' order by seq")
          == ["+pro, +free", "-pro"])
    }
  }

  @Test("all changes of a request are made, or none")
  func atomic() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await makeCatalog(world)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      for (changes, field) in [
        (GrantChanges(add: [.name("a"), .name("x")]), FieldProblem.Field.added(1)),
        (GrantChanges(add: [.name("a")], remove: [.id(.version7())]), .removed(0)),
      ] {
        await #expect(throws: PortalError.invalid(field, "is not the id or slug of a permission")) {
          try await world.grants.changePermissions(of: key.id, changes, by: World.caller)
        }
      }
      await #expect(throws: PortalError.invalid(.removed(0), "must not be among those to add")) {
        let both = GrantChanges(add: [.name("a")], remove: [.name("a")])
        _ = try await world.grants.changePermissions(of: key.id, both, by: World.caller)
      }
      #expect(try await world.keys.find(key.id, of: account) == key)
      await #expect(throws: PortalError.notFound) {
        try await world.grants.changeRoles(of: .version7(), GrantChanges(add: [.name("pro")]), by: World.caller)
      }
    }
  }

  @Test("a grant is one row of the invalidation log for its key, also with psql")
  func invalidation() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await makeCatalog(world)
      let account = try await world.makeAccount()
      let (key, other) = (try await world.makeKey(account).key.id, try await world.makeKey(account).key.id)
      let seq = try await pool.number("select seq from invalidation_head")
      _ = try await world.grants.changeRoles(of: key, GrantChanges(add: [.name("pro")]), by: World.caller)
      try await pool.script(
        """
        insert into key_permissions (account_id, key_id, permission_id)
        select '\(account)', '\(other)', id from permissions
        """)
      #expect(try await pool.number("select count(*) from api_keys where has_grants") == 2)
      try await pool.script("delete from key_permissions; delete from key_roles")
      #expect(try await pool.number("select count(*) from api_keys where has_grants") == 0)
      #expect(
        try await pool.lines("select kind || ' ' || key_id from invalidation_log where seq > \(seq) order by seq")
          == [key, other, other, key].map { "key \($0.text)" })
    }
  }

  @Test("the successor of a rolled key has its roles, permissions and api")
  func roll() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await makeCatalog(world)
      let api = try await world.apis.create(CatalogAPI.Settings(slug: "orders", name: "Orders"), by: World.caller)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account, KeySettings(name: "Key", scopes: ["a"], apiID: api.id)).key.id
      _ = try await world.grants.changeRoles(of: id, GrantChanges(add: [.name("pro")]), by: World.caller)
      _ = try await world.grants.changePermissions(of: id, GrantChanges(add: [.name("a")]), by: World.caller)
      let rolled = try await world.keys.roll(id, of: account, graceSeconds: 60, by: World.caller)
      for key in [rolled.predecessor, rolled.successor.key] {
        #expect(key.roles == ["pro"] && key.permissions == ["a"] && key.apiID == api.id)
        #expect(key.effectivePermissions == ["a", "b", "c"])
      }
    }
  }

  @Test("a key for an api has its prefix and as many random bytes; the api may be changed", arguments: [16, 32, 255])
  func api(_ byteCount: Int) async throws {
    try await withPool { pool in
      let world = World(pool)
      let settings = CatalogAPI.Settings(slug: "orders", name: "Orders", keyPrefix: "ord", keyBytes: byteCount)
      let api = try await world.apis.create(settings, by: World.caller)
      let account = try await world.makeAccount()
      let made = try await world.makeKey(account, KeySettings(name: "Key", scopes: ["a"], apiID: api.id))
      let text = made.secret.reveal()
      #expect(text.hasPrefix("ord_live_") && text.utf8.count <= KeyFormat.lengthMax)
      #expect(text.utf8.count == "ord_live_".utf8.count + Secret.randomLength(ofBytes: byteCount) + 6)
      #expect(world.format.mayExist(made.secret))
      #expect(try await world.makeVerifier().verify(VerificationRequest(hash: made.secret.hash)).isValid)
      let changes = KeyChanges(api: .remove)
      let changed = try await world.keys.update(made.key.id, of: account, changes, by: World.caller).key
      #expect(changed.apiID == nil)
      await #expect(throws: PortalError.invalid(.api, "is not the id or slug of an api")) {
        let unknown = KeyChanges(api: .set(.name("x")))
        _ = try await world.keys.update(made.key.id, of: account, unknown, by: World.caller)
      }
    }
  }

  @Test("a caller that is bound to some apis finds, makes and changes keys for these alone, and finds those for all")
  func bound() async throws {
    try await withPool { pool in
      let world = World(pool)
      let one = try await world.apis.create(CatalogAPI.Settings(slug: "one", name: "One"), by: World.caller)
      let two = try await world.apis.create(CatalogAPI.Settings(slug: "two", name: "Two"), by: World.caller)
      let account = try await world.makeAccount()
      var made: [UUID] = []
      for api in [one.id, two.id, nil] {
        made.append(try await world.makeKey(account, KeySettings(name: "Key", scopes: ["a"], apiID: api)).key.id)
      }
      let (forOne, forTwo, forAll) = (made[0], made[1], made[2])
      let caller = Caller(actor: .token(id: .version7(), name: "shop"), apiIDs: [one.id])
      #expect(try await world.keys.find(forOne, of: account, by: caller).id == forOne)
      #expect(try await world.keys.find(forAll, of: account, by: caller).id == forAll)
      await #expect(throws: PortalError.notFound) { try await world.keys.find(forTwo, of: account, by: caller) }
      await #expect(throws: PortalError.notFound) { try await world.keys.revoke(forTwo, of: account, by: caller) }
      await #expect(throws: PortalError.notFound) {
        try await world.grants.changeRoles(of: forTwo, GrantChanges(), by: caller)
      }
      let listed = try await world.keys.list(of: account, KeyFilter(apiIDs: [one.id])).items.map(\.id)
      #expect(listed == [forAll, forOne])
      for api in [two.id, nil] {
        await #expect(throws: PortalError.self) {
          try await world.keys.create(
            KeySettings(name: "Key", scopes: ["a"], apiID: api), for: account, by: caller)
        }
      }
      await #expect(throws: PortalError.self) {
        try await world.keys.update(forOne, of: account, KeyChanges(api: .remove), by: caller)
      }
    }
  }
}
