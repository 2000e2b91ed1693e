import ArgumentParser
import Configuration
import Foundation
import Logging
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import Postgres

/// The program's configuration, read once and validated. No other code knows where settings come from.
///
/// Each key can be set by a flag (`--http-port`), an environment variable (`HTTP_PORT`) or a line of `.env`; the first
/// of these wins. `docs/CONFIGURATION.md` lists the keys with type, default and unit.
struct PortalConfiguration: Sendable {
  /// How the server listens and ends.
  struct HTTP: Sendable {
    var host: String
    /// Not used with ``PortalSettings/socket``.
    var port: Int
    /// Nil if connections are not encrypted.
    var tls: TLSFiles?
    /// Nil if health and metrics are served on `port`.
    var operationsPort: Int?
    /// Nil for as many as the descriptors allow, up to the standard maximum.
    var connectionCountMax: Int?
    /// How long the server keeps serving after SIGTERM before it stops listening.
    var drainSeconds: Int
  }

  var database: PostgresConfiguration
  /// The database that usage and analytics are read from; nil for `database`.
  var analyticsDatabase: PostgresConfiguration?
  var http: HTTP
  /// The settings of the portal. `serve` adds what it finds out itself: the certificate, the descriptors, the spool
  /// of this installation, the number of migrations.
  var settings: PortalSettings
  /// The folder of the spools of all installations.
  var usageSpool: String
  var logLevel: Logger.Level
  var logFormat: LogFormat

  /// Reads and validates all keys. Throws a `ValidationError` that names the key of an invalid value.
  init(_ reader: ConfigReader) throws {
    let keys = CheckedReader(reader: reader)
    database = PostgresConfiguration(url: try keys.required("database.url", isSecret: true))
    database.poolSizeMax = try keys.integer("database.pool.size", 1...1_000, default: 10)
    let seconds = try keys.integer("database.timeout.seconds", 1...3_600, default: 30)
    database.queryTimeout = .seconds(seconds)
    database.statementTimeout = .seconds(seconds)
    database.preparing = try keys.parsed(
      "database.prepare", default: "auto", "must be auto, always or never", PostgresPreparing.init(rawValue:))
    let listenerURL = keys.optional("database.listener.url", isSecret: true)
    if let url = keys.optional("analytics.database.url", isSecret: true) {
      var configuration = database
      configuration.url = url
      analyticsDatabase = configuration
    }

    let host = keys.optional("http.host") ?? "127.0.0.1"
    let port = try keys.integer("http.port", 0...65_535, default: 8_080)
    let socket = try Self.socket(keys)
    let tls = try Self.tls(keys)
    if tls != nil, socket != nil { throw keys.error("tls.certificate", "cannot be set together with HTTP_SOCKET") }
    let cookie = try keys.parsed(
      "public.url", default: "\(tls == nil ? "http" : "https")://127.0.0.1:\(port)",
      "must be https://host, or http:// with 127.0.0.1 or localhost", SessionCookie.init(publicURL:))
    if tls != nil, !cookie.isSecure { throw keys.error("public.url", "must be https:// with TLS_CERTIFICATE") }
    let threads = try keys.integer("http.threads", 0...1_024, default: 0)
    let connections = try keys.integer("http.connections.max", 0...1_000_000, default: 0)
    let drainSeconds = try keys.integer("drain.seconds", 0...3_600, default: 0)
    let shutdownSeconds = try keys.integer("shutdown.seconds", 1...3_600, default: 10)
    let idleSeconds = try keys.integer("http.idle.seconds", 1...86_400, default: 75)
    var proxies = try keys.parsed(
      "trusted.proxies", default: "", "must be comma-separated addresses or CIDR blocks", TrustedProxies.init)
    proxies.header = try keys.parsed(
      "forwarded.header", default: ForwardedHeader.xForwardedFor.rawValue, "must be x-forwarded-for or forwarded"
    ) { ForwardedHeader(rawValue: $0.lowercased()) }
    proxies.includesSocketPeers = socket != nil
    let crossOrigins = try keys.parsed(
      "cors.origins", default: "",
      "must be comma-separated origins, https://host[:port], or http:// with 127.0.0.1 or localhost",
      CrossOrigins.init)
    let keyPlaces = try keys.parsed(
      "key.headers", default: "x-api-key,authorization",
      "must be up to 8 comma-separated names of header fields, or query: and the name of a parameter, without "
        + "repetition and without fields that have another meaning", KeyPlaces.init(_:))
    let operationsPort = try keys.integer("operations.port", 0...65_535, default: 0)
    guard operationsPort == 0 || operationsPort != port || socket != nil else {
      throw keys.error("operations.port", "must differ from HTTP_PORT")
    }
    http = HTTP(
      host: host, port: port, tls: tls, operationsPort: operationsPort == 0 ? nil : operationsPort,
      connectionCountMax: connections == 0 ? nil : connections, drainSeconds: drainSeconds)
    var keyFormat = try keys.parsed(
      "key.prefix", default: "lk", "must be 2 to 16 lower-case letters and digits, beginning with a letter",
      KeyFormat.init(prefix:))
    let saltPlace = try keys.parsed(
      "key.import.salt.place", default: ImportSalt.Place.after.rawValue, "must be before or after",
      ImportSalt.Place.init(rawValue:))
    keyFormat.importSalt = try keys.optional("key.import.salt", isSecret: true).map {
      try keys.parsed($0, "key.import.salt", "must have at most \(ImportSalt.lengthMax) bytes") {
        ImportSalt($0, saltPlace)
      }
    }
    settings = PortalSettings(keyFormat: keyFormat, cookie: cookie)
    settings.instanceName = "\(ProcessInfo.processInfo.hostName):\(socket?.path ?? "\(port)")"
    settings.listenerURL = listenerURL
    settings.trustedProxies = proxies
    settings.crossOrigins = crossOrigins
    settings.keyPlaces = keyPlaces
    settings.socket = socket
    settings.httpThreadCount = threads == 0 ? nil : threads
    settings.connectionTimeouts.idle = .seconds(idleSeconds)
    settings.connectionTimeouts.shutdown = .seconds(shutdownSeconds)

    let counts = 0...RequestLimits.PerMinute.max
    var limits = RequestLimits.PerMinute()
    limits.session = try keys.integer("session.rate.limit.per.minute", counts, default: limits.session)
    limits.address = try keys.integer("address.rate.limit.per.minute", counts, default: limits.address)
    limits.token = try keys.integer("token.rate.limit.per.minute", counts, default: limits.token)
    limits.verification = try keys.integer("verify.rate.limit.per.minute", counts, default: limits.verification)
    settings.requestsPerMinute = limits
    settings.isSignupOpen = try keys.boolean("signup.open", default: false)
    settings.metricsToken = try keys.optional("metrics.token", isSecret: true).map {
      try keys.parsed(
        $0, "metrics.token",
        "must be \(Self.metricsTokenLengthMin) to \(Secret.lengthMax) visible ASCII characters",
        Self.parseMetricsToken)
    }
    settings.lease = .seconds(try keys.integer("cache.lease.seconds", 1...30, default: 2))
    settings.cacheEntryCountMax = try keys.integer("cache.entries", 1...10_000_000, default: 200_000)
    settings.cachePreloadCount = try keys.integer("cache.preload", 0...10_000_000, default: 0)
    settings.hasFastPath = try keys.boolean("fast.path", default: true)
    settings.sessionLifetime = .seconds(try keys.integer("session.hours", 1...8_760, default: 720) * 3_600)
    settings.passwordCost.logN = try keys.integer("password.cost", 10...16, default: ScryptCost.standard.logN)
    settings.passwordThreadCount = try keys.integer("password.threads", 1...64, default: 2)
    settings.secretBox = try keys.optional("secret.key", isSecret: true).map {
      try keys.parsed(
        $0, "secret.key", "must be 32 bytes in base 64, as printed by openssl rand -base64 32", SecretBox.init)
    }
    if let previous = keys.optional("secret.key.previous", isSecret: true) {
      guard let box = settings.secretBox else { throw keys.error("secret.key.previous", "requires SECRET_KEY") }
      settings.secretBox = try keys.parsed(
        previous, "secret.key.previous",
        "must be 1 to \(SecretBox.previousCountMax) comma-separated keys in the form of SECRET_KEY, none equal to it",
        box.opening(previous:))
    }
    settings.needsStaffSecondFactor = try keys.choice("staff.second.factor", ["optional", "required"]) == "required"
    if settings.needsStaffSecondFactor, settings.secretBox == nil {
      throw ValidationError("STAFF_SECOND_FACTOR can only be required if SECRET_KEY is set.")
    }
    usageSpool = keys.optional("usage.spool") ?? "usage"
    settings.usageGatheredMax = .seconds(try keys.integer("usage.flush.seconds.max", 1...60, default: 10))
    settings.usageKeptFor = .seconds(try keys.integer("usage.spool.keep.seconds", 0...86_400, default: 60))
    var retention = Retention()
    retention.idleSessionHours = try keys.integer("session.idle.hours", 1...8_760, default: retention.idleSessionHours)
    retention.usageDays = try keys.integer("usage.retention.days", 7...36_500, default: retention.usageDays)
    retention.usageHourHours = try keys.integer(
      "usage.hours.retention.hours", 24...8_760, default: retention.usageHourHours)
    // Outcomes may be up to 48 hours old, and so may a repeated batch.
    retention.usageBatchDays = try keys.integer(
      "usage.batches.retention.days", 3...365, default: retention.usageBatchDays)
    retention.usageSourceDays = try keys.integer(
      "usage.sources.retention.days", 30...36_500, default: retention.usageSourceDays)
    retention.mailDays = try keys.integer("mail.retention.days", 1...3_650, default: retention.mailDays)
    settings.retention = retention
    settings.mail = try Self.mail(keys)
    logLevel = try keys.parsed(
      "log.level", default: "info", "must be one of trace, debug, info, notice, warning, error, critical",
      Logger.Level.init(rawValue:))
    logFormat = try keys.parsed("log.format", default: "text", "must be text or json", LogFormat.init(rawValue:))
  }
}

extension PortalConfiguration {
  /// A random token of this many characters cannot be guessed.
  private static let metricsTokenLengthMin = 16

  private static func parseMetricsToken(_ text: String) -> Secret? {
    guard (metricsTokenLengthMin...Secret.lengthMax).contains(text.utf8.count),
      text.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
    else { return nil }
    return Secret(presented: text)
  }

  private static func socket(_ keys: CheckedReader) throws -> SocketFile? {
    let mode = try keys.parsed(
      "http.socket.mode", default: String(SocketFile.modeStandard, radix: 8),
      "must be three octal digits, or four of which the first is 0, as for chmod", parseMode)
    return try keys.optional("http.socket").map { path in
      try keys.parsed(path, "http.socket", "must be a path of at most \(SocketFile.pathLengthMax) bytes") {
        SocketFile(path: $0, mode: mode)
      }
    }
  }

  private static func tls(_ keys: CheckedReader) throws -> TLSFiles? {
    switch (keys.optional("tls.certificate"), keys.optional("tls.key")) {
    case (let certificate?, let key?): TLSFiles(certificate: certificate, key: key)
    case (nil, nil): nil
    case (_?, nil): throw keys.error("tls.key", "is required with TLS_CERTIFICATE")
    case (nil, _?): throw keys.error("tls.certificate", "is required with TLS_KEY")
    }
  }

  private static func parseMode(_ text: String) -> Int? {
    guard (3...4).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x37).contains($0) }),
      let mode = Int(text, radix: 8), mode <= 0o777
    else { return nil }
    return mode
  }

  /// The default sender of mail to a folder. The address can receive no replies.
  private static let developmentSender = "Latchkey <latchkey@example.invalid>"

  private static func mail(_ keys: CheckedReader) throws -> MailSettings? {
    let sender = { (default: String) in
      try keys.parsed(
        "mail.from", default: `default`, "must be an e-mail address or Name <address>, and is required with MAIL_URL",
        Mailbox.init)
    }
    guard let url = keys.optional("mail.url", isSecret: true) else {
      return try keys.optional("mail.folder").map {
        MailSettings(transport: .folder($0), from: try sender(developmentSender))
      }
    }
    if keys.optional("mail.folder") != nil { throw keys.error("mail.folder", "cannot be set together with MAIL_URL") }
    guard var server = SMTPServer(url: url) else {
      throw keys.error("mail.url", "must be smtp://[user:password@]host[:port], or smtps://")
    }
    switch keys.optional("mail.tls") {
    case nil: break
    case "required": if server.security == .none { server.security = .startTLS }
    case "none":
      guard server.security != .tls else { throw keys.error("mail.tls", "cannot be none with smtps://") }
      server.security = .none
    default: throw keys.error("mail.tls", "must be required or none")
    }
    server.authorityFile = keys.optional("mail.ca.file")
    return MailSettings(transport: .smtp(server), from: try sender(""))
  }
}

/// Reads values by key. Its errors name the key as an environment variable.
private struct CheckedReader {
  let reader: ConfigReader

  func optional(_ key: String, isSecret: Bool = false) -> String? {
    reader.string(forKey: ConfigKey(key), isSecret: isSecret).flatMap { $0.isEmpty ? nil : $0 }
  }

  func required(_ key: String, isSecret: Bool = false) throws -> String {
    guard let value = optional(key, isSecret: isSecret) else { throw error(key, "is required") }
    return value
  }

  func integer(_ key: String, _ range: ClosedRange<Int>, default: Int) throws -> Int {
    guard let text = optional(key) else { return `default` }
    guard let number = Int(text), range.contains(number) else {
      throw error(key, "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  func boolean(_ key: String, default: Bool) throws -> Bool {
    switch optional(key)?.lowercased() {
    case nil: `default`
    case "true", "1", "yes": true
    case "false", "0", "no": false
    default: throw error(key, "must be true or false")
    }
  }

  /// Returns one of `choices`; the first is the default.
  func choice(_ key: String, _ choices: [String]) throws -> String {
    let value = optional(key) ?? choices[0]
    guard choices.contains(value) else { throw error(key, "must be one of " + choices.joined(separator: ", ")) }
    return value
  }

  func parsed<Value>(_ text: String, _ key: String, _ message: String, _ parse: (String) -> Value?) throws -> Value {
    guard let value = parse(text) else { throw error(key, message) }
    return value
  }

  func parsed<Value>(
    _ key: String, default: String, _ message: String, _ parse: (String) -> Value?
  ) throws -> Value {
    try parsed(optional(key) ?? `default`, key, message, parse)
  }

  func error(_ key: String, _ message: String) -> ValidationError {
    ValidationError(key.uppercased().replacing(".", with: "_") + " " + message + ".")
  }
}
