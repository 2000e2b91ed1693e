import ArgumentParser
import Foundation
import Hummingbird
import Logging
import Portal
import PortalApplication
import PortalHTTP
import Postgres
import ServiceLifecycle
import UnixSignals

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Run the portal until SIGTERM or SIGINT, then drain and exit.",
    discussion: """
      Refuses to start while migrations are pending, or roles, privileges or policies are missing; run latchkey \
      migrate first. latchkey doctor checks everything that it needs. If the database is ahead, starts only if all \
      newer migrations declare that this version works with them.
      """)

  @OptionGroup var options: SettingsOptions
  @OptionGroup var listener: ListenerOptions

  func run() async throws {
    let configuration = try await options.load(listener.values)
    try await reportingFailure { try await serve(configuration) }
  }

  private func serve(_ configuration: PortalConfiguration) async throws {
    var logger = configuration.logFormat.makeLogger()
    logger.logLevel = configuration.logLevel
    let descriptors = try divideDescriptors(configuration, logger)
    let tls = try readCertificate(configuration.http.tls)
    try expectFreePorts(configuration)
    let migrations = try PortalMigrations()
    try expectSpool(at: configuration.usageSpool)
    try await PostgresPool.with(configuration.database) { pool in
      try await checkSchema(migrations, pool, logger)
      try await checkSessions(configuration.settings.listenerURL, pool, logger)
    }
    let installation = try await PostgresPool.with(configuration.database.with(.gateway)) {
      try await Installation(in: $0)
    }
    // Not earlier: a server that does not start leaves nothing behind.
    try prepareSpool(configuration.usageSpool)
    var settings = configuration.settings
    settings.migrationCount = migrations.count
    settings.usageSpool = configuration.usageSpool + "/" + installation.id.text
    settings.descriptors = descriptors
    settings.tls = tls
    settings.connectionCountMax = descriptors.connectionCountMax(configuration.http.connectionCountMax)
    let observer = Observer([Observer.logging(logger)])
    let portal = PortalApplication(
      settings, database: configuration.database, analyticsDatabase: configuration.analyticsDatabase,
      observer: observer)
    try await run(portal, configuration, observer, logger)
  }

  /// Runs the services; a shutdown ends them from the last to the first.
  private func run(
    _ portal: PortalApplication, _ configuration: PortalConfiguration, _ observer: Observer, _ logger: Logger
  ) async throws {
    let http = configuration.http
    // Until it is opened, the socket is private to the server's user. So are all other files that the server creates.
    if configuration.settings.socket != nil { umask(0o077) }
    let (listening, continuation) = AsyncStream.makeStream(of: Void.self)
    let server = portal.makeServer(
      address: .hostname(http.host, port: http.port),
      operationsAddress: http.operationsPort.map { .hostname(http.host, port: $0) }, logger: logger,
      onListening: { continuation.yield() })
    let supervision = Supervision(
      ProcessInfo.processInfo.environment, processID: ProcessInfo.processInfo.processIdentifier)
    let notice = ReadyNotice()
    var parts: [any Service] = []
    if let supervision {
      let (readiness, eventLoops) = (portal.services.readiness, server.eventLoopGroup)
      parts.append(
        SupervisionService(
          supervision: supervision, listening: listening, isReady: { await readiness.check().isEmpty },
          notice: notice, goRound: { await portal.goRound(eventLoops) }, logger: logger))
    }
    if http.tls != nil || supervision != nil {
      parts.append(ReloadService(socket: supervision?.socket, notice: notice, reload: portal.reloadCertificate))
    }
    parts.append(server)
    parts.append(
      DrainService(
        drain: portal.drain, seconds: http.drainSeconds, socket: supervision?.socket, observer: observer))
    try await ServiceGroup(
      configuration: .init(services: parts, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    ).run()
  }

  private func readCertificate(_ files: TLSFiles?) throws -> ServerTLS? {
    do { return try files.map { try ServerTLS($0) } } catch { throw ValidationError("\(error).") }
  }

  /// Raises the limit of descriptors, and refuses the start if it is still too low.
  private func divideDescriptors(_ configuration: PortalConfiguration, _ logger: Logger) throws -> DescriptorBudget {
    let budget = DescriptorBudget(configuration, limit: DescriptorLimit.raise())
    try start(unless: budget.refusal)
    if let wanted = configuration.http.connectionCountMax, wanted > budget.connectionCountAllowed {
      logger.warning(
        "HTTP_CONNECTIONS_MAX is more than the descriptors allow, and was lowered",
        metadata: ["connections": "\(budget.connectionCountAllowed)", "descriptors": "\(budget.limit)"])
    }
    return budget
  }

  private func checkSchema(_ migrations: PortalMigrations, _ pool: PostgresPool, _ logger: Logger) async throws {
    let status = try await migrations.status(on: pool)
    try start(unless: StartRefusal.of(status))
    try start(unless: StartRefusal.of(try await migrations.needs(on: pool)))
    if case .ahead(let names) = status {
      // Its privileges and policies are those of another version.
      logger.notice(
        "the database has newer migrations that this version works with", metadata: ["migrations": "\(names)"])
    } else {
      try start(unless: StartRefusal.of(try await migrations.missingAccess(on: pool)))
    }
  }

  private func start(unless refusal: String?) throws {
    guard let refusal else { return }
    FileHandle.standardError.write(Data("latchkey: \(refusal)\n".utf8))
    throw ExitCode.failure
  }

  /// Behind a pooler that shares server connections, a listener would receive nothing, and other clients would find its
  /// session settings.
  private func checkSessions(_ listenerURL: String?, _ pool: PostgresPool, _ logger: Logger) async throws {
    let session = try await pool.trySession()
    if session != .own {
      logger.notice(
        "DATABASE_URL leads through a pooler; each transaction sets its role and its limits",
        metadata: ["sessions": "\(session)"])
    }
    let (key, listening) =
      if let listenerURL {
        ("DATABASE_LISTENER_URL", try await pool.trySession(url: listenerURL))
      } else {
        ("DATABASE_URL", session)
      }
    try start(unless: StartRefusal.of(listening, listeningBy: key))
  }

  /// Refuses the start if another server listens there already, before anything else is started. Whoever takes a port
  /// in the meantime makes listening fail.
  private func expectFreePorts(_ configuration: PortalConfiguration) throws {
    let http = configuration.http
    let ports =
      (configuration.settings.socket == nil ? [("HTTP_PORT", http.port)] : [])
      + (http.operationsPort.map { [("OPERATIONS_PORT", $0)] } ?? [])
    for (key, port) in ports {
      try start(unless: StartRefusal.of(PortCondition(host: http.host, port: port), "\(http.host):\(port)", key))
    }
  }

  private func expectSpool(at path: String) throws {
    if FolderCondition(at: path).problem != nil { throw Self.noSpool(at: path) }
  }

  private func prepareSpool(_ path: String) throws {
    do {
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw Self.noSpool(at: path)
    }
  }

  private static func noSpool(at path: String) -> ValidationError {
    ValidationError("USAGE_SPOOL must be a folder that exists or can be created: \(path).")
  }
}

extension DescriptorBudget {
  /// The budget of a server with this configuration, if the process may open `limit` descriptors.
  init(_ configuration: PortalConfiguration, limit: Int) {
    let poolSize = configuration.database.poolSizeMax
    self.init(
      limit: limit,
      poolSizes: [poolSize, poolSize] + (configuration.analyticsDatabase.map { [$0.poolSizeMax] } ?? []),
      eventLoopCount: configuration.settings.httpThreadCount ?? Self.eventLoopCountStandard,
      mailThreadCount: configuration.settings.mail?.threadCount ?? 0)
    operationsCount = configuration.http.operationsPort == nil ? 0 : PortalApplication.operationsDescriptorCount
  }
}
