package import Foundation
package import Postgres

/// The portal in one database, independent of its servers.
package struct Installation: Sendable {
  package let id: UUID

  package init(in pool: PostgresPool) async throws {
    guard let id = try await pool.query(FindInstallation()).first else {
      throw PostgresError(.protocolViolation, "installation is empty")
    }
    self.id = id
  }
}
