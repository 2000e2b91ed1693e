import Foundation
import Portal
package import Postgres
package import PostgresTesting
import Synchronization
import Testing

/// The database of one test, copied from a template that has all migrations, and dropped afterwards.
package struct TestDatabase: Sendable {
  package let url: String
  package let name: String
  /// Searches the database at the end of the test.
  package let sweep: SecretsSweep

  /// With long timeouts, because hundreds of tests share the machine.
  package var configuration: PostgresConfiguration {
    var configuration = PostgresConfiguration(url: url)
    configuration.leaseTimeout = .seconds(60)
    return configuration
  }

  /// The same database, reached through a socket in another folder.
  package func through(_ folder: String) -> TestDatabase {
    TestDatabase(
      url: url + " host=" + folder, name: name + "_through_" + URL(filePath: folder).lastPathComponent, sweep: sweep)
  }

  /// A copy of this database at another URL.
  package func copy(at url: String) -> TestDatabase {
    TestDatabase(url: url, name: name + "_copy", sweep: sweep)
  }
}

/// Runs `body` with a new, migrated database, and then looks for secrets in it if `isSwept`. Databases that are so
/// large that this would take longer than the test are not swept.
package func withDatabase<Value>(
  isSwept: Bool = true, _ body: (TestDatabase) async throws -> Value
) async throws -> Value {
  let cluster = try await TestCluster.shared.value
  let database = try await cluster.makeDatabase()
  do {
    let value = try await body(database)
    if isSwept { try await database.sweep.check(database) }
    try await cluster.drop(database)
    return value
  } catch {
    try? await cluster.drop(database)
    throw error
  }
}

/// Runs `body` with a migrated database on its own server, which it may stop.
package func withOwnDatabase<Value>(
  environment: [String: String] = ProcessInfo.processInfo.environment,
  _ body: (OwnServer, TestDatabase) async throws -> Value
) async throws -> Value {
  try await OwnServer.with(environment: environment) { server in
    let url = try await server.url()
    return try await body(server, try await makeMigratedDatabase { url + " dbname=" + $0 })
  }
}

/// Runs `body` with a migrated database on its own server with a streaming standby. The database's URL names both hosts
/// and connects to the current primary.
package func withReplicatedDatabase<Value>(
  _ body: (_ primary: OwnServer, _ standby: OwnServer, TestDatabase) async throws -> Value
) async throws -> Value {
  try await withOwnDatabase { primary, database in
    try await primary.withStandby { standby in
      let hosts = try await [primary.url(), standby.url()].map { url in
        try #require(url.split(separator: " ").first { $0.hasPrefix("host=") }.map { $0.dropFirst(5) })
      }
      let url = """
        host=\(hosts.joined(separator: ",")) port=5432 user=postgres dbname=\(database.name) \
        target_session_attrs=read-write
        """
      return try await body(primary, standby, TestDatabase(url: url, name: database.name, sweep: database.sweep))
    }
  }
}

/// Makes a migrated database on a test's own server. `url` returns the URL of a database by name.
package func makeMigratedDatabase(url: (_ name: String) -> String) async throws -> TestDatabase {
  let name = "portal_\(UUID().uuidString.prefix(8).lowercased())"
  try await PostgresPool.with(PostgresConfiguration(url: url("postgres"))) { pool in
    try await pool.withConnection { try await $0.executeScript("create database \(name)") }
  }
  let database = TestDatabase(url: url(name), name: name, sweep: SecretsSweep())
  try await PostgresPool.with(database.configuration) { pool in
    _ = try await Migrations.embedded().apply(on: pool)
  }
  return database
}

/// Runs `body` with a pool on a new, migrated database, like ``withDatabase(isSwept:_:)``.
package func withPool<Value>(
  isSwept: Bool = true, _ body: (PostgresPool) async throws -> Value
) async throws -> Value {
  try await withDatabase(isSwept: isSwept) { database in try await PostgresPool.with(database.configuration, body) }
}

/// The cluster with its template database, which is created once per run.
private final class TestCluster: Sendable {
  static let shared = Task { try await TestCluster() }

  private let url: String
  private let template: String
  private let pool: PostgresPool
  private let count = Atomic<Int>(0)

  private init() async throws {
    url = try serverURL()
    template = "portal_template_\(ProcessInfo.processInfo.processIdentifier)"
    var configuration = PostgresConfiguration(url: url)
    configuration.leaseTimeout = .seconds(120)
    pool = PostgresPool(configuration)
    try await script("create database \(template)")
    let target = PostgresConfiguration(url: try serverURL(database: template))
    try await PostgresPool.with(target) { pool in
      _ = try await Migrations.embedded().apply(on: pool)
      try await pool.withConnection {
        try await $0.executeScript("create extension pg_stat_statements; " + SecretsSweep.function)
      }
    }
  }

  func makeDatabase() async throws -> TestDatabase {
    let number = count.add(1, ordering: .relaxed).newValue
    let name = "portal_\(ProcessInfo.processInfo.processIdentifier)_\(number)"
    try await script("create database \(name) template \(template) strategy file_copy")
    return TestDatabase(url: try serverURL(database: name), name: name, sweep: SecretsSweep())
  }

  func drop(_ database: TestDatabase) async throws {
    try await script("drop database \(database.name) with (force)")
  }

  private func script(_ sql: String) async throws {
    try await pool.withConnection { try await $0.executeScript(sql) }
  }
}
