import Foundation
import Postgres

@testable import Portal

/// The first column of the first row of a query.
private struct Scalar: PostgresStatement {
  typealias Row = String?
  static let sql = "select pg_temp.scalar($1)"
  let query: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(query) }
}

extension PostgresPool {
  /// Runs statements as if they were typed into psql.
  func script(_ sql: String) async throws {
    try await withConnection { try await $0.executeScript(sql) }
  }

  func text(_ query: String) async throws -> String? {
    try await withConnection { try await $0.text(query) }
  }

  func number(_ query: String) async throws -> Int {
    try await text(query).flatMap { Int($0) } ?? 0
  }

  /// The rows of a query with one column.
  func lines(_ query: String) async throws -> [String] {
    let all = try await text(
      """
      select string_agg(line::text, chr(10) order by number)
      from (select line, row_number() over () as number from (\(query)) rows (line)) numbered
      """)
    return all?.split(separator: "\n").map(String.init) ?? []
  }
}

extension PostgresConnection {
  nonisolated func text(_ query: String) async throws -> String? {
    try await executeScript(
      """
      create or replace function pg_temp.scalar(query text) returns text language plpgsql as $$
      declare answer text;
      begin execute query into answer; return answer; end $$
      """)
    return try await self.query(Scalar(query: query)).first ?? nil
  }
}

private struct Explain: PostgresStatement {
  typealias Row = String
  static let sql = "select explain_plan($1)"
  let question: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(question) }
}

extension PostgresPool {
  /// The custom plan of a statement for some values (as after `ForceCustomPlan`), under a role. `types` are the types
  /// of its parameters. With `isRun`, the plan has actual row counts.
  func plan<Statement: PostgresStatement>(
    of _: Statement.Type, _ types: String, _ values: String, as role: DatabaseRole, in accountID: UUID? = nil,
    isRun: Bool = false
  ) async throws -> String {
    try await withConnection { connection in
      try await connection.executeScript(
        """
        create or replace function explain_plan(question text) returns text language plpgsql as $$
          declare line text; plan text := '';
          begin for line in execute question loop plan := plan || line || chr(10); end loop; return plan; end $$;
        set plan_cache_mode = force_custom_plan;
        set jit = off;
        set latchkey.account_id = '\(accountID?.uuidString ?? "")';
        set role \(role.rawValue);
        prepare planned (\(types)) as \(Statement.sql)
        """)
      let options = isRun ? "analyze, timing off, costs off" : "costs off"
      let plan = try await connection.query(
        Explain(question: "explain (\(options)) execute planned (\(values))")
      ).joined()
      try await connection.executeScript("reset role; reset all; deallocate planned")
      return plan
    }
  }
}

extension PostgresPool {
  /// The sync result that a listener would pass to a cache now, for tests that need a fresh cache without a listener.
  func newestSync() async throws -> SyncResult {
    let startedAt = ContinuousClock.now
    let rows = try await query(ReadInvalidations(after: -1, limit: 100_000))
    return SyncResult(
      head: rows[0].head, invalidations: rows.compactMap(\.invalidation), startedAt: startedAt,
      importForms: rows[0].importForms)
  }
}
