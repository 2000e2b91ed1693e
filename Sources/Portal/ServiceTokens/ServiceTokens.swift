package import Foundation
package import Postgres

/// Creates, lists, rolls and revokes service tokens. ``ServiceTokenVerifier`` checks them on requests.
package struct ServiceTokens: Sendable {
  let pool: PostgresPool
  let propagations: Propagations
  package let clock: DatabaseClock

  package init(pool: PostgresPool, propagations: Propagations, clock: DatabaseClock = DatabaseClock()) {
    self.pool = pool
    self.propagations = propagations
    self.clock = clock
  }

  /// The result of a roll: the successor with its secret, and the token it replaces.
  package struct Rolled: Sendable {
    package var successor: IssuedServiceToken
    package var predecessor: ServiceTokenDetails
    package var propagation: Propagation
  }

  package func list(page: PageRequest = PageRequest()) async throws -> Page<ServiceTokenDetails> {
    let tokens = try await pool.query(ListServiceTokens(before: page.before, count: page.limit + 1), as: .staff)
    return Page(tokens, limit: page.limit, id: \.id)
  }

  /// With `apis`, the token is bound to these. Throws `.invalid` for an api that does not exist, and if `environment`
  /// or `apis` is given and a permission cannot be restricted to them.
  package func create(
    name: String, permissions: [ServiceToken.Permission], environment: KeyEnvironment? = nil,
    apis: [CatalogReference]? = nil, expiresAt: Date? = nil, by caller: Caller
  ) async throws -> IssuedServiceToken {
    if environment != nil || apis != nil, let permission = permissions.first(where: { !$0.isRestrictable }) {
      throw PortalError.invalid(
        environment != nil ? .environment : .apiIDs, "must be omitted or null with \(permission.rawValue)")
    }
    return try await pool.withTransaction(as: .staff) { transaction in
      var bound: [CatalogNamed]?
      if let apis {
        let found = try await transaction.query(HoldAPIs(references: apis))
        bound = try apis.resolved(among: found, "the id or slug of an api") { .apiID($0) }
      }
      let token = NewServiceToken(
        name: name, permissions: permissions, environment: environment, apis: bound, expiresAt: expiresAt)
      let (made, _) = try await transaction.pipeline(
        InsertServiceToken(token: token),
        InsertAuditEvent.inSystem(.tokenCreated, "token", token.id, by: caller, detail: token.auditDetail))
      return token.issued(at: try InsertServiceToken.one(of: made))
    }
  }

  /// Replaces a token by one with the same name, permissions, environment, apis and expiry. Without a grace period
  /// the old token is revoked; otherwise it expires at the end of the grace period. Throws `.notFound`, or
  /// `.tokenNotActive` if the token is revoked, expired or already rolled.
  package func roll(_ id: UUID, graceSeconds: Int, by caller: Caller) async throws -> Rolled {
    let start = ContinuousClock.now
    let now = try await clock.now(on: pool)
    let (successor, predecessor) = try await pool.withTransaction(as: .staff) { transaction in
      guard let old = try await transaction.query(LockServiceToken(id: id)).first else { throw PortalError.notFound }
      guard old.status(at: now.expiryDate) == .active, old.rolledAt == nil else { throw PortalError.tokenNotActive }
      let token = NewServiceToken(
        name: old.name, permissions: old.permissions, environment: old.environment,
        apis: old.apiIDs?.map { CatalogNamed(id: $0, name: $0.text) }, expiresAt: old.expiresAt, replacesID: id)
      let (made, _, _, _, retired) = try await transaction.pipeline(
        InsertServiceToken(token: token), RetireRolledServiceToken(id: id, graceSeconds: graceSeconds),
        InsertAuditEvent.inSystem(.tokenCreated, "token", token.id, by: caller, detail: token.auditDetail),
        InsertAuditEvent.inSystem(.tokenRolled, "token", id, by: caller), LockServiceToken(id: id))
      return (token.issued(at: try InsertServiceToken.one(of: made)), try LockServiceToken.one(of: retired))
    }
    return Rolled(
      successor: successor, predecessor: predecessor, propagation: await propagations.wait(since: start))
  }

  /// Revokes a token. Revoking it again changes nothing and returns the time of the first revocation. Throws
  /// `.notFound`.
  package func revoke(_ id: UUID, by caller: Caller) async throws -> (revokedAt: Date, propagation: Propagation) {
    let start = ContinuousClock.now
    let revokedAt = try await pool.withTransaction(as: .staff) { transaction in
      guard let token = try await transaction.query(LockServiceToken(id: id)).first else { throw PortalError.notFound }
      if let before = token.revokedAt { return before }
      let (revoked, _) = try await transaction.pipeline(
        RevokeServiceToken(id: id), InsertAuditEvent.inSystem(.tokenRevoked, "token", id, by: caller))
      return try RevokeServiceToken.one(of: revoked)
    }
    return (revokedAt, await propagations.wait(since: start))
  }
}

/// A service token that is about to be created.
struct NewServiceToken: Sendable {
  let id = UUID.version7()
  let secret = Secret.random(prefix: ServiceToken.secretPrefix)
  var name: String
  var permissions: [ServiceToken.Permission]
  var environment: KeyEnvironment?
  /// The apis that it is bound to, if it is, and what the trail calls them.
  var apis: [CatalogNamed]?
  var expiresAt: Date?
  var replacesID: UUID?

  var apiIDs: [UUID]? { apis.map { $0.map(\.id) } }

  /// Its name, permissions, environment and apis.
  var auditDetail: AuditDetail {
    let environment = environment.map { " in \($0.rawValue)" } ?? ""
    let bound = apis.map { " for \($0.map(\.name).joined(separator: ", "))" } ?? ""
    return AuditDetail("\(name): \(permissions.map(\.rawValue).joined(separator: ", "))\(environment)\(bound)")
  }

  func issued(at createdAt: Date) -> IssuedServiceToken {
    IssuedServiceToken(
      details: ServiceTokenDetails(
        id: id, name: name, permissions: permissions, environment: environment, apiIDs: apiIDs, expiresAt: expiresAt,
        replacesID: replacesID, createdAt: createdAt),
      secret: secret)
  }
}

/// A service token in the cache. An object, so that a look-up copies only a reference.
package final class KnownServiceToken: Invalidatable {
  package let token: ServiceToken
  let use: ServiceTokenUse

  init(_ token: ServiceToken, _ use: ServiceTokenUse) {
    self.token = token
    self.use = use
  }

  package var id: UUID { token.id }
  package var owner: UUID? { nil }
}

/// Authenticates service tokens from a coherent cache, so that a revoked token is refused as soon as a revoked key.
package struct ServiceTokenVerifier: Sendable {
  package let tokens: ReadThroughCache<KnownServiceToken>
  package let uses: ServiceTokenUses
  private let pool: PostgresPool
  private let clock: DatabaseClock

  package init(
    pool: PostgresPool, lease: Duration, clock: DatabaseClock = DatabaseClock(), observer: Observer
  ) {
    self.pool = pool
    self.clock = clock
    var limits = CoherentCacheState<KnownServiceToken>.Limits()
    limits.lease = lease
    limits.entryCountMax = 10_000
    let uses = ServiceTokenUses()
    self.uses = uses
    tokens = ReadThroughCache(
      limits, executor: pool.executor, observer: observer, onAnotherHistory: { pool.condemnConnections() }
    ) { hashes, _ in
      let rows = try await pool.query(FindServiceTokens(hashes: hashes))
      return try SecretsRead(
        rows.map { row in
          (
            row.position,
            row.found.map { found in (found.hash, found.token.map { KnownServiceToken($0, uses.use(of: $0.id)) }) }
          )
        })
    }
  }

  /// The token, if it is in the cache, good, and has the permission. Nil does not mean that the token is bad.
  package func findCached(
    _ hash: SecretHash, for permission: ServiceToken.Permission, at moment: Moment
  ) -> KnownServiceToken? {
    guard case .hit(let known) = tokens.cache.lookup(hash, at: moment.instant),
      known.token.isGood(at: moment.expiryDate),
      known.token.permissions.contains(permission)
    else { return nil }
    known.use.note(at: moment.date)
    return known
  }

  /// Throws `.unauthenticated` unless the token is good.
  package func find(_ secret: Secret) async throws -> ServiceToken {
    guard secret.isWellFormed(prefix: ServiceToken.secretPrefix), let known = try await tokens.value(of: secret.hash)
    else { throw PortalError.unauthenticated }
    let now = try await clock.now(on: pool)
    guard known.token.isGood(at: now.expiryDate) else { throw PortalError.unauthenticated }
    known.use.note(at: now.date)
    return known.token
  }
}
