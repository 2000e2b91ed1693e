import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Resources of keys")
struct KeyResourcesTests {
  private static let reason = SupportReason(text: "asked for it")
  private static let some = ResourceScopes([
    ResourceScopes.Entry(name: "project:1", scopes: ["orders:write"]),
    ResourceScopes.Entry(name: "project:2", scopes: ["orders:delete"]),
  ])
  private static let settings = KeySettings(name: "Key", scopes: ["orders:read"], resources: some)

  @Test("a key keeps its resources, its successor has them, and a change replaces them all")
  func keep() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let made = try await world.makeKey(account, Self.settings).key
      #expect(made.resources == Self.some && made.effectiveResources == Self.some)
      #expect(try await world.keys.list(of: account).items.map(\.resources) == [Self.some])
      let rolled = try await world.keys.roll(made.id, of: account, graceSeconds: 60, by: World.caller)
      #expect(rolled.successor.key.resources == Self.some)
      let id = rolled.successor.key.id
      let renamed = try await world.keys.update(id, of: account, KeyChanges(name: "x"), by: World.caller).key
      #expect(renamed.resources == Self.some)
      let one = ResourceScopes([ResourceScopes.Entry(name: "project:3", scopes: ["a"])])
      let changed = try await world.keys.update(id, of: account, KeyChanges(resources: one), by: World.caller).key
      #expect(changed.resources == one && changed.revision == renamed.revision + 1)
      let same = try await world.keys.update(id, of: account, KeyChanges(resources: one), by: World.caller).key
      #expect(same.revision == changed.revision)
      let none = try await world.keys.update(
        id, of: account, KeyChanges(resources: ResourceScopes.none), by: World.caller
      ).key
      #expect(none.resources.isEmpty)
      #expect(try await pool.number("select count(*) from api_keys where resources is null") == 1)
    }
  }

  @Test("the company sets them with a reason, which is in the trail with what changed; no change writes nothing")
  func set() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account, Self.settings).key.id
      let other = ResourceScopes([
        ResourceScopes.Entry(name: "project:1", scopes: ["orders:write"]),
        ResourceScopes.Entry(name: "project:2", scopes: ["orders:delete", "x"]),
      ])
      let changed = try await world.grants.setResources(of: id, other, by: World.caller, Self.reason).key
      #expect(changed.resources == other)
      #expect(try await world.grants.setResources(of: id, other, by: World.caller).key.revision == changed.revision)
      #expect(
        try await pool.lines("select detail || ': ' || reason from audit_events where action = 'key.resources_changed'")
          == ["+project:2 (orders:delete x), -project:2 (orders:delete): asked for it"])
      await #expect(throws: PortalError.notFound) {
        try await world.grants.setResources(of: .version7(), other, by: World.caller)
      }
      let restricted = Caller(actor: .token(id: .version7(), name: "shop"), environment: .test)
      await #expect(throws: PortalError.notFound) { try await world.grants.setResources(of: id, .none, by: restricted) }
    }
  }

  @Test("the plan and the account's policy bound them like the scopes of the key")
  func rules() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let made = try await world.makeKey(account, Self.settings)
      try await pool.script("update plans set scopes = '{orders:read,orders:write}'")
      let problem = FieldProblem(
        .resource("project:2", 0), "(orders:delete) is not covered by the plan default")
      await #expect(throws: PortalError.scopeNotAllowed([problem])) {
        try await world.makeKey(account, Self.settings)
      }
      let narrower = ResourceScopes([ResourceScopes.Entry(name: "project:2", scopes: ["orders:delete"])])
      await #expect(throws: PortalError.scopeNotAllowed([problem])) {
        try await world.grants.setResources(of: made.key.id, narrower, by: World.caller)
      }
      let key = try await world.keys.find(made.key.id, of: account)
      #expect(key.resources == Self.some)
      #expect(key.effectiveResources.text == #"{"project:1":["orders:write"]}"#)
      func code(_ scope: String, _ resource: String) async throws -> Verdict.Code {
        try await world.makeVerifier().verify(
          VerificationRequest(hash: made.secret.hash, scopes: [scope], resource: resource)
        ).code
      }
      #expect(try await code("orders:write", "project:1") == .valid)
      #expect(try await code("orders:delete", "project:2") == .insufficientScope)
      try await pool.script("update plans set scopes = '{*}'")
      #expect(try await code("orders:delete", "project:2") == .valid)

      try await world.policies.set(KeyPolicy(allowedScopes: ["orders:read"]), of: account, by: World.caller)
      let violations = try await world.keys.find(made.key.id, of: account).policyViolations
      #expect(violations.map(\.field) == [.resource("project:1", 0), .resource("project:2", 0)])
      let renamed = try await world.keys.update(made.key.id, of: account, KeyChanges(name: "x"), by: World.caller)
      #expect(renamed.key.name == "x")
    }
  }
}
