import PostgresTesting
import Testing

@testable import Postgres

private struct ReadSettings: PostgresStatement {
  static let sql = "select current_user::text, coalesce(current_setting('test.account', true), '')"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> [String] { [try row.next(), try row.next()] }
}

extension PostgresPool {
  /// The role and the account, as a statement sees them.
  fileprivate func settings(as settings: PostgresSettings = .none) async throws -> [String] {
    try await query(ReadSettings(), as: settings)[0]
  }
}

@Suite("Settings of a transaction")
struct PostgresSettingsTests {
  private static let settings = PostgresSettings(["role": "pg_monitor", "test.account": "it's 7"])

  /// Runs `body` with a single connection, so that anything left behind is found.
  private func withOneConnection(_ body: (PostgresPool) async throws -> Void) async throws {
    var configuration = testConfiguration(try serverURL())
    configuration.poolSizeMax = 1
    try await PostgresPool.with(configuration, body)
  }

  @Test("apply to a statement, a pipeline or a transaction, and no longer")
  func scope() async throws {
    try await withOneConnection { pool in
      let before = try await pool.settings()
      for _ in 1...2 {
        #expect(try await pool.settings(as: Self.settings) == ["pg_monitor", "it's 7"])
        #expect(try await pool.settings() == before)
        let (one, two) = try await pool.pipeline(ReadSettings(), ReadSettings(), as: Self.settings)
        #expect(one == two && one == [["pg_monitor", "it's 7"]])
        #expect(try await pool.settings() == before)
        try await pool.withTransaction(as: Self.settings) { transaction in
          for _ in 1...2 {
            let found = try await transaction.query(ReadSettings())
            #expect(found == [["pg_monitor", "it's 7"]])
          }
        }
        #expect(try await pool.settings() == before)
        let count = try await pool.execute(ReadSettings(), as: Self.settings)
        #expect(count == 1)
        #expect(try await pool.settings() == before)
      }
    }
  }

  @Test("take no round trip of their own")
  func oneRoundTrip() async throws {
    try await withOneConnection { pool in
      let batches = pool.statistics.batchCount
      _ = try await pool.query(ReadSettings(), as: Self.settings)
      #expect(pool.statistics.batchCount == batches + 1)
      try await pool.withTransaction(as: Self.settings) { _ = try await $0.query(ReadSettings()) }
      #expect(pool.statistics.batchCount == batches + 3)
    }
  }

  @Test("that cannot be set fail their statement, and the connection can be used again")
  func refused() async throws {
    try await withOneConnection { pool in
      let wrong = PostgresSettings(["role": "nobody_of_this_name"])
      for _ in 1...2 {
        let error = await #expect(throws: PostgresError.self) { try await pool.settings(as: wrong) }
        #expect(error?.sqlState == "22023")
        await #expect(throws: PostgresError.self) {
          try await pool.withTransaction(as: wrong) { _ = try await $0.query(ReadSettings()) }
        }
      }
      let found = try await pool.settings()
      #expect(found.count == 2)
    }
  }

  @Test("a transaction without a statement sends nothing")
  func empty() async throws {
    try await withOneConnection { pool in
      let batches = pool.statistics.batchCount
      try await pool.withTransaction(as: Self.settings) { _ in }
      #expect(pool.statistics.batchCount == batches)
      #expect(try await pool.settings()[0] != "pg_monitor")
    }
  }

  @Test("a pool may have its own role, which the end of a transaction does not change")
  func poolRole() async throws {
    var configuration = testConfiguration(try serverURL())
    configuration.poolSizeMax = 1
    configuration.role = "pg_read_all_stats"
    try await PostgresPool.with(configuration) { pool in
      for _ in 1...2 {
        let (own, other) = (try await pool.settings()[0], try await pool.settings(as: Self.settings)[0])
        #expect(own == "pg_read_all_stats" && other == "pg_monitor")
      }
    }
  }

  @Test("a pool whose role does not exist reports that")
  func missingRole() async throws {
    // A mark after a quote or a backslash does not hide it from PostgreSQL.
    for name in ["nobody \"of\" this name", "nobody's", "nobody'\u{301}, true), ('", "nobody\\\u{301}'\u{301}"] {
      var configuration = testConfiguration(try serverURL())
      configuration.role = name
      try await PostgresPool.with(configuration) { pool in
        let error = await #expect(throws: PostgresError.self) { try await pool.settings() }
        #expect(error?.code == .connectFailed)
        #expect(error?.message.contains(name) == true, "\(name)")
      }
    }
  }

  @Test(
    "quoted text ends at its own quotes only, whatever marks follow the quotes and backslashes in it",
    arguments: [
      ("it's \\", #" E'it''s \\'"#, #""it's \""#), ("a\"b", #" E'a"b'"#, #""a""b""#),
      ("'\u{301}\\\u{301}", " E'''\u{301}\\\\\u{301}'", "\"'\u{301}\\\u{301}\""),
      ("\"\u{301}'\u{200D}", " E'\"\u{301}''\u{200D}'", "\"\"\"\u{301}'\u{200D}\""),
    ])
  func quoting(_ text: String, _ literal: String, _ identifier: String) {
    #expect(Array(PostgresConnection.quoteLiteral(text).utf8) == Array(literal.utf8))
    #expect(Array(PostgresConnection.quoteIdentifier(text).utf8) == Array(identifier.utf8))
  }
}
