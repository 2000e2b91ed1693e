import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Verification statements")
struct VerificationStatementsTests {
  @Test("keys are looked up through the index on their hash, even by a generic plan")
  func keysByHash() async throws {
    try await withPool { pool in
      try await pool.withConnection { connection in
        try await connection.executeScript(
          """
          insert into accounts (id, name) select gen_random_uuid(), 'Account ' || n from generate_series(1, 100) n;
          insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes)
            select gen_random_uuid(), account.id, 'Key', 'lk_live_abcd', sha256(gen_random_uuid()::text::bytea), 'live',
              '{a}'
            from accounts account, generate_series(1, 200);
          analyze;
          set plan_cache_mode = force_generic_plan;
          prepare look_up (bytea[]) as \(FindVerifiableKeys.sql);
          """)
        let plan = try await connection.query(ExplainLookUp()).joined(separator: "\n")
        #expect(plan.contains("api_keys_key_hash_unique"), "\(plan)")
        #expect(!plan.contains("Seq Scan on api_keys"), "\(plan)")
      }
    }
  }

  @Test("the log of invalidations is read through the index on seq")
  func invalidations() async throws {
    try await withPool { pool in
      try await pool.withConnection { connection in
        try await connection.executeScript(
          """
          insert into invalidation_log (kind) select 'everything' from generate_series(1, 5000);
          analyze;
          prepare look_up (bigint, bigint) as \(ReadInvalidations.sql);
          """)
        let plan = try await connection.query(ExplainSync()).joined(separator: "\n")
        #expect(plan.contains("invalidation_log_seq_unique"), "\(plan)")
      }
    }
  }

  @Test(
    "a key with values that no key can have is a decoding error, and the other keys of the look-up are found",
    arguments: [
      "update api_keys set scopes = '{{a,b},{c,d}}'", "update api_keys set scopes = array[null, 'a']",
      "update api_keys set limit_names = '{a}', limit_values = '{null}', limit_window_seconds = '{60}'",
      """
      alter table api_keys drop constraint api_keys_limit_windows_range;
      update api_keys set limit_names = '{a}', limit_values = '{1}', limit_window_seconds = '{0}'
      """,
      """
      alter table api_keys drop constraint api_keys_limit_values_range;
      update api_keys set limit_names = '{a}', limit_values = '{-1}', limit_window_seconds = '{60}'
      """,
      "update api_keys set named_limits = '[{\"name\":\"a\"}]'",
      """
      update api_keys set named_limits = '[{"name":"a","limit":1,"windowMilliseconds":316224000001}]'
      """,
      """
      alter table api_keys drop constraint api_keys_expires_at_finite;
      update api_keys set expires_at = '-infinity'
      """,
      """
      alter table api_keys drop constraint api_keys_environment_known;
      update api_keys set environment = 'staging'
      """,
    ])
  func typedRows(_ sql: String) async throws {
    try await withPool { pool in
      let world = World(pool)
      let keys = try await world.makeKeys(3, world.makeAccount())
      try await pool.script(sql + " where id = '\(keys[1].key.id)'")
      let rows = try await pool.query(FindVerifiableKeys(hashes: keys.map(\.secret.hash)))
      #expect(rows.count == 3)
      for row in rows {
        let (hash, key) = try #require(row.found)
        switch key {
        case .success(let key): #expect(keys.contains { $0.key.id == key.id && $0.secret.hash == hash })
        case .failure(let error): #expect(error.code == .decoding && hash == keys[1].secret.hash)
        }
      }
      #expect(rows.count { (try? $0.found?.key.get()) == nil } == 1)
    }
  }

  @Test(
    "a position that no log can have is a decoding error of the whole look-up",
    arguments: ["update invalidation_head set seq = -1", "update invalidation_head set seq = 9223372036854775807"])
  func typedPositions(_ sql: String) async throws {
    try await withPool { pool in
      let world = World(pool)
      let find = FindVerifiableKeys(hashes: [try await world.makeKey(world.makeAccount()).secret.hash])
      #expect(try await pool.query(find).first?.found != nil)
      try await pool.script(sql)
      let error = await #expect(throws: PostgresError.self) { try await pool.query(find) }
      #expect(error?.code == .decoding)
    }
  }
}

private struct ExplainLookUp: PostgresStatement {
  typealias Row = String
  static let sql = "explain execute look_up (array['\\x00']::bytea[])"
}

private struct ExplainSync: PostgresStatement {
  typealias Row = String
  static let sql = "explain execute look_up (4999, 5000)"
}
