package import Postgres

/// The version of a PostgreSQL server.
package struct DatabaseVersion: Sendable {
  /// The major version that is needed at least.
  package static let oldest = 15

  /// The major one.
  package var number: Int
  /// As the server writes it, such as "15.8 (Debian 15.8-0+deb12u1)".
  package var text: String
}

extension PostgresPool {
  /// Nil where it answers nothing.
  package func serverVersion() async throws(PostgresError) -> DatabaseVersion? {
    try await query(ReadDatabaseVersion()).first
  }
}
