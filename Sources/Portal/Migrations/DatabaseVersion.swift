package import Postgres

/// The version of a PostgreSQL server.
package struct DatabaseVersion: Sendable {
  /// The oldest major version that is supported.
  package static let oldest = 15

  /// The major version.
  package var number: Int
  /// The server's own text, such as "15.8 (Debian 15.8-0+deb12u1)".
  package var text: String
}

extension PostgresPool {
  /// The version of the server; nil if it returns no row.
  package func serverVersion() async throws(PostgresError) -> DatabaseVersion? {
    try await query(ReadDatabaseVersion()).first
  }
}
