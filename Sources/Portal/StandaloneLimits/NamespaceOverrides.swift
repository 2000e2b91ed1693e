package import Foundation
package import Postgres

/// The overrides of the namespaces of standalone limits. A change takes effect at once.
package struct NamespaceOverrides: Sendable {
  let pool: PostgresPool
  let propagations: Propagations

  package init(pool: PostgresPool, propagations: Propagations) {
    self.pool = pool
    self.propagations = propagations
  }

  /// The result of setting an override.
  package struct Outcome: Sendable {
    package var override: NamespaceOverride
    /// Whether there was none for this identifier.
    package var isNew: Bool
    package var propagation: Propagation
  }

  /// Newest first. With `identifier`, only the one that is set for exactly this identifier or pattern. Throws
  /// `.notFound` if there is no such namespace.
  package func list(
    in namespace: String, identifier: String? = nil, page: PageRequest = PageRequest()
  ) async throws -> Page<NamespaceOverride> {
    let (namespaces, found) = try await pool.pipeline(
      FindLimitNamespace(name: namespace),
      ListNamespaceOverrides(
        namespace: namespace, identifier: identifier, before: page.before, count: page.limit + 1), as: .staff)
    if namespaces.isEmpty { throw PortalError.notFound }
    return Page(found, limit: page.limit, id: \.id)
  }

  /// Throws `.notFound`.
  package func find(_ id: UUID, in namespace: String) async throws -> NamespaceOverride {
    let found = try await pool.query(FindNamespaceOverride(id: id, namespace: namespace), as: .staff)
    guard let override = found.first else { throw PortalError.notFound }
    return override
  }

  /// Sets the numbers for an identifier or a pattern, which is valid, in place of those that it has. Makes the
  /// namespace if there is none. If nothing changes, nothing is written. Throws `.capReached`.
  package func set(
    _ limit: WindowLimit, for identifier: String, in name: String, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> Outcome {
    let start = ContinuousClock.now
    let (override, isNew) = try await pool.withTransaction(as: .staff) { transaction in
      let namespace = try await Self.hold(name, by: caller, on: transaction)
      let (found, counted) = try await transaction.pipeline(
        FindOverrideOfIdentifier(identifier: identifier, namespaceID: namespace.id),
        CountNamespaceOverrides(namespaceID: namespace.id))
      let old = found.first
      if let old, old.limit == limit { return (old, false) }
      if old == nil {
        try Self.check(try CountNamespaceOverrides.one(of: counted), isPattern: NamespaceOverride.isPattern(identifier))
      }
      let id = old?.id ?? .version7()
      let (stored, _) = try await transaction.pipeline(
        StoreNamespaceOverride(id: id, namespaceID: namespace.id, identifier: identifier, limit: limit),
        InsertAuditEvent.onLimitOverride(
          id, .limitOverrideSet, "\(limit.limit) in \(limit.windowMilliseconds) ms", identifier, in: name, by: caller,
          reason))
      return (try StoreNamespaceOverride.one(of: stored), old == nil)
    }
    return Outcome(override: override, isNew: isNew, propagation: await propagations.wait(since: start))
  }

  /// Throws `.notFound`.
  package func delete(
    _ id: UUID, in name: String, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> Propagation {
    let start = ContinuousClock.now
    try await pool.withTransaction(as: .staff) { transaction in
      guard let namespace = try await transaction.query(LockLimitNamespace(name: name)).first,
        let deleted = try await transaction.query(DeleteNamespaceOverride(id: id, namespaceID: namespace.id)).first
      else { throw PortalError.notFound }
      try await transaction.execute(
        InsertAuditEvent.onLimitOverride(
          id, .limitOverrideDeleted, nil, deleted.identifier, in: name, by: caller, reason))
    }
    return await propagations.wait(since: start)
  }

  /// Locks a namespace until the end of the transaction, and makes it before that if there is none.
  private static func hold(
    _ name: String, by caller: Caller, on transaction: PostgresConnection
  ) async throws -> LimitNamespace {
    if let namespace = try await transaction.query(LockLimitNamespace(name: name)).first { return namespace }
    try await transaction.makeLimitNamespace(name, by: caller)
    guard let namespace = try await transaction.query(LockLimitNamespace(name: name)).first else {
      throw LimitNamespaces.full
    }
    return namespace
  }

  private static func check(_ counts: (all: Int, patterns: Int), isPattern: Bool) throws(PortalError) {
    guard counts.all < NamespaceOverride.countMax else {
      throw .capReached(
        reason: "The namespace has as many overrides as it may have: \(NamespaceOverride.countMax).")
    }
    guard !isPattern || counts.patterns < LimitOverrides.patternCountMax else {
      throw .capReached(
        reason: "The namespace has as many overrides with * as it may have: \(LimitOverrides.patternCountMax).")
    }
  }
}

extension InsertAuditEvent {
  /// `numbers` are those that were set.
  fileprivate static func onLimitOverride(
    _ id: UUID, _ action: AuditEvent.Action, _ numbers: String?, _ identifier: String, in namespace: String,
    by caller: Caller, _ reason: SupportReason?
  ) -> InsertAuditEvent {
    let parts = [numbers, "for \(identifier)", "in \(namespace)"].compactMap(\.self)
    return inSystem(
      action, "limit_override", id, by: caller, reason, detail: AuditDetail(parts.joined(separator: " ")))
  }
}
