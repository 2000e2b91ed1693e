import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

/// A verifier with a fresh cache, its usage and its observations.
private struct Gate {
  let world: World
  let verifier: Verifier
  let usage = UsageRecorder()
  let observations = Observations()
  let account: UUID

  init(_ pool: PostgresPool) async throws {
    world = World(pool)
    var limits = CoherentCacheState<VerifiableKey>.Limits()
    limits.lease = .seconds(600)
    verifier = world.makeVerifier(limits, usage: usage, observer: Observer([observations.sink]))
    account = try await world.makeAccount()
    try await catchUp()
    _ = try await verifier.clock.now(on: pool)
  }

  /// Syncs the cache as a listener does, so that keys made since are no longer ahead of it.
  func catchUp() async throws {
    _ = try await verifier.apply(world.pool.newestSync())
  }

  func verify(
    _ key: Secret, _ scopes: String..., from address: String? = nil, endpoint: String = "/", cost: Int = 1
  ) async throws -> Verdict {
    try await verifier.verify(
      VerificationRequest(
        hash: world.format.hash(of: key), scopes: scopes, clientIP: address.flatMap { AddressBlock($0) },
        endpoint: endpoint, cost: cost))
  }
}

private func withGate(_ body: (Gate) async throws -> Void) async throws {
  try await withPool { try await body(try await Gate($0)) }
}

@Suite("Verifier")
struct VerifierTests {
  @Test("a good key is valid, and the verdict has the details that a gateway needs")
  func valid() async throws {
    try await withGate { gate in
      let settings = KeySettings(
        name: "Key", environment: .test, scopes: ["orders:*"], rateLimitPerMinute: 7,
        allowedIPs: [AddressBlock("192.0.2.0/24")!])
      let issued = try await gate.world.makeKey(gate.account, settings)
      let verdict = try await gate.verify(issued.secret, "orders:read", from: "192.0.2.1", cost: 3)
      #expect(verdict.code == .valid && verdict.isValid)
      let (key, limits) = try #require(verdict.found)
      #expect(key.id == issued.key.id && key.accountID == gate.account && key.name == "Key")
      #expect(key.environment == .test && key.scopes == ["orders:*"] && key.allowedIPs == settings.allowedIPs)
      #expect(limits.binding?.limit == 7 && limits.binding?.remaining == 4 && limits.isAdmitted)
      #expect(gate.observations.count(.verified(.valid)) == 1)
    }
  }

  @Test(
    "rolling a key eleven times in a minute does not raise any of its limits",
    arguments: RateLimitMode.allCases, [true, false])
  func rolled(_ mode: RateLimitMode, _ isNamed: Bool) async throws {
    try await withGate { gate in
      let settings = KeySettings(
        name: "Key", scopes: ["a"], rateLimitPerMinute: isNamed ? 500 : 5,
        limits: isNamed ? [RateLimit(name: "hourly", limit: 5, windowSeconds: 3_600)] : [], rateLimitMode: mode)
      var key = try await gate.world.makeKey(gate.account, settings)
      var count = 0
      for number in 0..<12 {
        if number > 0 {
          key = try await gate.world.keys.roll(
            key.key.id, of: gate.account, graceSeconds: number % 2 * 60, by: World.caller
          ).successor
        }
        try await gate.catchUp()
        for _ in 0..<5 where try await gate.verify(key.secret).isValid { count += 1 }
      }
      #expect(count == 5)
    }
  }

  @Test("a key and its predecessor share their limit during the grace period")
  func grace() async throws {
    try await withGate { gate in
      let old = try await gate.world.makeKey(
        gate.account, KeySettings(name: "Key", scopes: ["a"], rateLimitPerMinute: 5))
      try await gate.catchUp()
      for _ in 0..<2 { #expect(try await gate.verify(old.secret).code == .valid) }
      let new = try await gate.world.keys.roll(
        old.key.id, of: gate.account, graceSeconds: 60, by: World.caller
      ).successor
      try await gate.catchUp()
      for key in [new, old, new] { #expect(try await gate.verify(key.secret).code == .valid) }
      for key in [new, old] { #expect(try await gate.verify(key.secret).code == .rateLimited) }
    }
  }

  @Test("a malformed key costs no look-up, an unknown key one, and neither is counted as usage")
  func notFound() async throws {
    try await withGate { gate in
      let secret = try await gate.world.makeKey(gate.account).secret.reveal()
      try await gate.catchUp()
      let batches = gate.world.pool.statistics.batchCount
      for text in [secret.dropLast() + "!", "", String(repeating: "k", count: 600), secret + "0"] {
        let verdict = try await gate.verify(Secret(presented: text))
        #expect(verdict.code == .notFound && verdict.found == nil)
      }
      #expect(gate.world.pool.statistics.batchCount == batches)
      let unknown = Secret.random(prefix: "lk_live")
      for _ in 0..<3 { #expect(try await gate.verify(unknown).code == .notFound) }
      #expect(gate.world.pool.statistics.batchCount == batches + 1)
      #expect(gate.usage.seal().isEmpty)
      #expect(gate.observations.count(.verified(.notFound)) == 7)
    }
  }

  @Test("a key whose hash was imported from another system is verified in its own format")
  func foreign() async throws {
    try await withGate { gate in
      try await gate.world.makeKey(gate.account)
      try await gate.world.pool.script("update api_keys set key_hash = sha256('sk_of_another_system')")
      #expect(try await gate.verify(Secret(presented: "sk_of_another_system")).code == .valid)
    }
  }

  /// `VerdictTests` covers the order of the reasons; here each of them comes from the database.
  @Test(
    "the verdict code follows the key's state in the database",
    arguments: [
      ("update api_keys set revoked_at = now()", .revoked), ("update accounts set suspended_at = now()", .suspended),
      ("update api_keys set disabled_at = now()", .disabled), ("update api_keys set expires_at = now()", .expired),
      ("update api_keys set allowed_ips = '{10.0.0.0/8}'", .forbiddenAddress),
      ("update api_keys set scopes = '{a:b}'", .insufficientScope), ("delete from api_keys", .notFound),
      ("update plans set rate_limit_per_minute_max = 1", .rateLimited),
      (
        "update api_keys set revoked_at = now(), disabled_at = now(); update accounts set suspended_at = now()",
        .revoked
      ),
    ] as [(String, Verdict.Code)])
  func codes(_ change: String, _ code: Verdict.Code) async throws {
    try await withGate { gate in
      let issued = try await gate.world.makeKey(gate.account, KeySettings(name: "Key", scopes: ["a:*"]))
      try await gate.world.pool.script(change)
      let verdict = try await gate.verify(issued.secret, "a:b", "a:c", from: "192.0.2.1", cost: 2)
      #expect(verdict.code == code && !verdict.isValid)
      #expect((verdict.found == nil) == (code == .notFound))
    }
  }

  @Test("if the row of a key cannot be decoded, requests for that key fail, and those for other keys get verdicts")
  func undecodable() async throws {
    try await withGate { gate in
      let keys = try await gate.world.makeKeys(3, gate.account)
      try await gate.world.pool.script(
        "update api_keys set scopes = array[null, 'a'] where id = '\(keys[1].key.id)'")
      try await gate.catchUp()
      // More at a time than there are statements in flight, so that keys share a statement.
      let outcomes = await concurrently(60) { index -> Verdict.Code? in
        do { return try await gate.verify(keys[index % 3].secret).code } catch let error as PostgresError {
          #expect(error.code == .decoding && error.statement == "FindVerifiableKeys", "\(error)")
          return nil
        }
      }
      #expect(outcomes.errors.isEmpty, "\(outcomes.errors.prefix(1))")
      #expect(outcomes.values.count { $0 == nil } == 20 && outcomes.values.count { $0 == .valid } == 40)

      try await gate.world.pool.script("update key_activity set last_used_at = now()")
      try await gate.catchUp()
      #expect(try await gate.verifier.preload(3) == 2, "it is left out")
      try await gate.world.pool.script("update api_keys set scopes = '{a}'")
      try await gate.catchUp()
      #expect(try await gate.verify(keys[1].secret).code == .valid)
    }
  }

  // MARK: The cache

  @Test("a thousand concurrent verifications share a look-up, and a thousand later ones take no statement")
  func noStatement() async throws {
    try await withGate { gate in
      let secret = try await gate.world.makeKey(
        gate.account, KeySettings(name: "x", scopes: ["a"], rateLimitPerMinute: 10_000)
      ).secret
      try await gate.catchUp()
      let batches = gate.world.pool.statistics.batchCount
      let outcomes = await concurrently(1_000) { _ in try await gate.verify(secret).code }
      #expect(outcomes.values == Array(repeating: .valid, count: 1_000))
      // A request that missed the cache just before the key was stored looks it up again.
      #expect(gate.world.pool.statistics.batchCount <= batches + 3)
      let after = gate.world.pool.statistics.batchCount
      for _ in 0..<1_000 { #expect(try await gate.verify(secret).code == .valid) }
      #expect(gate.world.pool.statistics.batchCount == after)
    }
  }

  @Test("a cached key is refused from its expiry on, without an invalidation")
  func expiryWhileCached() async throws {
    try await withGate { gate in
      let expiresAt = Date().addingTimeInterval(1)
      let secret = try await gate.world.makeKey(
        gate.account, KeySettings(name: "x", scopes: ["a"], rateLimitPerMinute: 10_000, expiresAt: expiresAt)
      ).secret
      try await gate.catchUp()
      #expect(try await gate.verify(secret).code == .valid)
      let batches = gate.world.pool.statistics.batchCount
      try await eventually("the key expires") { try await gate.verify(secret).code == .expired }
      // By the estimate of PostgreSQL's clock.
      #expect(Date() >= expiresAt - 0.1)
      #expect(gate.world.pool.statistics.batchCount == batches)
    }
  }

  // MARK: The limit and usage

  @Test("a refused request takes nothing from the limit, reports its state, and counts as denied")
  func refusedTakesNothing() async throws {
    try await withGate { gate in
      let issued = try await gate.world.makeKey(
        gate.account, KeySettings(name: "x", scopes: ["a"], rateLimitPerMinute: 10))
      for _ in 0..<20 {
        let verdict = try await gate.verify(issued.secret, "b", cost: 5)
        #expect(verdict.code == .insufficientScope && verdict.found?.limits.binding?.remaining == 10)
      }
      #expect(try await gate.verify(issued.secret, cost: 11).code == .rateLimited)
      #expect(try await gate.verify(issued.secret, cost: 10).found?.limits.binding?.remaining == 0)
      let limited = try await gate.verify(issued.secret)
      #expect(limited.code == .rateLimited && (1...120).contains(limited.found?.limits.binding?.retryAfterSeconds ?? 0))
      // Another reason comes before the limit.
      #expect(try await gate.verify(issued.secret, "b").code == .insufficientScope)
      let counters = gate.usage.seal().flatMap { $0.read().counters }
      #expect(counters.reduce(0) { $0 + $1.verified } == 1 && counters.reduce(0) { $0 + $1.denied } == 23)
    }
  }

  @Test("five hundred concurrent requests are admitted up to the limit, and all are counted by endpoint")
  func limitAtOnce() async throws {
    try await withGate { gate in
      let secret = try await gate.world.makeKey(
        gate.account, KeySettings(name: "x", scopes: ["a"], rateLimitPerMinute: 100)
      ).secret
      let outcomes = await concurrently(500) { try await gate.verify(secret, endpoint: "/e\($0 % 2)").code }
      // A new minute may have begun meanwhile, which admits a part of its limit.
      #expect((100...200).contains(outcomes.values.count { $0 == .valid }))
      #expect(outcomes.values.allSatisfy { $0 == .valid || $0 == .rateLimited })
      let counters = gate.usage.seal().flatMap { $0.read().counters }
      #expect(Set(counters.map(\.endpoint)) == ["/e0", "/e1"])
      #expect(counters.reduce(0) { $0 + $1.verified } == outcomes.values.count { $0 == .valid })
      #expect(counters.reduce(0) { $0 + $1.verified + $1.denied } == 500)
    }
  }

  @Test("what a key was granted is cached with it, and a change of a role drops the keys that were granted something")
  func grants() async throws {
    try await withGate { gate in
      let world = gate.world
      for slug in ["a", "b"] {
        _ = try await world.permissions.create(CatalogPermission.Settings(slug: slug), by: World.caller)
      }
      _ = try await world.roles.create(CatalogRole.Settings(name: "pro"), permissions: [.name("a")], by: World.caller)
      let api = try await world.apis.create(CatalogAPI.Settings(slug: "orders", name: "Orders"), by: World.caller)
      let granted = try await world.makeKey(gate.account, KeySettings(name: "Key", scopes: ["a"], apiID: api.id))
      let plain = try await world.makeKey(gate.account)
      _ = try await world.grants.changeRoles(
        of: granted.key.id, GrantChanges(add: [.name("pro")]), by: World.caller)
      try await gate.catchUp()
      func code(_ key: IssuedKey, _ query: String, _ api: String = "orders") async throws -> Verdict.Code {
        let request = VerificationRequest(
          hash: key.secret.hash, api: .name(api), permissions: try PermissionQuery(query))
        return try await gate.verifier.verify(request).code
      }
      #expect(try await code(granted, "a") == .valid)
      #expect(try await code(granted, "b") == .insufficientPermissions)
      #expect(try await code(granted, "a", "other") == .notFound)
      #expect(try await code(plain, "a") == .insufficientPermissions)
      let misses = gate.observations.count(.cacheMiss)
      #expect(try await code(granted, "a") == .valid)
      #expect(gate.observations.count(.cacheMiss) == misses)

      _ = try await world.roles.update(.name("pro"), CatalogRoleChanges(permissions: [.name("b")]), by: World.caller)
      try await gate.catchUp()
      _ = try await world.apis.update(.name("orders"), CatalogAPIChanges(slug: "shop"), by: World.caller)
      try await gate.catchUp()
      let before = gate.observations.count(.cacheMiss)
      #expect(try await code(plain, "a") == .insufficientPermissions)
      #expect(gate.observations.count(.cacheMiss) == before, "it stays in the cache")
      #expect(try await code(granted, "b", "shop") == .valid)
      #expect(try await code(granted, "a", "shop") == .insufficientPermissions)
      #expect(try await code(granted, "b") == .notFound)
    }
  }

  @Test("the endpoint limits of an api apply by the roles of a key, are compiled once, and follow changes of the api")
  func endpointLimits() async throws {
    try await withGate { gate in
      let world = gate.world
      func limits(_ limit: Int, pro: Int) throws -> EndpointLimits {
        EndpointLimits([
          .init(
            try #require(EndpointLimits.pattern("GET /a*")),
            otherwise: WindowLimit(limit: limit, windowMilliseconds: 31 * 86_400_000),
            roles: ["pro": WindowLimit(limit: pro, windowMilliseconds: 31 * 86_400_000)]),
          .init(
            try #require(EndpointLimits.pattern("GET /a/b")),
            otherwise: WindowLimit(limit: 100, windowMilliseconds: 3_600_000)),
        ])
      }
      let api = try await world.apis.create(
        CatalogAPI.Settings(slug: "orders", name: "Orders", endpointLimits: limits(2, pro: 3)), by: World.caller)
      _ = try await world.roles.create(CatalogRole.Settings(name: "pro"), permissions: [], by: World.caller)
      let settings = KeySettings(name: "Key", scopes: ["a"], rateLimitPerMinute: 1_000, apiID: api.id)
      let keys = [try await world.makeKey(gate.account, settings), try await world.makeKey(gate.account, settings)]
      let free = try await world.makeKey(gate.account)
      _ = try await world.grants.changeRoles(of: keys[1].key.id, GrantChanges(add: [.name("pro")]), by: World.caller)
      try await gate.catchUp()
      func left(_ key: IssuedKey, _ endpoint: String) async throws -> [String: Int]? {
        let verdict = try await gate.verify(key.secret, endpoint: endpoint)
        guard verdict.isValid, let limits = verdict.found?.limits else { return nil }
        return Dictionary(uniqueKeysWithValues: limits.all.map { ($0.limit.name, $0.window.remaining) })
      }
      for endpoint in ["GET /a", "GET /a/1", "GET /b", "POST /a", VerificationRequest.endpointDefault] {
        #expect(try await left(free, endpoint)?.keys.contains("GET /a*") == false)
      }
      #expect(try await left(keys[0], "GET /a/1")?["GET /a*"] == 1)
      // A pattern is one limit for all that it matches, and the most specific one alone applies.
      #expect(try await left(keys[0], "GET /a/2")?["GET /a*"] == 0)
      #expect(try await left(keys[0], "GET /a/3") == nil)
      #expect(try await left(keys[0], "GET /a/b")?["GET /a/b"] == 99)
      #expect(try await left(keys[0], "GET /b")?.keys.sorted() == ["default"])
      #expect(try await left(keys[0], VerificationRequest.endpointDefault)?.keys.sorted() == ["default"])
      // Each key counts for itself.
      for remaining in [2, 1, 0] { #expect(try await left(keys[1], "GET /a")?["GET /a*"] == remaining) }
      #expect(try await left(keys[1], "GET /a") == nil)

      let cached = keys.map { gate.verifier.keys.cache.lookup($0.secret.hash, at: .now) }
      let compiled = cached.compactMap { entry in
        if case .hit(let key) = entry { key.grants?.endpointLimits } else { nil }
      }
      #expect(compiled.count == 2 && compiled[0] === compiled[1])

      _ = try await world.apis.update(
        .name("orders"), CatalogAPIChanges(endpointLimits: limits(3, pro: 3)), by: World.caller)
      try await gate.catchUp()
      #expect(try await left(keys[0], "GET /a")?["GET /a*"] == 0, "what was used stays used")
      #expect(try await left(keys[0], "GET /a") == nil)
      _ = try await world.apis.update(
        .name("orders"), CatalogAPIChanges(endpointLimits: EndpointLimits([])), by: World.caller)
      try await gate.catchUp()
      #expect(try await left(keys[0], "GET /a")?.keys.sorted() == ["default"])
      // Keys whose api has something that no api can have are errors, and the others are found.
      try await world.pool.script("update apis set endpoint_limits = '[{}]'")
      try await gate.catchUp()
      await #expect(throws: (any Error).self) { try await left(keys[0], "GET /a") }
      #expect(try await left(free, "GET /a") != nil)
    }
  }

  @Test("the lower of the key's and the plan's limit applies")
  func planLimit() async throws {
    try await withGate { gate in
      let issued = try await gate.world.makeKey(gate.account)
      try await gate.world.pool.script("update plans set rate_limit_per_minute_max = 5")
      #expect(try await gate.verify(issued.secret).found?.limits.binding?.limit == 5)
    }
  }

  @Test("preloading caches the most recently used keys, revoked ones included")
  func preload() async throws {
    try await withGate { gate in
      let issued = try await gate.world.makeKeys(5, gate.account)
      // Never used.
      try await gate.world.makeKey(gate.account)
      for (number, key) in issued.enumerated() {
        try await gate.world.pool.script(
          """
          update key_activity set last_used_at = now() - interval '\(number) days' where key_id = '\(key.key.id)'
          """)
      }
      _ = try await gate.world.keys.revoke(issued[1].key.id, of: gate.account, by: World.caller)
      try await gate.catchUp()
      #expect(try await gate.verifier.preload(3) == 3)
      let batches = gate.world.pool.statistics.batchCount
      var codes: [Verdict.Code] = []
      for key in issued[..<3] { codes.append(try await gate.verify(key.secret).code) }
      #expect(codes == [.valid, .revoked, .valid])
      #expect(gate.world.pool.statistics.batchCount == batches)
      #expect(try await gate.verify(issued[3].secret).code == .valid)
      #expect(gate.world.pool.statistics.batchCount == batches + 1)
    }
  }

  @Test("two thousand concurrent unknown keys take few statements and evict no good key")
  func invented() async throws {
    try await withGate { gate in
      let issued = try await gate.world.makeKey(gate.account)
      try await gate.catchUp()
      #expect(try await gate.verify(issued.secret).code == .valid)
      let batches = gate.world.pool.statistics.batchCount
      let outcomes = await concurrently(2_000) { _ in try await gate.verify(Secret.random(prefix: "lk_live")).code }
      #expect(outcomes.values.count { $0 == .notFound } == 2_000)
      #expect(gate.world.pool.statistics.batchCount - batches < 500)
      let after = gate.world.pool.statistics.batchCount
      #expect(try await gate.verify(issued.secret).code == .valid)
      #expect(gate.world.pool.statistics.batchCount == after)
    }
  }
}
