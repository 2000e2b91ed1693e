package import Foundation
package import Postgres

/// The portal in one database, whatever servers it has.
package struct Installation: Sendable {
  package let id: UUID

  package init(in pool: PostgresPool) async throws {
    guard let id = try await pool.query(FindInstallation()).first else {
      throw PostgresError(.protocolViolation, "installation is empty")
    }
    self.id = id
  }
}

private struct FindInstallation: PostgresStatement {
  static let sql = "select id from installation"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UUID { try row.next() }
}
