import CLibPQ
import Foundation

/// The benchmark's own database, with Latchkey's tables. It is not dropped, because the cluster is deleted.
final class BenchmarkDatabase {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  /// The number that the default plan allows.
  static let keysPerAccount = 25

  static let unreachableRateLimit = 100_000_000

  let url: String
  private let connection: OpaquePointer
  /// The parent of all PostgreSQL processes.
  private(set) var postmaster: pid_t = 0

  /// Creates the database, and migrates it with `latchkey`.
  init(url: String, latchkey: String, log: String) throws {
    guard !url.contains("://") else {
      throw Failure(description: "BENCH_DATABASE_URL must be of the form host=… …")
    }
    let name = "latchkey_\(UUID().uuidString.lowercased().prefix(8))"
    let maintenance = try Self.connect(url)
    PQclear(PQexec(maintenance, "create database \(name)"))
    PQfinish(maintenance)
    self.url = url + " dbname=\(name)"
    connection = try Self.connect(self.url)
    try ServerProcess.run([latchkey, "migrate"], environment: ["DATABASE_URL": self.url], log: log)
    postmaster = ProcessTable.parent(of: pid_t(try value("select pg_backend_pid()")) ?? 0)
    try execute("create extension pg_stat_statements")
  }

  deinit { PQfinish(connection) }

  private static func connect(_ url: String) throws -> OpaquePointer {
    guard let connection = PQconnectdb(url), PQstatus(connection) == CONNECTION_OK else {
      throw Failure(description: "no connection to \(url)")
    }
    return connection
  }

  func execute(_ sql: String) throws { _ = try rows(sql) }

  /// The first column of the first row; "" if there is no row.
  func value(_ sql: String) throws -> String { try rows(sql).first?.first ?? "" }

  func rows(_ sql: String) throws -> [[String]] {
    let result = PQexec(connection, sql)
    defer { PQclear(result) }
    guard [PGRES_TUPLES_OK, PGRES_COMMAND_OK].contains(PQresultStatus(result)) else { throw failure(sql) }
    return (0..<PQntuples(result)).map { row in
      (0..<PQnfields(result)).map { column in String(cString: PQgetvalue(result, row, column)) }
    }
  }

  /// Stores the known keys of `mix` and the accounts that they need.
  func insert(_ mix: KeyMix, rateLimitPerMinute: Int) throws {
    let accountCount = (mix.knownCount + Self.keysPerAccount - 1) / Self.keysPerAccount
    try execute(
      """
      insert into accounts (id, name)
      select gen_random_uuid(), 'Account ' || number from generate_series(1, \(accountCount)) number
      """)
    try execute("create temporary table fresh (number integer, id uuid, key text)")
    PQclear(PQexec(connection, "copy fresh from stdin"))
    var start = 0
    while start < mix.knownCount {
      let part = start..<min(start + 1_000, mix.knownCount)
      let text = part.map { "\($0)\t\(mix.id($0))\t\(mix.text($0))\n" }.joined()
      guard PQputCopyData(connection, text, Int32(text.utf8.count)) == 1 else { throw failure("copy") }
      start = part.upperBound
    }
    PQputCopyEnd(connection, nil)
    while let result = PQgetResult(connection) {
      defer { PQclear(result) }
      guard PQresultStatus(result) == PGRES_COMMAND_OK else { throw failure("copy") }
    }
    try execute(
      """
      with numbered as (select id, row_number() over () - 1 as number from accounts)
      insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes, rate_limit_per_minute)
      select fresh.id, numbered.id, 'Orders service ' || lpad(fresh.number::text, 6, '0'), left(key, 12),
        sha256(convert_to(key, 'UTF8')), 'live', '{orders:read,orders:write}', \(rateLimitPerMinute)
      from fresh join numbered on numbered.number = fresh.number % \(accountCount)
      """)
    try execute("drop table fresh")
    try execute("analyze")
  }

  /// Removes the constraints on rate limits, so that keys can have limits that no load reaches.
  func liftRateLimits() throws {
    try execute("alter table api_keys drop constraint api_keys_rate_limit_range")
    try execute("alter table plans drop constraint plans_rate_limit_range")
    try execute("update plans set rate_limit_per_minute_max = \(Self.unreachableRateLimit)")
  }

  /// Creates a service token that may verify keys. Returns its text.
  func insertServiceToken() throws -> String {
    var generator = SystemRandomNumberGenerator()
    let token = String(decoding: KeyMix.randomSecret(prefix: "lk_svc_", using: &generator), as: UTF8.self)
    try execute(
      """
      insert into service_tokens (id, name, token_hash, permissions)
      values (gen_random_uuid(), 'gateway', sha256(convert_to('\(token)', 'UTF8')), '{keys.verify}')
      """)
    return token
  }

  private func failure(_ what: String) -> Failure {
    Failure(description: "\(what): \(String(cString: PQerrorMessage(connection)))")
  }
}
