import Foundation
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

@Suite("POST /v1/verify and the database")
struct VerifyKeyCacheTests {
  /// The long lease prevents look-ups caused by a stall of the machine.
  private func withPatientPortal(_ body: @escaping @Sendable (TestPortal) async throws -> Void) async throws {
    try await withPortal(configure: { $0.lease = .seconds(30) }, body)
  }

  @Test("a hit sends no statement to PostgreSQL")
  func hitSendsNothing() async throws {
    try await withPatientPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey(",\"rateLimitPerMinute\":10000")
      // The notification of the key's creation may arrive after its first look-up, and cause another.
      try await eventually("the key is cached") {
        let count = try await portal.lookUpCount()
        _ = try await portal.verify(key, token: token)
        return try await portal.lookUpCount() == count
      }
      #expect(try await portal.lookUpCount() > 0)
      try await portal.forgetLookUps()
      for _ in 0..<500 {
        #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
      }
      #expect(try await portal.lookUpCount() == 0)
    }
  }

  @Test("a typo sends no statement either; a well-formed unknown key sends one, once")
  func missSendsOnce() async throws {
    try await withPatientPortal { portal in
      let token = try await portal.makeToken()
      let key = Secret.random(prefix: "lk_live").reveal()
      #expect(try await portal.verify("lk_live_typo", token: token).body["code"].string == "NOT_FOUND")
      try await portal.forgetLookUps()
      var typos = [String(key.dropLast()), key + "0", "lk_test_" + key.dropFirst(8)]
      for index in 8..<key.count {
        var characters = Array(key)
        characters[index] = characters[index] == "a" ? "b" : "a"
        typos.append(String(characters))
      }
      for typo in typos {
        #expect(try await portal.verify(typo, token: token).body["code"].string == "NOT_FOUND", "\(typo)")
      }
      #expect(try await portal.lookUpCount() == 0)
      // An unknown key is looked up again after two seconds, and a slow machine may need that long for twenty requests.
      try await eventually("twenty requests take less than a second") {
        try await portal.forgetLookUps()
        let unknown = Secret.random(prefix: "lk_live").reveal()
        let start = ContinuousClock.now
        for _ in 0..<20 {
          #expect(try await portal.verify(unknown, token: token).body["code"].string == "NOT_FOUND")
        }
        guard .now - start < .seconds(1) else { return false }
        #expect(try await portal.lookUpCount() == 1)
        return true
      }
    }
  }

  @Test("under concurrent verification, no request after the response to a revocation gets VALID")
  func revokedWhileAsked() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      for _ in 0..<5 {
        let (id, key) = try await customer.createKey(",\"rateLimitPerMinute\":10000")
        let revocation = Revocation()
        try await withThrowingTaskGroup { group in
          for _ in 0..<8 {
            group.addTask {
              var askedAfter = 0
              while askedAfter < 10 {
                let isAfter = revocation.isAnswered.load(ordering: .sequentiallyConsistent)
                let code = try await portal.verify(key, token: token).body["code"].string
                #expect(code == "REVOKED" || (code == "VALID" && !isAfter))
                askedAfter += isAfter ? 1 : 0
              }
            }
          }
          #expect(try await customer.delete("/v1/keys/" + id).status == 200)
          revocation.isAnswered.store(true, ordering: .sequentiallyConsistent)
          try await group.waitForAll()
        }
      }
    }
  }

  @Test("without a database, after the lease, verification is unavailable, never VALID or NOT_FOUND, until it returns")
  func databaseGone() async throws {
    try await withPortal(configure: { $0.lease = .seconds(1) }) { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey(",\"rateLimitPerMinute\":10000")
      let unknown = Secret.random(prefix: "lk_live").reveal()
      #expect(try await portal.verify(key, token: token).body["code"].string == "VALID")
      try await portal.shutDatabase()
      try await eventually("the lease runs out") {
        let answer = try await portal.verify(key, token: token)
        #expect(answer.status == 503 || answer.body["code"].string == "VALID")
        #expect(try await portal.verify(unknown, token: token).status == 503)
        return answer.status == 503
      }
      for _ in 0..<10 {
        for key in [key, unknown, "lk_live_typo"] {
          let answer = try await portal.verify(key, token: token)
          expectProblem(answer, 503, "unavailable")
          #expect(answer.header("Retry-After") == "1")
        }
      }
      try await portal.openDatabase()
      for (key, code) in [(key, "VALID"), (unknown, "NOT_FOUND")] {
        try await eventually("verification works again") {
          let answer = try await portal.verify(key, token: token)
          #expect(answer.status == 503 || answer.body["code"].string == code)
          return answer.status == 200
        }
      }
    }
  }
}

private final class Revocation: Sendable {
  let isAnswered = Atomic<Bool>(false)
}

/// The number of times that the server has run the statements that look up keys or service tokens.
private struct CountVerificationStatements: PostgresStatement {
  typealias Row = Int
  static let sql = """
    select coalesce(sum(calls), 0)::bigint from pg_stat_statements
    where dbid = (select oid from pg_database where datname = current_database())
      and (query like '%key.key_hash, key.id%' or query like '%token.token_hash, token.id%')
    """
}

extension TestPortal {
  /// Resets the counts to zero, because PostgreSQL may evict earlier counts at any time to make room for others.
  fileprivate func forgetLookUps() async throws {
    try await script(
      "select pg_stat_statements_reset(0, (select oid from pg_database where datname = current_database()), 0)")
  }

  fileprivate func lookUpCount() async throws -> Int {
    try await pool.query(CountVerificationStatements()).first ?? 0
  }
}
