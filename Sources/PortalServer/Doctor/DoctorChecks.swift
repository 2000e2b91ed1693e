import Foundation
import JSON
import Portal
import PortalApplication
import PortalHTTP
import Postgres

/// The checks of `latchkey doctor`, with the configuration and the pool that `latchkey serve` would have. They change
/// nothing, create nothing and send no mail.
struct DoctorChecks: Sendable {
  /// The name of the check that tries to reach the database.
  static let databaseName = "database"
  /// Less free space in the spool's file system is a warning: it is enough for a busy server's counters during some
  /// minutes without PostgreSQL.
  private static let spoolFreeByteCountMin = 256 << 20

  let configuration: PortalConfiguration
  let pool: PostgresPool
  let migrations: PortalMigrations

  init(_ configuration: PortalConfiguration, pool: PostgresPool) throws {
    self.configuration = configuration
    self.pool = pool
    migrations = try PortalMigrations()
  }

  /// Returns the configuration of a pool whose time limits are shorter than those of the checks.
  static func database(_ configuration: PortalConfiguration) -> PostgresConfiguration {
    var database = configuration.database
    database.poolSizeMax = 1
    database.leaseTimeout = .seconds(4)
    database.queryTimeout = .seconds(4)
    database.statementTimeout = .seconds(4)
    database.cancelTimeout = .seconds(1)
    database.drainTimeout = .seconds(1)
    return database
  }

  var all: [DoctorCheck] {
    var checks = [
      DoctorCheck("configuration") { .ok("all settings are valid") },
      DoctorCheck(Self.databaseName) { try await lookAtDatabase() },
      DoctorCheck("roles", needsDatabase: true) { try await lookAtRoles() },
      DoctorCheck("migrations", needsDatabase: true) { try await lookAtMigrations() },
      DoctorCheck("access", needsDatabase: true) { try await lookAtAccess() },
      DoctorCheck("clock", needsDatabase: true) { try await lookAtClock() },
      DoctorCheck("secret key", needsDatabase: true) { try await lookAtSecretKey() },
      DoctorCheck("descriptors") { lookAtDescriptors() },
      DoctorCheck("spool") { try await lookAtSpool() },
      DoctorCheck("mail") { try await lookAtMail() },
      DoctorCheck("listener") { try await lookAtListener() },
    ]
    if let analytics = configuration.analyticsDatabase {
      checks.insert(
        DoctorCheck("analytics") { try await lookAtAnalytics(analytics) }, at: 2)
    }
    if let files = configuration.http.tls {
      checks.append(DoctorCheck("certificate") { try await lookAtCertificate(files) })
    }
    return checks
  }

  // MARK: The database

  private func lookAtDatabase() async throws -> Finding {
    guard let version = try await pool.serverVersion() else { return .failed("PostgreSQL does not report its version") }
    guard version.number >= DatabaseVersion.oldest else {
      return .failed("PostgreSQL \(version.text) is older than \(DatabaseVersion.oldest)")
    }
    let session = try await pool.trySession()
    let (key, listening) =
      if let url = configuration.settings.listenerURL {
        ("DATABASE_LISTENER_URL", try await pool.trySession(url: url))
      } else {
        ("DATABASE_URL", session)
      }
    if let refusal = StartRefusal.of(listening, listeningBy: key) { return .failed(refusal) }
    return .ok("PostgreSQL \(version.text)" + (session == .own ? "" : ", through a pooler"))
  }

  private func lookAtAnalytics(_ configuration: PostgresConfiguration) async throws -> Finding {
    var limited = Self.database(self.configuration)
    limited.url = configuration.url
    return try await PostgresPool.with(limited) { pool in
      let version = try await pool.serverVersion()
      return version.map { .ok("PostgreSQL \($0.text)") } ?? .failed("PostgreSQL does not report its version")
    }
  }

  private func lookAtRoles() async throws -> Finding {
    let needs = try await migrations.needs(on: pool)
    return .failed(if: StartRefusal.of(needs), else: "the login \(needs.login) may switch to all of them")
  }

  private func lookAtMigrations() async throws -> Finding {
    let status = try await migrations.status(on: pool)
    if case .ahead(let names) = status {
      return .ok("ahead by \(names.joined(separator: ", ")), which this version works with")
    }
    return .failed(if: StartRefusal.of(status), else: "all \(migrations.count) are applied")
  }

  private func lookAtAccess() async throws -> Finding {
    switch try await migrations.status(on: pool) {
    case .current:
      let missing = try await migrations.missingAccess(on: pool)
      return .failed(
        if: StartRefusal.of(missing), else: "privileges, policies and owners are as the migrations set them")
    case .ahead: return .ok("not compared: the database is ahead of this version")
    case .pending, .adoptable: return .failed("not compared: migrations are pending; run latchkey migrate first")
    }
  }

  private func lookAtClock() async throws -> Finding {
    let clock = DatabaseClock()
    _ = try await clock.now(on: pool)
    if let warning = clock.warning { return .warning(warning) }
    let offset = (clock.machineOffsetSeconds ?? 0) * 1_000
    return .ok("\(Int(abs(offset))) ms \(offset < 0 ? "behind" : "ahead of") PostgreSQL's")
  }

  // MARK: The machine

  private func lookAtDescriptors() -> Finding {
    let budget = DescriptorBudget(configuration, limit: DescriptorLimit.raise())
    if let refusal = budget.refusal { return .failed(refusal) }
    if let warning = budget.warning { return .warning(warning) }
    let connections = budget.connectionCountMax(configuration.http.connectionCountMax)
    if let wanted = configuration.http.connectionCountMax, connections < wanted {
      return .warning("the limit of \(budget.limit) lowers HTTP_CONNECTIONS_MAX to \(connections)")
    }
    return .ok("the limit of \(budget.limit) allows \(connections) HTTP connections")
  }

  private func lookAtSpool() async throws -> Finding {
    let path = configuration.usageSpool
    return try await onThread {
      let folder = FolderCondition(at: path)
      if let problem = folder.problem { return .failed(problem) }
      let aside = UsageAside.list(in: path)
      if let first = aside.first {
        return .warning("\(aside.count) files were set aside and are not counted, such as \(first)")
      }
      let free = folder.freeByteCount.map { $0 >> 20 }
      if let free, free < Self.spoolFreeByteCountMin >> 20 { return .warning("only \(free) MiB are free in \(path)") }
      let room = free.map { "\($0) MiB free" } ?? "free space unknown"
      return .ok("\(path), \(room)" + (folder.isThere ? "" : "; the server creates it"))
    }
  }

  // MARK: What is set

  private func lookAtSecretKey() async throws -> Finding {
    let box = configuration.settings.secretBox
    if let box, box.looksMadeUp {
      return .warning("SECRET_KEY has too few different bytes to be random; generate one with openssl rand -base64 32")
    }
    let counts: (all: Int, previous: Int, unreadable: Int)
    do { counts = try await SealedSecrets(pool: pool).count(openedBy: box) } catch {
      switch try await migrations.status(on: pool) {
      case .pending, .adoptable: return .failed("not checked: migrations are pending; run latchkey migrate first")
      case .current, .ahead: throw error
      }
    }
    let (count, previous, unreadable) = counts
    guard unreadable == 0 else {
      return .failed(
        box == nil
          ? "SECRET_KEY is not set, but there are second factors: their owners can log in only with a recovery code"
          : "SECRET_KEY does not decrypt \(unreadable) of the latest \(count) second factors")
    }
    guard previous == 0 else {
      return .warning(
        "\(previous) of the latest \(count) second factors are still encrypted under a key of SECRET_KEY_PREVIOUS")
    }
    return .ok(
      box == nil ? "not set: nobody can set up a second factor" : "decrypts the latest \(count) second factors")
  }

  private func lookAtMail() async throws -> Finding {
    switch configuration.settings.mail?.transport {
    case nil: return .ok("not set: no mail is sent")
    case .folder(let path):
      return try await onThread { .failed(if: FolderCondition(at: path).problem, else: "mails are written to \(path)") }
    case .smtp(var server):
      server.connectTimeout = .seconds(4)
      server.timeout = .seconds(4)
      let limited = server
      let place = "\(server.host):\(server.port)"
      return try await onThread {
        let login = limited.user == nil ? "" : " and accepts the credentials"
        return .failed(if: limited.findProblem().map { "\(place): \($0)" }, else: "\(place) answers\(login)")
      }
    }
  }

  private func lookAtCertificate(_ files: TLSFiles) async throws -> Finding {
    try await onThread {
      let tls: ServerTLS
      do { tls = try ServerTLS(files) } catch { return .failed("\(error)") }
      if let warning = tls.warning(at: Date()) { return .warning(warning) }
      return .ok("valid until \(Timestamp.text(of: tls.expiresAt))")
    }
  }

  private func lookAtListener() async throws -> Finding {
    let (http, socket) = (configuration.http, configuration.settings.socket)
    return try await onThread {
      var texts: [String] = []
      if let socket {
        if let problem = FolderCondition(at: (socket.path as NSString).deletingLastPathComponent).problem {
          return .failed(problem)
        }
        do throws(SocketFile.Refusal) {
          try socket.expectFree()
          texts.append("\(socket.path) is free")
        } catch {
          guard error.isTaken else { return .failed(error.description) }
          texts.append("a server listens on \(socket.path)")
        }
      }
      let ports = (socket == nil ? [http.port] : []) + (http.operationsPort.map { [$0] } ?? [])
      for port in ports {
        let place = "\(http.host):\(port)"
        switch PortCondition(host: http.host, port: port) {
        case .free: texts.append("\(place) is free")
        case .unusable(let reason): return .failed("cannot listen on \(place): \(reason)")
        case .taken:
          if http.tls != nil, http.operationsPort == nil {
            return .warning(
              "\(place) is taken; whether a server answers is checked only without TLS or at OPERATIONS_PORT")
          }
          guard HealthProbe.isAnswered(host: http.host, port: http.operationsPort ?? http.port) else {
            return .failed("\(place) is taken by something that does not answer /healthz")
          }
          texts.append("a server answers at \(place)")
        }
      }
      return .ok(texts.joined(separator: ", "))
    }
  }
}
