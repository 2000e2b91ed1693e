import Foundation
package import Postgres

/// The namespaces of standalone limits. They are made when they are first used.
package struct LimitNamespaces: Sendable {
  /// Thrown for a namespace that cannot be made.
  static let full = PortalError.capReached(
    reason: "The deployment has as many namespaces as it may have: \(LimitNamespace.countMax).")

  let pool: PostgresPool
  let propagations: Propagations

  package init(pool: PostgresPool, propagations: Propagations) {
    self.pool = pool
    self.propagations = propagations
  }

  /// Newest first.
  package func list(page: PageRequest = PageRequest()) async throws -> Page<LimitNamespace> {
    let found = try await pool.query(ListLimitNamespaces(before: page.before, count: page.limit + 1), as: .staff)
    return Page(found, limit: page.limit, id: \.id)
  }

  /// Deletes a namespace with its overrides. What its identifiers have used is forgotten: the next use makes another
  /// namespace. Throws `.notFound`.
  package func delete(
    _ name: String, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> Propagation {
    let start = ContinuousClock.now
    try await pool.withTransaction(as: .staff) { transaction in
      guard let namespace = try await transaction.query(LockLimitNamespace(name: name)).first else {
        throw PortalError.notFound
      }
      _ = try await transaction.pipeline(
        DeleteLimitNamespace(id: namespace.id),
        InsertAuditEvent.onLimitNamespace(namespace.id, .limitNamespaceDeleted, name, by: caller, reason))
    }
    return await propagations.wait(since: start)
  }
}

extension PostgresConnection {
  /// Makes a namespace, unless there is one with this name or the deployment has no room for another. Others that make
  /// one wait until the end of the transaction.
  nonisolated func makeLimitNamespace(_ name: String, by caller: Caller) async throws {
    let id = UUID.version7()
    let made = try await pipeline(LockNewLimitNamespaces(), then: InsertLimitNamespace(id: id, name: name))
    if made.isEmpty { return }
    try await execute(InsertAuditEvent.onLimitNamespace(id, .limitNamespaceCreated, name, by: caller))
  }
}

extension InsertAuditEvent {
  static func onLimitNamespace(
    _ id: UUID, _ action: AuditEvent.Action, _ name: String, by caller: Caller, _ reason: SupportReason? = nil
  ) -> InsertAuditEvent {
    inSystem(action, "limit_namespace", id, by: caller, reason, detail: AuditDetail(name))
  }
}
