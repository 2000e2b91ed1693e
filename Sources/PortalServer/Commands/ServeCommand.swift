import ArgumentParser
import Foundation
import Hummingbird
import Logging
import Portal
import PortalHTTP
import Postgres

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Run the portal until SIGTERM or SIGINT, then drain and exit.",
    discussion: "Refuses to start while migrations are pending; run latchkey migrate first.")

  @OptionGroup var options: ConfigurationOptions

  @Option(help: ArgumentHelp("The address to listen on.", valueName: "host"))
  var httpHost: String?

  @Option(help: ArgumentHelp("The port to listen on.", valueName: "port"))
  var httpPort: String?

  @Option(help: ArgumentHelp("The portal's address as browsers see it.", valueName: "url"))
  var publicURL: String?

  func run() async throws {
    let configuration = try await options.load([
      "http.host": httpHost, "http.port": httpPort, "public.url": publicURL,
    ])
    try await reportingFailure { try await serve(configuration) }
  }

  private func serve(_ configuration: PortalConfiguration) async throws {
    var logger = Logger(label: "latchkey")
    logger.logLevel = configuration.logLevel
    let migrations = try Migrations.embedded()
    try prepareSpool(configuration.usageSpool)
    try await PostgresPool.with(configuration.database) { try await checkSchema(migrations, $0) }
    let installation = try await PostgresPool.with(configuration.database.with(.gateway)) {
      try await Installation(in: $0)
    }
    var settings = PortalSettings(configuration, migrationCount: migrations.files.count)
    settings.usageSpool = configuration.usageSpool + "/" + installation.id.text
    let portal = PortalApplication(
      settings, database: configuration.database, analyticsDatabase: configuration.analyticsDatabase,
      observer: Observer([Observer.logging(logger)]))
    let server = portal.makeServer(
      address: .hostname(configuration.http.host, port: configuration.http.port), logger: logger)
    try await server.runService()
  }

  private func checkSchema(_ migrations: Migrations, _ pool: PostgresPool) async throws {
    let reason: String
    switch try await migrations.status(on: pool) {
    case .current: return
    case .pending(let names): reason = "\(names.count) migrations are pending (next: \(names[0]))"
    case .adoptable: reason = "the database was made before the migrations had these numbers"
    }
    FileHandle.standardError.write(Data("latchkey: \(reason); run latchkey migrate first\n".utf8))
    throw ExitCode.failure
  }

  private func prepareSpool(_ path: String) throws {
    do {
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw ValidationError("USAGE_SPOOL must be a folder that can be made or written: \(path).")
    }
  }
}

extension PortalSettings {
  init(_ configuration: PortalConfiguration, migrationCount: Int) {
    self.init(
      keyFormat: configuration.keyFormat, cookie: configuration.http.cookie, migrationCount: migrationCount)
    trustedProxies = configuration.http.trustedProxies
    httpThreadCount = configuration.http.threadCount
    isSignupOpen = configuration.isSignupOpen
    lease = .seconds(configuration.leaseSeconds)
    cacheEntryCountMax = configuration.cacheEntryCountMax
    cachePreloadCount = configuration.cachePreloadCount
    hasFastPath = configuration.hasFastPath
    sessionLifetime = .seconds(configuration.sessionHours * 3_600)
    passwordCost = configuration.passwordCost
    passwordThreadCount = configuration.passwordThreadCount
    secretBox = configuration.secretBox
    needsStaffSecondFactor = configuration.needsStaffSecondFactor
    listenerURL = configuration.listenerURL
    retention = configuration.retention
    mail = configuration.mail
    instanceName = "\(ProcessInfo.processInfo.hostName):\(configuration.http.port)"
  }
}
