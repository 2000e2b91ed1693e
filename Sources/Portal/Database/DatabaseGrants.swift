import Foundation
package import Postgres

/// Letting a login serve.
package struct DatabaseGrants: Sendable {
  /// In bytes: PostgreSQL cuts off what is longer.
  package static let roleNameLength = 1...63

  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Makes a role a member of all that the portal's statements run under, which `latchkey serve` needs of its login if
  /// that is another than the one that migrates.
  package func grant(to name: String, by caller: Caller) async throws {
    _ = try await pool.pipeline(
      GrantPortal(role: name),
      InsertAuditEvent.inSystem(.portalGranted, "role", by: caller, detail: AuditDetail(name)))
  }
}
