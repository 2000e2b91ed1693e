import Foundation
package import Postgres

/// The database role of tools that read the views for analytics.
package struct AnalyticsRole: Sendable {
  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Makes the role if there is none, which needs the right to make roles, and lets it read the views alone.
  package func grant(to name: String, by caller: Caller) async throws {
    _ = try await pool.pipeline(
      GrantAnalytics(role: name),
      InsertAuditEvent.inSystem(.analyticsGranted, "role", by: caller, detail: AuditDetail(name)))
  }
}
