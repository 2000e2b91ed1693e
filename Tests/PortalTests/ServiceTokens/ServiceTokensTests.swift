import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("ServiceTokens")
struct ServiceTokensTests {
  private func check(_ pool: PostgresPool, _ observations: Observations = Observations()) -> ServiceTokenVerifier {
    ServiceTokenVerifier(pool: pool, lease: .seconds(60), observer: Observer([observations.sink]))
  }

  @Test(
    "a created token is found with its name and permissions; the database has only its hash",
    arguments: [
      [.verifyKeys], [.writeUsage, .readAnalytics], ServiceToken.Permission.allCases,
    ])
  func create(_ permissions: [ServiceToken.Permission]) async throws {
    try await withPool { pool in
      let made = try await World(pool).tokens.create(name: "gateway", permissions: permissions, by: World.caller)
      #expect(made.secret.reveal().hasPrefix("lk_svc_"))
      let token = try await check(pool).find(made.secret)
      #expect(
        token == ServiceToken(id: made.id, name: "gateway", permissions: permissions, expiresAt: nil, isRevoked: false))
      let row = try #require(try await pool.text("select service_tokens::text from service_tokens"))
      #expect(!row.contains(made.secret.reveal().suffix(12)))
      #expect(
        try await pool.text("select token_hash = sha256('\(made.secret.reveal())') from service_tokens") == "true")
    }
  }

  @Test("a token without permissions, without a name or with too long a name is refused")
  func refused() async throws {
    try await withPool { pool async throws in
      let tokens = World(pool).tokens
      for (name, permissions) in [("x", []), ("", [.verifyKeys]), (String(repeating: "x", count: 101), [.verifyKeys])]
        as [(String, [ServiceToken.Permission])]
      {
        await #expect(throws: PostgresError.self) {
          try await tokens.create(name: name, permissions: permissions, by: World.caller)
        }
      }
      #expect(try await pool.number("select count(*) from service_tokens") == 0)
    }
  }

  @Test("malformed tokens and customers' keys are refused without a look-up, unknown tokens after one")
  func unknown() async throws {
    try await withPool { pool in
      let check = check(pool)
      let made = try await World(pool).tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller)
        .secret.reveal()
      let before = pool.statistics.batchCount
      for text in ["", made.dropLast() + "!", made + "0", made.uppercased(), Secret.random(prefix: "lk_live").reveal()]
      {
        await #expect(throws: PortalError.unauthenticated) { try await check.find(Secret(presented: text)) }
      }
      #expect(pool.statistics.batchCount == before)
      await #expect(throws: PortalError.unauthenticated) { try await check.find(.random(prefix: "lk_svc")) }
      #expect(pool.statistics.batchCount == before + 1)
    }
  }

  @Test("revoking repeatedly and concurrently returns the first time, and affects no other token")
  func revoke() async throws {
    try await withPool { pool in
      let world = World(pool)
      let token = try await world.tokens.create(name: "one", permissions: [.verifyKeys], by: World.caller)
      let other = try await world.tokens.create(name: "other", permissions: [.verifyKeys], by: World.caller)
      let first = try await world.tokens.revoke(token.id, by: World.caller).revokedAt
      let outcomes = await concurrently(10) { _ in try await world.tokens.revoke(token.id, by: World.caller).revokedAt }
      #expect(outcomes.values == Array(repeating: first, count: 10))
      await #expect(throws: PortalError.unauthenticated) { try await check(pool).find(token.secret) }
      #expect(try await check(pool).find(other.secret).id == other.id)
      await #expect(throws: PortalError.notFound) { try await world.tokens.revoke(.version7(), by: World.caller) }
    }
  }

  @Test("a token can be revoked while a batch that it reported is being counted", .timeLimit(.minutes(1)))
  func revokeBusy() async throws {
    try await withPool { pool in
      let world = World(pool)
      let token = try await world.tokens.create(name: "busy", permissions: [.writeUsage], by: World.caller)
      try await pool.withTransaction { transaction in
        #expect(try await transaction.query(InsertUsageBatch(tokenID: token.id, batchID: "one")).count == 1)
        _ = try await world.tokens.revoke(token.id, by: World.caller)
      }
      #expect(try await world.tokens.list().items.first?.revokedAt != nil)
      #expect(try await pool.number("select count(*) from usage_batches") == 1)
    }
  }

  @Test("the audit trail records the name, permissions and environment of a created token")
  func trail() async throws {
    try await withPool { pool in
      let tokens = World(pool).tokens
      let token = try await tokens.create(
        name: "shop", permissions: [.readKeys, .writeKeys], environment: .test, by: World.caller)
      _ = try await tokens.create(
        name: String(repeating: "x", count: ServiceToken.nameLengthMax),
        permissions: ServiceToken.Permission.allCases, by: World.caller)
      _ = try await tokens.roll(token.id, graceSeconds: 0, by: World.caller)
      let (shop, all) = ("shop: keys.read, keys.write in test", String(repeating: "x", count: 100))
      #expect(
        try await pool.lines(
          "select concat(reason, coalesce(detail, action)) from audit_events where target_kind = 'token' order by seq")
          == [
            shop,
            all + ": " + ServiceToken.Permission.allCases.map(\.rawValue).joined(separator: ", "), shop,
            "token.rolled",
          ])
    }
  }

  @Test("a token keeps its environment and expiry, and analytics cannot be restricted to an environment")
  func restricted() async throws {
    try await withPool { pool in
      let tokens = World(pool).tokens
      let expiry = Date(timeIntervalSince1970: 4_000_000_000)
      let made = try await tokens.create(
        name: "shop", permissions: [.readKeys], environment: .test, expiresAt: expiry, by: World.caller)
      let token = try await check(pool).find(made.secret)
      #expect(token.environment == .test && token.expiresAt == expiry)
      #expect(try await tokens.list().items == [made.details])
      #expect(made.details.status(at: expiry.addingTimeInterval(-1)) == .active)
      #expect(made.details.status(at: expiry) == .expired)
      await #expect(throws: PortalError.self) {
        try await tokens.create(
          name: "x", permissions: [.readKeys, .readAnalytics], environment: .live, by: World.caller)
      }
      // The database enforces this, too.
      await #expect(throws: PostgresError.self) {
        try await pool.script("update service_tokens set permissions = '{analytics.read}'")
      }
      #expect(try await pool.number("select count(*) from service_tokens") == 1)
    }
  }

  @Test("tokens are listed newest first, in pages")
  func list() async throws {
    try await withPool { pool in
      let tokens = World(pool).tokens
      var made: [UUID] = []
      for number in 0..<5 {
        made.append(try await tokens.create(name: "\(number)", permissions: [.verifyKeys], by: World.caller).id)
      }
      var (found, page) = ([UUID](), PageRequest(limit: 2))
      repeat {
        let next = try await tokens.list(page: page)
        found += next.items.map(\.id)
        page.before = next.next
      } while page.before != nil
      #expect(found == made.reversed())
    }
  }

  @Test(
    "a roll makes an equal successor; the old token lasts until its grace period or its own expiry ends",
    arguments: [nil, 60.0, 86_400])
  func roll(_ lifetime: Double?) async throws {
    try await withPool { pool in
      let tokens = World(pool).tokens
      let expiry = lifetime.map { Date(timeIntervalSince1970: (Date().timeIntervalSince1970 + $0).rounded()) }
      let old = try await tokens.create(
        name: "shop", permissions: [.readKeys, .writeKeys], environment: .live, expiresAt: expiry, by: World.caller)
      let rolled = try await tokens.roll(old.id, graceSeconds: 3_600, by: World.caller)
      let (one, two) = (old.details, rolled.successor.details)
      #expect(two.name == one.name && two.permissions == one.permissions && two.environment == one.environment)
      #expect(two.expiresAt == expiry && two.replacesID == old.id && two.rolledAt == nil)
      #expect(rolled.predecessor.rolledAt != nil && rolled.predecessor.revokedAt == nil)
      let end = try #require(rolled.predecessor.expiresAt)
      #expect(abs(end.timeIntervalSinceNow - min(3_600, lifetime ?? 3_600)) < 30)
      let check = check(pool)
      #expect(try await check.find(old.secret).id == old.id)
      #expect(try await check.find(rolled.successor.secret).id == two.id)
      await #expect(throws: PortalError.tokenNotActive) {
        try await tokens.roll(old.id, graceSeconds: 0, by: World.caller)
      }
      // A rolled token can be revoked during its grace period.
      _ = try await tokens.revoke(old.id, by: World.caller)
      await #expect(throws: PortalError.unauthenticated) { try await self.check(pool).find(old.secret) }
      #expect(try await tokens.list().items.map(\.id) == [two.id, one.id])
    }
  }

  @Test("a roll without a grace period revokes; a revoked, expired or unknown token cannot be rolled")
  func rollRefused() async throws {
    try await withPool { pool in
      let tokens = World(pool).tokens
      let old = try await tokens.create(name: "one", permissions: [.verifyKeys], by: World.caller)
      let rolled = try await tokens.roll(old.id, graceSeconds: 0, by: World.caller)
      #expect(rolled.predecessor.revokedAt != nil && rolled.predecessor.status(at: Date()) == .revoked)
      await #expect(throws: PortalError.unauthenticated) { try await check(pool).find(old.secret) }
      let next = rolled.successor.id
      try await pool.script("update service_tokens set expires_at = now() where id = '\(next)'")
      for id in [old.id, next] {
        await #expect(throws: PortalError.tokenNotActive) {
          try await tokens.roll(id, graceSeconds: 60, by: World.caller)
        }
      }
      await #expect(throws: PortalError.notFound) {
        try await tokens.roll(.version7(), graceSeconds: 60, by: World.caller)
      }
      #expect(try await pool.number("select count(*) from service_tokens") == 2)
    }
  }

  @Test("with concurrent rolls and a revocation, at most one roll succeeds and the old token is revoked")
  func races() async throws {
    try await withPool { pool in
      let tokens = World(pool).tokens
      var rolledCount = 0
      for round in 0..<60 {
        let old = try await tokens.create(name: "\(round)", permissions: [.verifyKeys], by: World.caller)
        let outcomes = await concurrently(4) { index in
          if index == round % 4 {
            _ = try await tokens.revoke(old.id, by: World.caller)
          } else {
            _ = try await tokens.roll(old.id, graceSeconds: 60, by: World.caller)
          }
        }
        let refused = outcomes.count(of: .tokenNotActive)
        #expect(outcomes.errors.count == refused && (2...3).contains(refused), "round \(round)")
        rolledCount += 3 - refused
        let found = try await tokens.list(page: PageRequest(limit: 2)).items
        let successors = found.filter { $0.replacesID == old.id }
        #expect(successors.count == 3 - refused && successors.allSatisfy { $0.revokedAt == nil }, "round \(round)")
        await #expect(throws: PortalError.unauthenticated) { try await check(pool).find(old.secret) }
      }
      #expect(try await AuditChains(pool: pool).verify { _ in }.isIntact)
      print("token races: 60 rounds, a roll came before the revocation in \(rolledCount)")
    }
  }

  @Test("a token is good until its expiry or revocation")
  func isGood() {
    let now = Date()
    var token = ServiceToken(id: .version7(), name: "x", permissions: [], expiresAt: nil, isRevoked: false)
    #expect(token.isGood(at: .distantFuture))
    token.expiresAt = now
    #expect(token.isGood(at: now.addingTimeInterval(-0.001)) && !token.isGood(at: now))
    (token.expiresAt, token.isRevoked) = (nil, true)
    #expect(!token.isGood(at: now))
  }

  @Test("a cached token is found without the database until it expires")
  func cached() async throws {
    try await withPool { pool in
      let observations = Observations()
      let check = check(pool, observations)
      let made = try await World(pool).tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller)
      try await pool.script("update service_tokens set expires_at = clock_timestamp() + interval '1 hour'")
      _ = try await check.tokens.cache.apply(pool.newestSync())
      #expect(try await check.find(made.secret).id == made.id)
      let before = pool.statistics.batchCount
      #expect(try await check.find(made.secret).id == made.id)
      let now = DatabaseClock().now
      #expect(check.findCached(made.secret.hash, for: .verifyKeys, at: now)?.token.id == made.id)
      let later = Moment(instant: now.instant, date: now.date.addingTimeInterval(3_601))
      #expect(check.findCached(made.secret.hash, for: .verifyKeys, at: later) == nil)
      #expect(pool.statistics.batchCount == before)
      #expect(observations.count(.cacheMiss) == 1 && observations.count(.cacheHit) > 0)
    }
  }
}
