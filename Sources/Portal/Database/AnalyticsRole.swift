import Foundation
package import Postgres

/// The database role of tools that read the views for analytics.
package struct AnalyticsRole: Sendable {
  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Creates the role if it does not exist, which requires `CREATEROLE`, and lets it read only the views.
  package func grant(to name: String, by caller: Caller) async throws {
    _ = try await pool.pipeline(
      GrantAnalytics(role: name),
      InsertAuditEvent.inSystem(.analyticsGranted, "role", by: caller, detail: AuditDetail(name)))
  }
}
