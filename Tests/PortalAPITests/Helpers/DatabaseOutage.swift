import PortalTesting
import Postgres
import PostgresTesting

// Shuts and reopens the database of a running portal, from another database of the cluster.

extension TestPortal {
  /// Ends all connections and lets no new one in.
  func shutDatabase() async throws {
    try await cluster("alter database \(database.name) allow_connections false")
    try await cluster("select pg_terminate_backend(pid) from pg_stat_activity where datname = '\(database.name)'")
  }

  func openDatabase() async throws {
    try await cluster("alter database \(database.name) allow_connections true")
  }

  private func cluster(_ sql: String) async throws {
    try await PostgresPool.with(PostgresConfiguration(url: try serverURL())) { pool in
      try await pool.withConnection { try await $0.executeScript(sql) }
    }
  }
}
