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

  /// Reads and validates all keys. Throws a `ValidationError` that names the keys of all invalid values.
  init(_ reader: ConfigReader) throws {
    let keys = CheckedReader(reader: reader)
    database = PostgresConfiguration(url: keys.required("database.url", isSecret: true))
    database.poolSizeMax = keys.integer("database.pool.size", 1...1_000, default: 10)
    let seconds = keys.integer("database.timeout.seconds", 1...3_600, default: 30)
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
    let port = keys.integer("http.port", 0...65_535, default: 8_080)
    let socket = try Self.socket(keys)
    let tls = Self.tls(keys)
    if tls != nil, socket != nil { keys.refuse("tls.certificate", "cannot be set together with HTTP_SOCKET") }
    let cookie = try keys.parsed(
      "public.url", default: "\(tls == nil ? "http" : "https")://127.0.0.1:\(port)",
      "must be https://host, or http:// with 127.0.0.1 or localhost", SessionCookie.init(publicURL:))
    if tls != nil, !cookie.isSecure { keys.refuse("public.url", "must be https:// with TLS_CERTIFICATE") }
    let threads = keys.integer("http.threads", 0...1_024, default: 0)
    let connections = keys.integer("http.connections.max", 0...1_000_000, default: 0)
    let drainSeconds = keys.integer("drain.seconds", 0...3_600, default: 0)
    let shutdownSeconds = keys.integer("shutdown.seconds", 1...3_600, default: 10)
    let idleSeconds = keys.integer("http.idle.seconds", 1...86_400, default: 75)
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
    let operationsPort = keys.integer("operations.port", 0...65_535, default: 0)
    if operationsPort != 0, operationsPort == port, socket == nil {
      keys.refuse("operations.port", "must differ from HTTP_PORT")
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
    keyFormat.importSalt = keys.optional("key.import.salt", isSecret: true).flatMap {
      keys.parsed($0, "key.import.salt", "must have at most \(ImportSalt.lengthMax) bytes") {
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
    limits.session = keys.integer("session.rate.limit.per.minute", counts, default: limits.session)
    limits.address = keys.integer("address.rate.limit.per.minute", counts, default: limits.address)
    limits.token = keys.integer("token.rate.limit.per.minute", counts, default: limits.token)
    limits.verification = keys.integer("verify.rate.limit.per.minute", counts, default: limits.verification)
    settings.requestsPerMinute = limits
    settings.isSignupOpen = keys.boolean("signup.open", default: false)
    settings.hasPages = keys.boolean("pages", default: true)
    settings.metricsToken = keys.optional("metrics.token", isSecret: true).flatMap {
      keys.parsed(
        $0, "metrics.token",
        "must be \(Self.metricsTokenLengthMin) to \(Secret.lengthMax) visible ASCII characters",
        Self.parseMetricsToken)
    }
    settings.lease = .seconds(keys.integer("cache.lease.seconds", 1...30, default: 2))
    settings.cacheEntryCountMax = keys.integer("cache.entries", 1...10_000_000, default: 200_000)
    settings.cachePreloadCount = keys.integer("cache.preload", 0...10_000_000, default: 0)
    settings.hasFastPath = keys.boolean("fast.path", default: true)
    settings.sessionLifetime = .seconds(keys.integer("session.hours", 1...8_760, default: 720) * 3_600)
    settings.passwordCost.logN = keys.integer("password.cost", 10...16, default: ScryptCost.standard.logN)
    settings.passwordThreadCount = keys.integer("password.threads", 1...64, default: 2)
    let secretKey = keys.optional("secret.key", isSecret: true)
    settings.secretBox = secretKey.flatMap {
      keys.parsed(
        $0, "secret.key", "must be 32 bytes in base 64, as printed by openssl rand -base64 32", SecretBox.init)
    }
    if let previous = keys.optional("secret.key.previous", isSecret: true) {
      if secretKey == nil { keys.refuse("secret.key.previous", "requires SECRET_KEY") }
      settings.secretBox = settings.secretBox.flatMap { box in
        keys.parsed(
          previous, "secret.key.previous",
          "must be 1 to \(SecretBox.previousCountMax) comma-separated keys in the form of SECRET_KEY, none equal to it",
          box.opening(previous:))
      }
    }
    settings.needsStaffSecondFactor = keys.choice("staff.second.factor", ["optional", "required"]) == "required"
    if settings.needsStaffSecondFactor, secretKey == nil {
      keys.refuse("staff.second.factor", "can only be required if SECRET_KEY is set")
    }
    usageSpool = keys.optional("usage.spool") ?? "usage"
    settings.usageGatheredMax = .seconds(keys.integer("usage.flush.seconds.max", 1...60, default: 10))
    settings.usageKeptFor = .seconds(keys.integer("usage.spool.keep.seconds", 0...86_400, default: 60))
    var retention = Retention()
    retention.idleSessionHours = keys.integer("session.idle.hours", 1...8_760, default: retention.idleSessionHours)
    retention.usageDays = keys.integer("usage.retention.days", 7...36_500, default: retention.usageDays)
    retention.usageHourHours = keys.integer(
      "usage.hours.retention.hours", 24...8_760, default: retention.usageHourHours)
    // Outcomes may be up to 48 hours old, and so may a repeated batch.
    retention.usageBatchDays = keys.integer(
      "usage.batches.retention.days", 3...365, default: retention.usageBatchDays)
    retention.usageSourceDays = keys.integer(
      "usage.sources.retention.days", 30...36_500, default: retention.usageSourceDays)
    retention.mailDays = keys.integer("mail.retention.days", 1...3_650, default: retention.mailDays)
    retention.settingsDays = keys.integer("settings.retention.days", 1...3_650, default: retention.settingsDays)
    retention.creditLeaseSeconds = keys.integer(
      "credits.forgive.after.seconds", CreditSilence.secondsRange, default: retention.creditLeaseSeconds)
    settings.retention = retention
    logLevel = try keys.parsed(
      "log.level", default: "info", "must be one of trace, debug, info, notice, warning, error, critical",
      Logger.Level.init(rawValue:))
    logFormat = try keys.parsed("log.format", default: "text", "must be text or json", LogFormat.init(rawValue:))
    settings.mail = try Self.mail(keys)
    try keys.finish()
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
    return keys.optional("http.socket").flatMap { path in
      keys.parsed(path, "http.socket", "must be a path of at most \(SocketFile.pathLengthMax) bytes") {
        SocketFile(path: $0, mode: mode)
      }
    }
  }

  private static func tls(_ keys: CheckedReader) -> TLSFiles? {
    switch (keys.optional("tls.certificate"), keys.optional("tls.key")) {
    case (let certificate?, let key?): return TLSFiles(certificate: certificate, key: key)
    case (nil, nil): break
    case (_?, nil): keys.refuse("tls.key", "is required with TLS_CERTIFICATE")
    case (nil, _?): keys.refuse("tls.certificate", "is required with TLS_KEY")
    }
    return nil
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
    if keys.optional("mail.folder") != nil { keys.refuse("mail.folder", "cannot be set together with MAIL_URL") }
    guard var server = SMTPServer(url: url) else {
      keys.refuse("mail.url", "must be smtp://[user:password@]host[:port], or smtps://")
      return nil
    }
    switch keys.optional("mail.tls") {
    case nil: break
    case "required": if server.security == .none { server.security = .startTLS }
    case "none":
      if server.security == .tls { keys.refuse("mail.tls", "cannot be none with smtps://") }
      server.security = .none
    default: keys.refuse("mail.tls", "must be required or none")
    }
    server.authorityFile = keys.optional("mail.ca.file")
    return MailSettings(transport: .smtp(server), from: try sender(""))
  }
}

/// Reads values by key, and collects what is wrong with them, with the keys as environment variables. A value that is
/// refused is replaced by the default.
private final class CheckedReader {
  private let reader: ConfigReader
  private var problems: [String] = []

  init(reader: ConfigReader) { self.reader = reader }

  /// Throws all problems together, one a line, if there are any.
  func finish() throws {
    if !problems.isEmpty { throw ValidationError(problems.joined(separator: "\n")) }
  }

  func refuse(_ key: String, _ message: String) {
    problems.append(key.uppercased().replacing(".", with: "_") + " " + message + ".")
  }

  func optional(_ key: String, isSecret: Bool = false) -> String? {
    reader.string(forKey: ConfigKey(key), isSecret: isSecret).flatMap { $0.isEmpty ? nil : $0 }
  }

  /// An empty text if it is missing.
  func required(_ key: String, isSecret: Bool = false) -> String {
    if let value = optional(key, isSecret: isSecret) { return value }
    refuse(key, "is required")
    return ""
  }

  func integer(_ key: String, _ range: ClosedRange<Int>, default: Int) -> Int {
    guard let text = optional(key) else { return `default` }
    if let number = Int(text), range.contains(number) { return number }
    refuse(key, "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
    return `default`
  }

  func boolean(_ key: String, default: Bool) -> Bool {
    switch optional(key)?.lowercased() {
    case nil: break
    case "true", "1", "yes": return true
    case "false", "0", "no": return false
    default: refuse(key, "must be true or false")
    }
    return `default`
  }

  /// Returns one of `choices`; the first is the default.
  func choice(_ key: String, _ choices: [String]) -> String {
    let value = optional(key) ?? choices[0]
    if choices.contains(value) { return value }
    refuse(key, "must be one of " + choices.joined(separator: ", "))
    return choices[0]
  }

  /// Nil after a problem.
  func parsed<Value>(_ text: String, _ key: String, _ message: String, _ parse: (String) -> Value?) -> Value? {
    let value = parse(text)
    if value == nil { refuse(key, message) }
    return value
  }

  /// Throws all problems so far if not even the default can be parsed.
  func parsed<Value>(
    _ key: String, default: String, _ message: String, _ parse: (String) -> Value?
  ) throws -> Value {
    if let value = parsed(optional(key) ?? `default`, key, message, parse) ?? parse(`default`) { return value }
    try finish()
    throw ValidationError("\(key) has no default")
  }
}
