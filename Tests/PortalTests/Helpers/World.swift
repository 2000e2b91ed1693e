import Foundation
import Postgres

@testable import Portal

/// The portal's services on one database, with shortcuts for the setup of tests.
struct World {
  static let cost = ScryptCost(logN: 4, r: 8, p: 1)
  static let password = "correct horse battery"
  static let caller = Caller(actor: .command(name: "test"))
  static let hasher = PasswordHasher(cost: cost)

  let pool: PostgresPool
  var format = KeyFormat(prefix: "lk")!
  let outbox: Outbox
  /// Not measured until it is first used.
  let clock = DatabaseClock()

  /// Mail is disabled unless `hasMail`.
  init(_ pool: PostgresPool, hasMail: Bool = false) {
    self.pool = pool
    outbox = Outbox(isOpen: hasMail)
  }

  var propagations: Propagations { Propagations(pool: pool) }
  var keys: Keys { Keys(pool: pool, format: format, propagations: propagations, outbox: outbox, clock: clock) }
  var idempotency: Idempotency { Idempotency(pool: pool, outbox: outbox) }
  var accounts: Accounts { Accounts(pool: pool, passwords: Self.hasher) }
  var managed: ManagedAccounts { ManagedAccounts(pool: pool, propagations: propagations) }
  var audit: AuditEvents { AuditEvents(pool: pool) }
  var desk: SupportDesk { SupportDesk(pool: pool, keys: keys, propagations: propagations, outbox: outbox) }
  var attempts: Attempts { Attempts(pool: pool) }
  var credentials: Credentials {
    Credentials(pool: pool, passwords: Self.hasher, attempts: attempts, outbox: outbox)
  }
  var deletion: AccountDeletion {
    AccountDeletion(pool: pool, keys: keys, propagations: propagations, outbox: outbox)
  }
  var policies: KeyPolicies { KeyPolicies(pool: pool) }
  var plans: Plans { Plans(pool: pool, propagations: propagations) }
  var apis: CatalogAPIs { CatalogAPIs(pool: pool, propagations: propagations) }
  var permissions: CatalogPermissions { CatalogPermissions(pool: pool, propagations: propagations) }
  var roles: CatalogRoles { CatalogRoles(pool: pool, propagations: propagations) }
  var grants: Grants { Grants(pool: pool, keys: keys) }
  var imports: KeyImports { KeyImports(pool: pool, keys: keys) }
  var exports: KeyExports { KeyExports(pool: pool) }
  var keyMoves: KeyMoves { KeyMoves(pool: pool, keys: keys) }
  var namespaces: LimitNamespaces { LimitNamespaces(pool: pool, propagations: propagations) }
  var overrides: NamespaceOverrides { NamespaceOverrides(pool: pool, propagations: propagations) }
  var credits: Credits { Credits(pool: pool, keys: keys) }
  var tokens: ServiceTokens { ServiceTokens(pool: pool, propagations: propagations, clock: clock) }

  func makeAccount(_ email: String = "ada@example.com") async throws -> UUID {
    try await accounts.create(
      name: "Account", email: EmailAddress(email)!, password: Password(Self.password)!, by: .other(Self.caller)
    ).account
  }

  @discardableResult
  func makeKey(_ accountID: UUID, _ settings: KeySettings = .plain) async throws -> IssuedKey {
    try await keys.create(settings, for: accountID, by: Self.caller)
  }

  func makeKeys(_ count: Int, _ accountID: UUID) async throws -> [IssuedKey] {
    var made: [IssuedKey] = []
    for _ in 0..<count { made.append(try await makeKey(accountID)) }
    return made
  }

  /// Inserts keys directly into the database until the account has `count` that are not revoked.
  func insertKeys(upTo count: Int, _ accountID: UUID) async throws {
    try await pool.script(
      """
      insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes)
      select id, '\(accountID)', 'Key', 'lk_live_0000', sha256(id::text::bytea), 'live', '{a}'
      from (select gen_random_uuid() as id from generate_series(1, \(count) - (
        select count(*) from api_keys where account_id = '\(accountID)' and revoked_at is null))) new
      """)
  }

  func makeVerifier(
    _ limits: CoherentCacheState<VerifiableKey>.Limits = .init(), usage: UsageRecorder = UsageRecorder(),
    clock: DatabaseClock? = nil, observer: Observer = Observer([])
  ) -> Verifier {
    let (limiter, clock) = (RateLimiter(), clock ?? self.clock)
    let rateLimits = RateLimits(
      pool: pool, limiter: limiter, instanceID: .version7(), clock: clock, observer: observer)
    return Verifier(
      pool: pool, format: format, cacheLimits: limits, limiter: limiter, limits: rateLimits, usage: usage,
      clock: clock, observer: observer)
  }

  /// The standalone limits of an instance that takes itself to be alone.
  func makeStandaloneLimits(observer: Observer = Observer([])) -> StandaloneLimits {
    let limits = RateLimits(
      pool: pool, limiter: RateLimiter(), instanceID: .version7(), clock: clock, observer: observer)
    return StandaloneLimits(pool: pool, gatewayPool: pool, limits: limits, lease: .seconds(600), observer: observer)
  }

  func actions(on accountID: UUID) async throws -> [String] {
    try await pool.lines("select action from audit_events where account_id = '\(accountID)' order by seq")
  }
}

extension KeySettings {
  static let plain = KeySettings(name: "Key", scopes: ["orders:read"])
}

/// The results of concurrent calls.
struct Outcomes<Value: Sendable>: Sendable {
  var values: [Value] = []
  var errors: [any Error] = []

  func count(of error: PortalError) -> Int { errors.count { $0 as? PortalError == error } }
}

/// Runs `body` `count` times concurrently.
func concurrently<Value: Sendable>(
  _ count: Int, _ body: @escaping @Sendable (Int) async throws -> Value
) async -> Outcomes<Value> {
  await withTaskGroup(of: Result<Value, any Error>.self) { group in
    for index in 0..<count {
      group.addTask {
        do { return .success(try await body(index)) } catch { return .failure(error) }
      }
    }
    var outcomes = Outcomes<Value>()
    for await result in group {
      switch result {
      case .success(let value): outcomes.values.append(value)
      case .failure(let error): outcomes.errors.append(error)
      }
    }
    return outcomes
  }
}

/// Changes in a transaction of their own, as requests without an idempotency key make them.
extension Keys {
  struct Rolled {
    var successor: IssuedKey
    var predecessor: Key
    var ended: [Key]
  }

  func create(_ settings: KeySettings, for accountID: UUID, by caller: Caller) async throws -> IssuedKey {
    let now = try await now()
    let issued = try await pool.withTransaction(as: .account(accountID)) {
      try await create(settings, for: accountID, by: caller, at: now, on: $0)
    }
    outbox.ring()
    return issued
  }

  func roll(_ id: UUID, of accountID: UUID, graceSeconds: Int, by caller: Caller) async throws -> Rolled {
    let now = try await now()
    let rolled = try await pool.withTransaction(as: .account(accountID)) {
      try await roll(id, of: accountID, graceSeconds: graceSeconds, by: caller, at: now, on: $0)
    }
    outbox.ring()
    return Rolled(successor: rolled.successor, predecessor: rolled.predecessor, ended: rolled.ended)
  }
}
