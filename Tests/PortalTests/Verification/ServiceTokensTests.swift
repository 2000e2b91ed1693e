import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("ServiceTokens")
struct ServiceTokensTests {
  private func check(_ pool: PostgresPool, _ observations: Observations = Observations()) -> ServiceTokenCheck {
    ServiceTokenCheck(pool: pool, lease: .seconds(60), observer: Observer([observations.sink]))
  }

  @Test(
    "a made token is found with its name and permissions; the database holds its hash only",
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

  @Test("a token without permissions, or without a name or with too long a one, is not made")
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

  @Test("what is no token is refused: malformed or a customer's key without a look-up, unknown after one")
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

  @Test("revoking answers with the first moment, however often and at once it is asked; others stay")
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

  @Test("a token is good to the moment of its expiry, and no longer, nor once it is revoked")
  func isGood() {
    let now = Date()
    var token = ServiceToken(id: .version7(), name: "x", permissions: [], expiresAt: nil, isRevoked: false)
    #expect(token.isGood(at: .distantFuture))
    token.expiresAt = now
    #expect(token.isGood(at: now.addingTimeInterval(-0.001)) && !token.isGood(at: now))
    (token.expiresAt, token.isRevoked) = (nil, true)
    #expect(!token.isGood(at: now))
  }

  @Test("a cached token is answered for without the database, until it expires")
  func cached() async throws {
    try await withPool { pool in
      let observations = Observations()
      let check = check(pool, observations)
      let made = try await World(pool).tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller)
      try await pool.type("update service_tokens set expires_at = clock_timestamp() + interval '1 hour'")
      try await check.tokens.cache.apply(pool.newestSync())
      #expect(try await check.find(made.secret).id == made.id)
      let before = pool.statistics.batchCount
      #expect(try await check.find(made.secret).id == made.id)
      let now = Moment.now
      #expect(check.allowsAtOnce(made.secret.hash, .verifyKeys, at: now))
      let later = Moment(instant: now.instant, date: now.date.addingTimeInterval(3_601))
      #expect(!check.allowsAtOnce(made.secret.hash, .verifyKeys, at: later))
      #expect(pool.statistics.batchCount == before)
      #expect(observations.count(.cacheMiss) == 1 && observations.count(.cacheHit) > 0)
    }
  }
}
