import Foundation
import Postgres
import PostgresTesting

/// A configuration for tests, which `change` can modify.
func testConfiguration(
  _ url: String, _ change: (inout PostgresConfiguration) -> Void = { _ in }
) -> PostgresConfiguration {
  var configuration = PostgresConfiguration(url: url)
  configuration.leaseTimeout = .seconds(20)
  change(&configuration)
  return configuration
}

/// Runs `body` with a pool on the server's own database, for tests that create no tables.
func withPool<Value>(
  _ change: (inout PostgresConfiguration) -> Void = { _ in }, _ body: (PostgresPool) async throws -> Value
) async throws -> Value {
  try await PostgresPool.with(testConfiguration(try serverURL(), change), body)
}

/// Runs `body` with a database of its own, which is dropped afterwards.
func withDatabase<Value>(_ body: (_ url: String) async throws -> Value) async throws -> Value {
  let name = "test_" + UUID().uuidString.lowercased().replacing("-", with: "")
  let server = testConfiguration(try serverURL()) { $0.poolSizeMax = 1 }
  return try await PostgresPool.with(server) { server in
    try await server.withConnection { try await $0.executeScript("create database \(name)") }
    let result: Result<Value, any Error>
    do { result = .success(try await body(try serverURL(database: name))) } catch { result = .failure(error) }
    try await server.withConnection { try await $0.executeScript("drop database \(name) with (force)") }
    return try result.get()
  }
}

/// Runs `body` with a pool on a database of its own, in which `script` has been run.
func withDatabasePool<Value>(
  _ script: String, _ change: (inout PostgresConfiguration) -> Void = { _ in },
  _ body: (PostgresPool) async throws -> Value
) async throws -> Value {
  try await withDatabase { url in
    try await PostgresPool.with(testConfiguration(url, change)) { pool in
      try await pool.withConnection { try await $0.executeScript(script) }
      return try await body(pool)
    }
  }
}
