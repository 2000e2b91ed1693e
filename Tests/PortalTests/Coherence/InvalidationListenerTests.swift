import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

@testable import Portal

/// A listener on its own database, with its caches.
private struct Following {
  let world: World
  let database: TestDatabase
  let observations: Observations
  let verifier: Verifier
  let tokens: ServiceTokenVerifier
  let instance: Instance

  var isFresh: Bool { verifier.keys.cache.isFresh(at: .now) }

  func code(_ secret: Secret) async throws -> Verdict.Code {
    try await verifier.verify(VerificationRequest(hash: secret.hash)).code
  }

  /// Disconnects the listener, and prevents it from reconnecting until the database accepts connections again.
  func cutOff() async throws {
    try await administer("alter database \(database.name) allow_connections false")
    try await endListener()
  }

  func letBack() async throws { try await administer("alter database \(database.name) allow_connections true") }

  func endListener() async throws {
    try await world.pool.script(
      """
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = '\(InvalidationListener.applicationName)'
      """)
  }

  private func administer(_ sql: String) async throws {
    try await PostgresPool.with(PostgresConfiguration(url: try serverURL())) { try await $0.script(sql) }
  }
}

private func withListener(
  lease: Duration = .seconds(30), otherChannels: [String: @Sendable (String) -> Void] = [:],
  _ body: (Following) async throws -> Void
) async throws {
  try await withDatabase { database in
    try await PostgresPool.with(database.configuration) { pool in
      let world = World(pool)
      let observations = Observations()
      let observer = Observer([observations.sink])
      var limits = CoherentCacheState<VerifiableKey>.Limits()
      limits.lease = lease
      let verifier = world.makeVerifier(limits, observer: observer)
      let tokens = ServiceTokenVerifier(pool: pool, lease: lease, clock: world.clock, observer: observer)
      let instance = Instance(name: "test", lease: lease, clock: world.clock)
      let listener = InvalidationListener(
        pool: pool, instance: instance, observer: observer, otherChannels: otherChannels
      ) { sync in
        verifier.keys.cache.apply(sync) + tokens.tokens.cache.apply(sync)
      }
      let following = Following(
        world: world, database: database, observations: observations, verifier: verifier, tokens: tokens,
        instance: instance)
      let running = Task { try await listener.run() }
      do {
        try await eventually("the first sync") { following.isFresh }
        try await body(following)
      } catch {
        running.cancel()
        _ = try? await running.value
        throw error
      }
      running.cancel()
      try await running.value
    }
  }
}

@Suite("InvalidationListener")
struct InvalidationListenerTests {
  // The lease is long here, so that only an invalidation can end a key.

  @Test("notifications on other channels are passed on in order, also after a reconnect")
  func otherChannels() async throws {
    let payloads = Mutex<[String]>([])
    let channel = CreditSettler.channel
    let note: @Sendable (String) -> Void = { payload in payloads.withLock { $0.append(payload) } }
    try await withListener(otherChannels: [channel: note]) { following in
      let pool = following.world.pool
      try await pool.script("notify \(channel), 'a'; notify \(channel), 'b'")
      try await eventually("both have arrived") { payloads.withLock { $0 } == ["a", "b"] }
      try await following.endListener()
      try await eventually("it listens again") {
        try await pool.script("notify \(channel), 'c'")
        return payloads.withLock { $0.contains("c") }
      }
    }
  }

  @Test("a plain update in psql revokes, reinstates, suspends and lowers plans, without notifying the portal")
  func bareUpdates() async throws {
    try await withListener { following in
      let world = following.world
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      func limit() async throws -> Int? {
        try await following.verifier.verify(VerificationRequest(hash: issued.secret.hash)).found?.key.limits.perMinute
      }
      #expect(try await following.code(issued.secret) == .valid)
      try await world.pool.script("update api_keys set revoked_at = now()")
      try await eventually("it is revoked") { try await following.code(issued.secret) == .revoked }
      try await world.pool.script("update api_keys set revoked_at = null")
      try await eventually("it is valid again") { try await following.code(issued.secret) == .valid }
      try await world.pool.script("update accounts set suspended_at = now()")
      try await eventually("it is suspended") { try await following.code(issued.secret) == .suspended }
      try await world.pool.script("update accounts set suspended_at = null")
      try await eventually("it is valid again") { try await following.code(issued.secret) == .valid }
      #expect(try await limit() == 60)
      try await world.pool.script("update plans set rate_limit_per_minute_max = 7")
      try await eventually("the plan's limit holds") { try await limit() == 7 }
      try await world.pool.script("delete from api_keys")
      try await eventually("it is gone") { try await following.code(issued.secret) == .notFound }
    }
  }

  @Test(
    "PostgreSQL's clock is followed within a heartbeat; a key or token that expired by it never becomes valid again")
  func databaseClock() async throws {
    try await withListener { following in
      let world = following.world
      let account = try await world.makeAccount()
      func key(_ minutes: Double) async throws -> Secret {
        let settings = KeySettings(name: "Key", scopes: ["a"], expiresAt: Date(timeIntervalSinceNow: minutes * 60))
        return try await world.makeKey(account, settings).secret
      }
      func set(aheadMinutes: Int) async throws {
        try await following.database.setClock(aheadSeconds: aheadMinutes * 60)
        let distance = { abs(world.clock.now.date.timeIntervalSinceNow - Double(aheadMinutes) * 60) }
        try await eventually("it is followed") { distance() < 50 }
      }
      let (soon, later) = (try await key(30), try await key(90))
      let token = try await world.tokens.create(
        name: "gateway", permissions: [.verifyKeys], expiresAt: Date(timeIntervalSinceNow: 1_800), by: World.caller)
      #expect(try await following.code(soon) == .valid)
      #expect(try await following.tokens.find(token.secret).id == token.id)
      // The listener's connection must see the other clock.
      try await following.database.setClock(aheadSeconds: 0)
      try await following.endListener()
      try await set(aheadMinutes: 60)
      for minutes in [60, 0, -600, 5] {
        try await set(aheadMinutes: minutes)
        #expect(try await following.code(soon) == .expired)
        #expect(try await following.code(later) == .valid)
        await #expect(throws: PortalError.unauthenticated) { try await following.tokens.find(token.secret) }
      }
      try await set(aheadMinutes: 91)
      #expect(try await following.code(later) == .expired)
    }
  }

  @Test("inserts of keys and tokens move the applied position, and what was cached before stays cached")
  func inserts() async throws {
    try await withListener { following in
      let world = following.world
      let account = try await world.makeAccount()
      let keys = try await world.makeKeys(3, account).map(\.secret)
      let token = try await world.tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller).secret
      func areCached() -> Bool {
        let areKeys = keys.allSatisfy { secret in
          if case .hit = following.verifier.keys.cache.lookup(secret.hash, at: .now) { true } else { false }
        }
        let isToken = if case .hit = following.tokens.tokens.cache.lookup(token.hash, at: .now) { true } else { false }
        return areKeys && isToken
      }
      try await eventually("all are cached") {
        for key in keys { #expect(try await following.code(key) == .valid) }
        _ = try await following.tokens.find(token)
        return areCached()
      }
      let missCount = following.observations.count(.cacheMiss)
      let before = try await world.pool.newestSync().head
      _ = try await world.makeKey(account)
      _ = try await world.tokens.create(name: "other", permissions: [.verifyKeys], by: World.caller)
      try await world.insertKeys(upTo: 8, account)
      let after = try await world.pool.newestSync().head
      #expect(after.seq == before.seq + 3 && after.mark != before.mark)
      try await eventually("they are applied") { following.instance.appliedSeq == after.seq }
      #expect(areCached())
      for key in keys { #expect(try await following.code(key) == .valid) }
      #expect(following.observations.count(.cacheMiss) == missCount)
      #expect(following.observations.count(.historyBroken) == 0)
    }
  }

  @Test("a revoked service token is refused")
  func serviceToken() async throws {
    try await withListener { following in
      let token = try await following.world.tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller)
      #expect(try await following.tokens.find(token.secret).id == token.id)
      let (first, propagation) = try await following.world.tokens.revoke(token.id, by: World.caller)
      #expect(propagation.instances == 1 && propagation.acknowledged == 1)
      await #expect(throws: PortalError.unauthenticated) { try await following.tokens.find(token.secret) }
      #expect(try await following.world.tokens.revoke(token.id, by: World.caller).revokedAt == first)
    }
  }

  @Test("changes committed while its connection was lost are applied after it has reconnected")
  func missedWhileAway() async throws {
    try await withListener { following in
      let world = following.world
      let issued = try await world.makeKey(try await world.makeAccount())
      #expect(try await following.code(issued.secret) == .valid)
      try await following.cutOff()
      try await world.pool.script("update api_keys set revoked_at = now()")
      try await eventually("it has failed to reconnect") {
        following.observations.count { if case .listenerFailed = $0 { true } else { false } } > 2
      }
      #expect(try await following.code(issued.secret) == .valid, "the lease is long, and no invalidation has arrived")
      try await following.letBack()
      try await eventually("it is revoked") { try await following.code(issued.secret) == .revoked }
      #expect(following.observations.count(.listening) == 2)
    }
  }

  @Test("it survives repeated ends of its connection, and receives every revocation")
  func terminatedOften() async throws {
    try await withListener { following in
      let world = following.world
      let account = try await world.makeAccount()
      for _ in 0..<5 {
        let issued = try await world.makeKey(account)
        #expect(try await following.code(issued.secret) == .valid)
        try await following.endListener()
        try await world.pool.script("update api_keys set revoked_at = now() where revoked_at is null")
        try await eventually("it is revoked") { try await following.code(issued.secret) == .revoked }
      }
    }
  }

  @Test("when disconnected for longer than the lease, it answers nothing from memory; when reconnected, it does")
  func outage() async throws {
    try await withListener(lease: .seconds(1)) { following in
      let world = following.world
      let issued = try await world.makeKey(try await world.makeAccount())
      #expect(try await following.code(issued.secret) == .valid)
      try await following.cutOff()
      try await world.pool.script("update api_keys set revoked_at = now()")
      let revokedAt = ContinuousClock.now
      var acceptedUntil: ContinuousClock.Instant?
      while try await following.code(issued.secret) == .valid { acceptedUntil = .now }
      #expect(acceptedUntil.map { $0 < revokedAt + .seconds(2) } ?? true)
      try await eventually("the lease has run out") { !following.isFresh }
      #expect(try await following.code(issued.secret) == .revoked)
      #expect(following.observations.count(.cacheStale) > 0)
      try await following.letBack()
      try await eventually("it is fresh again") { following.isFresh }
    }
  }

  /// Each sync causes a wait, and each wait a sync: a second chain of them would never end.
  @Test("after a burst of two hundred notifications it syncs as rarely as before")
  func burst() async throws {
    try await withListener { following in
      for _ in 0..<200 { try await following.world.pool.script("select pg_notify('latchkey_invalidation', '')") }
      let before = following.observations.count(.synced)
      try await Task.sleep(for: .seconds(2))
      let count = following.observations.count(.synced) - before
      #expect(count <= 2_000 / 400 + 4)
      try await eventually("it continues") { following.observations.count(.synced) > before + count }
    }
  }

  @Test("a revocation returns how many instances there are and that they have dropped the key")
  func receipt() async throws {
    try await withListener { following in
      let world = following.world
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      #expect(try await following.code(issued.secret) == .valid)
      let revoked = try await world.keys.revoke(issued.key.id, of: account, by: World.caller)
      #expect(revoked.propagation.instances == 1)
      #expect(revoked.propagation.acknowledged == 1)
      #expect(try await following.code(issued.secret) == .revoked)
    }
  }

  @Test("an instance that does not answer is counted as not having acknowledged, within the timeout")
  func silentInstance() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      try await pool.script(
        """
        insert into instances (id, name, lease_milliseconds, applied_seq) values
          (gen_random_uuid(), 'silent', 60000, 0), (gen_random_uuid(), 'ahead', 60000, 1000000);
        insert into instances (id, name, lease_milliseconds, applied_seq, heartbeat_at) values
          (gen_random_uuid(), 'gone', 2000, 0, now() - interval '3 seconds')
        """)
      let keys = Keys(
        pool: pool, format: world.format, propagations: Propagations(pool: pool, timeout: .milliseconds(50)))
      let propagation = try await keys.revoke(issued.key.id, of: account, by: World.caller).propagation
      #expect(propagation.instances == 2)
      #expect(propagation.acknowledged == 1)
      #expect(propagation.milliseconds >= 50)
    }
  }
}
