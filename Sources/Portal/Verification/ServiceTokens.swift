package import Foundation
package import Postgres

/// Making and revoking service tokens. Checking one on a request is `ServiceTokenCheck`.
package struct ServiceTokens: Sendable {
  let pool: PostgresPool
  let propagations: Propagations

  package init(pool: PostgresPool, propagations: Propagations) {
    self.pool = pool
    self.propagations = propagations
  }

  package func create(
    name: String, permissions: [ServiceToken.Permission], by caller: Caller
  ) async throws -> (id: UUID, secret: Secret) {
    let id = UUID.version7()
    let secret = Secret.random(prefix: ServiceToken.secretPrefix)
    _ = try await pool.pipeline(
      InsertServiceToken(id: id, name: name, secret: secret.hash, permissions: permissions),
      InsertAuditEvent.inSystem(.tokenCreated, "token", id, by: caller), as: .staff)
    return (id, secret)
  }

  /// Revokes; a second time changes nothing and answers with the first time's moment.
  package func revoke(_ id: UUID, by caller: Caller) async throws -> (revokedAt: Date, propagation: Propagation) {
    let clock = ContinuousClock.now
    let revokedAt = try await pool.withTransaction(as: .staff) { transaction in
      guard let before = try await transaction.query(LockServiceToken(id: id)).first else {
        throw PortalError.notFound
      }
      if let before { return before }
      let (revoked, _) = try await transaction.pipeline(
        RevokeServiceToken(id: id), InsertAuditEvent.inSystem(.tokenRevoked, "token", id, by: caller))
      return revoked[0]
    }
    return (revokedAt, await propagations.wait(since: clock))
  }
}

/// Who shows a service token, from a coherent cache: a revoked one is refused as soon as a revoked key.
package struct ServiceTokenCheck: Sendable {
  package let tokens: ReadThroughCache<ServiceToken>

  package init(pool: PostgresPool, lease: Duration, observer: Observer) {
    var limits = CoherentCacheState<ServiceToken>.Limits()
    limits.lease = lease
    limits.entryCountMax = 10_000
    tokens = ReadThroughCache(limits, executor: pool.executor, observer: observer) { hashes in
      let rows = try await pool.query(FindServiceTokens(hashes: hashes))
      return try SecretsRead(rows.map { ($0.position, $0.found.map { ($0.hash, $0.token) }) })
    }
  }

  /// Whether a token is known from memory to be good for this; false says nothing.
  package func allowsAtOnce(
    _ hash: SecretHash, _ permission: ServiceToken.Permission, at moment: Moment
  ) -> Bool {
    guard case .hit(let token) = tokens.cache.lookup(hash, at: moment.instant) else { return false }
    return token.isGood(at: moment.date) && token.permissions.contains(permission)
  }

  /// Throws `.unauthenticated` unless the token is good.
  package func find(_ secret: Secret) async throws -> ServiceToken {
    guard secret.isWellFormed(prefix: ServiceToken.secretPrefix), let token = try await tokens.value(of: secret.hash),
      token.isGood(at: Date())
    else { throw PortalError.unauthenticated }
    return token
  }
}
