import Foundation
package import Postgres

/// Grants a login role what `latchkey serve` needs.
package struct DatabaseGrants: Sendable {
  /// In bytes. PostgreSQL truncates longer names.
  package static let roleNameLength = 1...63

  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Makes a role a member of all roles that the portal's statements run under. `latchkey serve` needs this if its
  /// login is not the one that migrates.
  package func grant(to name: String, by caller: Caller) async throws {
    _ = try await pool.pipeline(
      GrantPortal(role: name),
      InsertAuditEvent.inSystem(.portalGranted, "role", by: caller, detail: AuditDetail(name)))
  }
}
