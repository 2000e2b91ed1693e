package import Foundation
package import Postgres

/// The audit trail that a tenant reads.
package struct AuditEvents: Sendable {
  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  package func list(of accountID: UUID, page: PageRequest) async throws -> Page<AuditEvent> {
    let events = try await pool.query(
      ListAuditEvents(accountID: accountID, before: page.before, count: page.limit + 1), as: .account(accountID))
    return Page(events, limit: page.limit, id: \.id)
  }
}
