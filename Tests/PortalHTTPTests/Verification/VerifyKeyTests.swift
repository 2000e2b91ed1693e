import Foundation
import PortalHTTP
import PortalTesting
import Postgres
import Testing

@Suite("POST /v1/verify")
struct VerifyKeyTests {
  @Test("a good key is VALID, with its settings and what is left of its limit")
  func valid() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      let answer = try await portal.verify(key, token: token, ",\"scope\":\"orders:read\"")
      #expect(answer.status == 200)
      #expect(answer.body["valid"] == .bool(true))
      #expect(answer.body["code"].string == "VALID")
      #expect(answer.body["keyId"].string == id)
      #expect(answer.body["rateLimit"]["remaining"].integer == 59)
    }
  }

  @Test("a hit sends no statement to PostgreSQL")
  func hitSendsNothing() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey(",\"rateLimitPerMinute\":10000")
      _ = try await portal.verify(key, token: token)
      let before = try await portal.pool.query(CountVerificationStatements()).first ?? 0
      #expect(before > 0)
      for _ in 0..<500 {
        #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
      }
      let after = try await portal.pool.query(CountVerificationStatements()).first ?? 0
      #expect(after == before)
    }
  }
}

/// How often the server has run the statements that look up keys or service tokens.
struct CountVerificationStatements: PostgresStatement {
  static let sql = """
    select coalesce(sum(calls), 0)::bigint from pg_stat_statements
    where dbid = (select oid from pg_database where datname = current_database())
      and (query like '%key.key_hash, key.id%' or query like '%token.token_hash, token.id%')
    """
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Int { try row.next() }
}
