import Foundation
package import Postgres

/// Decides requests to standalone limits, from memory wherever that is allowed: neither a namespace that was used
/// lately nor a limit of the mode `fast` takes a statement.
package struct StandaloneLimits: Sendable {
  package let namespaces: ReadThroughCache<KnownLimitNamespace>
  private let pool: PostgresPool
  private let limits: RateLimits
  private let observer: Observer

  /// `limits` has a limiter of its own, not that of the keys. Namespaces are read on `gatewayPool` and made on `pool`.
  package init(
    pool: PostgresPool, gatewayPool: PostgresPool, limits: RateLimits, lease: Duration, observer: Observer
  ) {
    self.pool = pool
    self.limits = limits
    self.observer = observer
    var cacheLimits = CoherentCacheState<KnownLimitNamespace>.Limits()
    cacheLimits.lease = lease
    // Twice as many as there may be, because shards are not filled evenly.
    cacheLimits.entryCountMax = 2 * LimitNamespace.countMax
    // What is unknown is made.
    cacheLimits.absentLifetime = .zero
    namespaces = ReadThroughCache(
      cacheLimits, executor: gatewayPool.executor, observer: observer,
      onAnotherHistory: { gatewayPool.condemnConnections() }
    ) { hashes, _ in
      try SecretsRead(try await gatewayPool.query(FindLimitNamespaces(hashes: hashes)))
    }
  }

  /// Decides a request, and takes its cost if it is allowed. Makes the namespace if there is none. Throws
  /// `.capReached` if it cannot be made; `.unavailable`, or the error of the database, if PostgreSQL is needed and
  /// cannot be reached.
  package func take(
    _ request: LimitRequest, mode: RateLimitMode = .fast, by caller: Caller
  ) async throws -> LimitAnswer {
    let namespace = try await namespace(request.namespace, by: caller)
    let (charge, limit, overrideID) = namespace.charge(for: request, mode)
    let standing: RateLimitDecision.Standing
    switch mode {
    // One for each charge.
    case .fast: standing = try await limits.take([charge])[0]
    case .consistent: standing = try await limits.takeConsistently(charge)
    }
    observer.observe(.limitDecided(standing.window.isAdmitted ? .allowed : .refused))
    return LimitAnswer(standing: standing, limit: limit, overrideID: overrideID)
  }

  /// Decides requests together, in the mode `fast`: if one of them is refused, nothing is taken for any. Of several for
  /// the same identifier and window, each has to fit with those before it. Throws as ``take(_:mode:by:)``.
  package func takeAll(_ requests: [LimitRequest], by caller: Caller) async throws -> [LimitAnswer] {
    var known: [SecretHash: KnownLimitNamespace] = [:]
    let hashes = requests.map { SecretHash(of: $0.namespace.utf8) }
    for (hash, namespace) in zip(hashes, try await namespaces.values(of: hashes)) { known[hash] = namespace }
    var charges: [(charge: LimitCharge, limit: WindowLimit, overrideID: UUID?)] = []
    for (hash, request) in zip(hashes, requests) {
      let namespace: KnownLimitNamespace
      if let found = known[hash] {
        namespace = found
      } else {
        namespace = try await make(request.namespace, by: caller)
        known[hash] = namespace
      }
      charges.append(namespace.charge(for: request, .fast))
    }
    let answers = zip(charges, try await limits.take(charges.map(\.charge))).map { charge, standing in
      LimitAnswer(standing: standing, limit: charge.limit, overrideID: charge.overrideID)
    }
    let isTaken = answers.allSatisfy(\.isAllowed)
    for answer in answers {
      observer.observe(.limitDecided(answer.isAllowed ? (isTaken ? .allowed : .withheld) : .refused))
    }
    return answers
  }

  private func namespace(_ name: String, by caller: Caller) async throws -> KnownLimitNamespace {
    if let known = try await namespaces.value(of: SecretHash(of: name.utf8)) { return known }
    return try await make(name, by: caller)
  }

  private func make(_ name: String, by caller: Caller) async throws -> KnownLimitNamespace {
    try await pool.withTransaction(as: .staff) { transaction in
      let hash = SecretHash(of: name.utf8)
      try await transaction.makeLimitNamespace(name, by: caller)
      let found = try await transaction.query(FindLimitNamespaces(hashes: [hash])).first?.found
      guard let namespace = try found?.1.get() else { throw LimitNamespaces.full }
      return namespace
    }
  }
}
