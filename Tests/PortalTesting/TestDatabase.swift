import Foundation
package import Postgres
import Synchronization

/// A database of one test's own, copied from a template that has all migrations, and dropped afterwards.
package struct TestDatabase: Sendable {
  package let url: String
  package let name: String

  package var configuration: PostgresConfiguration { PostgresConfiguration(url: url) }
}

/// The repository's root.
package let repositoryRoot = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().path

package let migrationsFolder = repositoryRoot + "/migrations"

/// What is missing for the tests to run.
package struct TestSetupError: Error, CustomStringConvertible {
  package var description: String

  package init(description: String) { self.description = description }
}

/// A superuser's way to the cluster that `make test` starts.
package func clusterURL() throws -> String {
  guard let url = ProcessInfo.processInfo.environment["TEST_DATABASE_URL"] else {
    throw TestSetupError(description: "TEST_DATABASE_URL is not set; run the tests with make test")
  }
  return url
}

/// Runs `body` with a fresh, migrated database.
package func withDatabase<Value>(_ body: (TestDatabase) async throws -> Value) async throws -> Value {
  let cluster = try await TestCluster.shared.value
  let database = try await cluster.makeDatabase()
  do {
    let value = try await body(database)
    try await cluster.drop(database)
    return value
  } catch {
    try? await cluster.drop(database)
    throw error
  }
}

/// Runs `body` with a fresh, migrated database and a pool on it.
package func withPool<Value>(_ body: (PostgresPool) async throws -> Value) async throws -> Value {
  try await withDatabase { database in try await PostgresPool.with(database.configuration, body) }
}

/// The cluster with its template database, which is made once a run.
private final class TestCluster: Sendable {
  static let shared = Task { try await TestCluster() }

  private let url: String
  private let template: String
  private let pool: PostgresPool
  private let count = Atomic<Int>(0)

  private init() async throws {
    url = try clusterURL()
    template = "portal_template_\(ProcessInfo.processInfo.processIdentifier)"
    var configuration = PostgresConfiguration(url: url)
    configuration.leaseTimeout = .seconds(120)
    pool = PostgresPool(configuration)
    try await script("create database \(template)")
    let target = PostgresConfiguration(url: url + " dbname=\(template)")
    try await PostgresPool.with(target) { pool in
      _ = try await Migrations(folder: migrationsFolder).apply(on: pool)
      try await pool.withConnection { try await $0.executeScript("create extension pg_stat_statements") }
    }
  }

  func makeDatabase() async throws -> TestDatabase {
    let number = count.add(1, ordering: .relaxed).newValue
    let name = "portal_\(ProcessInfo.processInfo.processIdentifier)_\(number)"
    try await script("create database \(name) template \(template) strategy file_copy")
    return TestDatabase(url: url + " dbname=\(name)", name: name)
  }

  func drop(_ database: TestDatabase) async throws {
    try await script("drop database \(database.name) with (force)")
  }

  private func script(_ sql: String) async throws {
    try await pool.withConnection { try await $0.executeScript(sql) }
  }
}
