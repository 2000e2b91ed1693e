import Foundation
package import Hummingbird
package import Logging
package import NIOCore
import NIOPosix
package import Portal
import PortalAPI
package import PortalHTTP
import PortalPages
package import Postgres
import ServiceLifecycle

/// A whole portal on a database: everything is created here once, and passed down.
package struct PortalApplication: Sendable {
  /// How long the start waits for the first read of the invalidation log.
  private static let firstSyncTimeout: Duration = .seconds(10)
  /// The most connections to the port of health and metrics. Beyond that, the most idle ones are closed.
  private static let operationsConnectionCountMax = 16
  /// Connections to it that are being closed, or were accepted and not counted yet.
  private static let operationsSurplusMax = 16
  /// Descriptors that this port takes, including the listening socket.
  package static let operationsDescriptorCount = operationsConnectionCountMax + operationsSurplusMax + 1

  package let services: PortalServices
  package let table = RouteTable()
  /// The routes of pages.
  package let pageTable = RouteTable()
  package let usage: UsageFlusher
  private let metrics: MetricsController
  private let connectionLimit: ConnectionLimit
  /// To be started before the server is shut down.
  package let drain: Drain
  private let settings: PortalSettings
  private let pool: PostgresPool
  package let gatewayPool: PostgresPool
  /// Nil if usage and analytics are read from `pool`.
  private let analyticsPool: PostgresPool?
  private let listener: InvalidationListener
  package let scheduler: JobScheduler
  private let limits: RateLimits
  private let standaloneLimits: RateLimits
  private let credits: CreditSettler
  private let requestLimits: RequestLimits
  private let turns: AccountTurns
  private let mailSender: MailSender?

  /// Opens connections when they are needed. Verification has its own pool, so that requests to the portal, however
  /// many, never keep a gateway waiting.
  package init(
    _ settings: PortalSettings, database: PostgresConfiguration, analyticsDatabase: PostgresConfiguration? = nil,
    observer: Observer
  ) {
    self.settings = settings
    let registry = PrometheusMetrics()
    let observer = observer.adding(Observer.metrics(registry))
    func makePool(_ database: PostgresConfiguration, _ role: DatabaseRole) -> PostgresPool {
      var configuration = database.with(role)
      configuration.observe = { observer.observe(.postgres($0)) }
      return PostgresPool(configuration)
    }
    let pool = makePool(database, .portal)
    let gatewayPool = makePool(database, .gateway)
    let analyticsPool = analyticsDatabase.map { makePool($0, .portal) }
    let drain = Drain()
    self.drain = drain
    self.pool = pool
    self.gatewayPool = gatewayPool
    self.analyticsPool = analyticsPool
    let clock = DatabaseClock(observer: observer)
    requestLimits = RequestLimits(settings.requestsPerMinute, clock: clock, observer: observer)
    turns = AccountTurns(poolSize: database.poolSizeMax, observer: observer)
    let instance = Instance(name: settings.instanceName, lease: settings.lease, clock: clock)
    let recorder = UsageRecorder(spoolFolder: settings.usageSpool, sourceID: instance.id)
    let passwords = PasswordHasher(cost: settings.passwordCost, threadCount: settings.passwordThreadCount)
    let attempts = Attempts(pool: pool)
    let propagations = Propagations(pool: pool, timeout: settings.propagationTimeout)
    let outbox = Outbox(isOpen: settings.mail != nil)
    let mailSender = settings.mail.map {
      MailSender(pool: pool, outbox: outbox, settings: $0, portalURL: settings.cookie.origin, observer: observer)
    }
    self.mailSender = mailSender
    let keys = Keys(pool: pool, format: settings.keyFormat, propagations: propagations, outbox: outbox, clock: clock)
    var cacheLimits = CoherentCacheState<VerifiableKey>.Limits()
    cacheLimits.lease = settings.lease
    cacheLimits.entryCountMax = settings.cacheEntryCountMax
    let limiter = RateLimiter()
    limits = RateLimits(pool: gatewayPool, limiter: limiter, instanceID: instance.id, clock: clock, observer: observer)
    let standaloneLimiter = RateLimiter()
    standaloneLimits = RateLimits(
      pool: gatewayPool, limiter: standaloneLimiter, instanceID: instance.id, clock: clock, observer: observer)
    let standalone = StandaloneLimits(
      pool: pool, gatewayPool: gatewayPool, limits: standaloneLimits, lease: settings.lease, observer: observer)
    let ledger = CreditLedger(
      pool: gatewayPool, holder: instance.id, spool: settings.usageSpool, lease: settings.lease, observer: observer)
    let credits = CreditSettler(pool: gatewayPool, ledger: ledger, spool: settings.usageSpool, observer: observer)
    self.credits = credits
    let verifier = Verifier(
      pool: gatewayPool, format: settings.keyFormat, cacheLimits: cacheLimits, limiter: limiter, limits: limits,
      credits: ledger, usage: recorder, clock: clock, observer: observer)
    let tokens = ServiceTokenVerifier(pool: gatewayPool, lease: settings.lease, clock: clock, observer: observer)
    let usages = Usages(pool: pool, gatewayPool: gatewayPool, reportPool: analyticsPool, clock: clock)
    services = PortalServices(
      accounts: Accounts(pool: pool, passwords: passwords),
      managedAccounts: ManagedAccounts(pool: pool, propagations: propagations), members: Members(pool: pool),
      invitations: Invitations(pool: pool, passwords: passwords, attempts: attempts, outbox: outbox),
      sessions: Sessions(
        pool: pool, passwords: passwords, attempts: attempts, box: settings.secretBox, outbox: outbox,
        lifetime: settings.sessionLifetime, idleHours: settings.retention.idleSessionHours,
        clock: clock),
      credentials: Credentials(pool: pool, passwords: passwords, attempts: attempts, outbox: outbox),
      keys: keys, idempotency: Idempotency(pool: pool, outbox: outbox), policies: KeyPolicies(pool: pool),
      plans: Plans(pool: pool, propagations: propagations),
      apis: CatalogAPIs(pool: pool, propagations: propagations),
      permissions: CatalogPermissions(pool: pool, propagations: propagations),
      roles: CatalogRoles(pool: pool, propagations: propagations),
      grants: Grants(pool: pool, keys: keys),
      credits: Credits(pool: pool, keys: keys),
      verifier: verifier, heldKeys: HeldKeys(pool: pool, keys: keys, usages: usages, limiter: limiter), tokens: tokens,
      serviceTokens: ServiceTokens(pool: pool, propagations: propagations, clock: clock),
      usages: usages,
      analytics: Analytics(pool: analyticsPool ?? pool, clock: clock),
      audit: AuditEvents(pool: pool),
      desk: SupportDesk(pool: pool, keys: keys, propagations: propagations, outbox: outbox),
      explanations: Explanations(pool: pool, format: settings.keyFormat, limiter: limiter, clock: clock),
      staff: StaffMembers(pool: pool),
      deletion: AccountDeletion(pool: pool, keys: keys, propagations: propagations, outbox: outbox),
      exports: PersonExports(pool: pool), erasures: PersonErasures(pool: pool),
      readiness: Readiness(
        pool: gatewayPool, migrationCount: settings.migrationCount, isFresh: { verifier.keys.cache.isFresh(at: .now) },
        isDraining: { drain.isBegun },
        warnings: {
          Self.warnings(settings.descriptors, recorder.holdings, ledger.holdings, mailSender, settings.tls, clock)
            + [verifier.importWarning].compactMap(\.self)
        }),
      standaloneLimits: standalone, namespaces: LimitNamespaces(pool: pool, propagations: propagations),
      overrides: NamespaceOverrides(pool: pool, propagations: propagations),
      keyMoves: KeyMoves(pool: pool, keys: keys), keyImports: KeyImports(pool: pool, keys: keys),
      keyExports: KeyExports(pool: pool))
    usage = UsageFlusher(
      pool: gatewayPool, recorder: recorder, tokenUses: tokens.uses, keptFor: settings.usageKeptFor,
      gatheredMax: settings.usageGatheredMax, clock: clock, observer: observer)
    let scheduler = JobScheduler(
      Jobs(
        pool: pool, instance: settings.instanceName, retention: settings.retention, observer: observer,
        outbox: outbox, box: settings.secretBox))
    self.scheduler = scheduler
    let connectionLimit = ConnectionLimit(countMax: settings.connectionCountMax, observer: observer)
    self.connectionLimit = connectionLimit
    metrics = MetricsController(registry: registry, observer: observer, token: settings.metricsToken?.hash) {
      Self.gauges([("portal", pool), ("gateway", gatewayPool)], verifier.keys.cache, instance, recorder.holdings)
        + Self.gauges(ledger.holdings) + Self.gauges(connectionLimit, settings.tls) + Self.gauges(scheduler.lastReport)
    }
    listener = InvalidationListener(
      pool: gatewayPool, listenerURL: settings.listenerURL, instance: instance, observer: observer,
      otherChannels: [CreditSettler.channel: { credits.noted($0) }]
    ) { [pool, gatewayPool] sync in
      limiter.instanceCount = instance.liveInstanceCount
      standaloneLimiter.instanceCount = instance.liveInstanceCount
      let outcome =
        verifier.apply(sync) + tokens.tokens.cache.apply(sync) + standalone.namespaces.cache.apply(sync)
      // Before this instance acknowledges the sync, so that nothing is admitted under an old generation after that.
      verifier.followCredits(sync, outcome)
      if outcome.isHistoryBroken {
        // Open connections may lead to a server that has been replaced and does not know it yet.
        for pool in [pool, gatewayPool] { pool.condemnConnections() }
      }
      return outcome
    }
  }

  /// The server and all its background services. They shut down in reverse order: requests stop first, then the last
  /// counters are written, then the listener and the pools end.
  ///
  /// It listens on the settings' socket, if there is one. Health and metrics are only at `operationsAddress`, if there
  /// is one. `onListening` is called when the server takes connections.
  package func makeServer(
    address: BindAddress, operationsAddress: BindAddress? = nil, logger: Logger,
    onListening: @escaping @Sendable () -> Void = {}
  ) -> some ApplicationProtocol {
    let fastPath =
      settings.hasFastPath
      ? FastPath(
        verifier: services.verifier, tokens: services.tokens, observer: metrics.observer,
        keyPlaces: settings.keyPlaces, proxies: settings.trustedProxies, limit: requestLimits.verification,
        drain: drain) : nil
    let eventLoops: EventLoopGroupProvider =
      settings.httpThreadCount.map { .shared(MultiThreadedEventLoopGroup(numberOfThreads: $0)) } ?? .singleton
    var parts: [any Service] = [pool, gatewayPool]
    if let analyticsPool { parts.append(analyticsPool) }
    parts += [scheduler, listener, limits, standaloneLimits, usage, credits] as [any Service]
    if let mailSender { parts.append(mailSender) }
    if let operationsAddress { parts.append(makeOperationsServer(operationsAddress, eventLoops, logger)) }
    var application = Application(
      router: makeRouter(
        APIRoutes(
          services, keyPlaces: settings.keyPlaces, cookie: settings.cookie, isSignupOpen: settings.isSignupOpen,
          needsStaffSecondFactor: settings.needsStaffSecondFactor, limits: requestLimits, turns: turns),
        operationsAddress == nil ? OperationsRoutes(services.readiness, metrics: metrics) : nil,
        settings.hasPages
          ? PageRoutes(
            services, cookie: settings.cookie, isSignupOpen: settings.isSignupOpen, limits: requestLimits, turns: turns)
          : nil,
        metrics: metrics, proxies: settings.trustedProxies, crossOrigins: settings.crossOrigins, limits: requestLimits,
        table: table, pageTable: pageTable),
      server: .portal(
        fastPath, timeouts: settings.connectionTimeouts, limit: connectionLimit, drain: drain, tls: settings.tls,
        observer: metrics.observer),
      configuration: .init(
        address: settings.socket.map { .unixDomainSocket(path: $0.path) } ?? address, backlog: 1_024,
        availableConnectionsDelegate: connectionLimit.acceptanceLimit(logger)),
      services: parts,
      onServerRunning: { _ in
        openSocket(logger)
        onListening()
      },
      eventLoopGroupProvider: eventLoops, logger: logger)
    application.beforeServerStarts {
      await waitForFirstSync()
      await preload(logger)
      // Last, because a socket that is there after this is replaced.
      try settings.socket?.expectFree()
    }
    return application
  }

  /// Returns when each thread that requests depend on has run something: those of `eventLoops`, and those that talk to
  /// PostgreSQL. Does not return while one of them hangs.
  package func goRound(_ eventLoops: any EventLoopGroup) async {
    for eventLoop in eventLoops.makeIterator() { try? await eventLoop.submit {}.get() }
    for pool in [pool, gatewayPool, analyticsPool].compactMap({ $0 }) {
      await Task(executorPreference: pool.executor) {}.value
    }
  }

  /// Reads the certificate and its key again, if there is one.
  package func reloadCertificate() async { await settings.tls?.reload(metrics.observer) }

  /// Until then, only the server's user can connect.
  private func openSocket(_ logger: Logger) {
    do { try settings.socket?.open() } catch {
      logger.error(
        "could not set the mode of the socket, so only this user can connect", metadata: ["reason": "\(error)"])
    }
  }

  /// With its own connections, so that health can be checked however many there are on the other port.
  private func makeOperationsServer(
    _ address: BindAddress, _ eventLoops: EventLoopGroupProvider, _ logger: Logger
  ) -> some ApplicationProtocol {
    let limit = ConnectionLimit(countMax: Self.operationsConnectionCountMax, observer: metrics.observer)
    return Application(
      router: makeOperationsRouter(
        OperationsRoutes(services.readiness, metrics: metrics), metrics: metrics, proxies: settings.trustedProxies),
      server: .portal(
        nil, timeouts: settings.connectionTimeouts, limit: limit, drain: drain, tls: nil, observer: metrics.observer),
      configuration: .init(
        address: address,
        availableConnectionsDelegate: limit.acceptanceLimit(logger, surplusMax: Self.operationsSurplusMax)),
      eventLoopGroupProvider: eventLoops, logger: logger)
  }

  /// Problems that operators should know about and that do not stop the service.
  private static func warnings(
    _ descriptors: DescriptorBudget?, _ usage: UsageRecorder.Holdings, _ credits: CreditLedger.Holdings,
    _ mailSender: MailSender?, _ tls: ServerTLS?, _ clock: DatabaseClock
  ) -> [String] {
    var warnings = [clock.warning, descriptors?.warning, tls?.warning(at: clock.now.date)].compactMap { $0 }
    if let failure = usage.failure {
      warnings.append("usage is only counted in memory, and is lost if the process dies: \(failure)")
    }
    if let failure = credits.failure {
      warnings.append("what is spent of credits is only in memory, and is lost if the process dies: \(failure)")
    }
    if let mailSender {
      if let failure = mailSender.lastFailure {
        warnings.append("mail could not be sent, and will be retried: \(failure)")
      }
    } else {
      warnings.append("no mail is sent: neither MAIL_URL nor MAIL_FOLDER is set")
    }
    return warnings
  }

  /// Keys that are not preloaded are looked up when they are needed.
  private func preload(_ logger: Logger) async {
    guard settings.cachePreloadCount > 0 else { return }
    do {
      let count = try await services.verifier.preload(settings.cachePreloadCount)
      logger.info("read the most recently used keys into the cache", metadata: ["keys": "\(count)"])
    } catch {
      logger.warning("could not read keys into the cache before the start", metadata: ["reason": "\(error)"])
    }
  }

  /// Lets the first requests find the cache usable. The wait is bounded: without the cache, requests go to the
  /// database.
  private func waitForFirstSync() async {
    let deadline = ContinuousClock.now + Self.firstSyncTimeout
    while !services.verifier.keys.cache.isFresh(at: .now), .now < deadline {
      try? await Task.sleep(for: .milliseconds(5))
    }
  }
}
