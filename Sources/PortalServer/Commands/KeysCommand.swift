import ArgumentParser
import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import Postgres

extension Key.Status: ExpressibleByArgument {}

struct KeysCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keys", abstract: "Manage customers' keys.",
    subcommands: [
      List.self, Show.self, Create.self, Revoke.self, Explain.self, Import.self, Export.self,
    ])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List the keys of an account, most recent first.",
      discussion: "If several filters are given, all must match.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var pageOptions: PageOptions
    @OptionGroup var tableOptions: TableOptions
    @Option(
      help: ArgumentHelp("The account whose keys are listed.", valueName: "id"),
      transform: ValidationError.parse(id:))
    var account: UUID
    @Option(help: "Only active, disabled, expired, revoked or suspended keys.") var status: Key.Status?
    @Option(help: "Only keys of this environment.") var environment: Key.Environment?
    @Option(help: "Only keys with this tag; can be repeated.") var tag: [String] = []
    @Option(help: "Only keys whose name, description or start contains this text, ignoring case.") var text: String?

    func validate() throws {
      try ValidationError.check(tags: tag)
      if let text, !(1...KeyFilter.textLengthMax).contains(text.unicodeScalars.count) || text.utf8.contains(0) {
        throw ValidationError("--text must have 1 to \(KeyFilter.textLengthMax) characters.")
      }
    }

    func run() async throws {
      let configuration = try await options.load()
      let filter = KeyFilter(status: status, tags: tag, text: text, environment: environment)
      try await reportingFailure {
        let (listed, now) = try await configuration.withKeys { keys, now, _ in
          (try await pageOptions.read { try await keys.list(of: account, filter, page: $0) }, now.expiryDate)
        }
        Output(isJSON: options.json).print(
          Self.table(listed.items, at: now), hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("keys", listed.items) { json, key in json.object { $0.fields(of: key, at: now) } }
            json.field("next", listed.next)
          })
        listed.tellNext()
      }
    }

    private static func table(_ keys: [Key], at now: Date) -> Table {
      var table = Table(["ID", "STATUS", "ENVIRONMENT", "START", "LAST USED", "EXPIRES", "SCOPES", "NAME"])
      for key in keys {
        table.add([
          key.id.text, key.status(at: now).rawValue, key.environment.rawValue, key.start ?? "",
          key.lastUsedAt.map { Timestamp.text(of: $0) } ?? "never",
          key.effectiveExpiresAt.map { Timestamp.text(of: $0) } ?? "never", key.scopes.joined(separator: ","), key.name,
        ])
      }
      return table
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show a customer's key.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The key's id.", transform: ValidationError.parse(id:)) var id: UUID

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let (key, now) = try await configuration.withDesk { desk in
          guard let key = try await desk.search(KeySearch(id: id)).first else { throw PortalError.notFound }
          return (key, try await desk.now())
        }
        Output(isJSON: options.json).print(
          Self.table(key, at: now), hasHeadings: false,
          json: .object { $0.fields(ofFound: key, at: now) })
      }
    }

    private static func table(_ key: Key, at now: Date) -> Table {
      var table = Table(["", ""])
      table.add(["id", key.id.text])
      table.add(["account", key.accountID.text])
      table.add(["name", key.name])
      table.add(["start", key.start ?? "unknown"])
      table.add(["status", key.status(at: now).rawValue])
      table.add(["environment", key.environment.rawValue])
      table.add(["scopes", key.scopes.joined(separator: " ")])
      for entry in key.resources.entries { table.add([entry.name, entry.scopes.joined(separator: " ")]) }
      table.add([
        "per minute", "\(key.rateLimitPerMinute.map { "\($0)" } ?? "any number"), \(key.rateLimitMode.rawValue)",
      ])
      for limit in key.limits {
        table.add(["limit", "\(limit.name): \(limit.windowText)"])
      }
      table.add(["allowed", key.allowedIPs?.map(\.description).joined(separator: " ") ?? "from anywhere"])
      table.add(["expires", key.effectiveExpiresAt.map { Timestamp.text(of: $0) } ?? "never"])
      table.add(["revoked", key.revokedAt.map { Timestamp.text(of: $0) }])
      table.add(["last used", key.lastUsedAt.map { Timestamp.text(of: $0) } ?? "never"])
      table.add(["requests", "\(key.totalRequests)"])
      table.add(["created", Timestamp.text(of: key.createdAt)])
      table.add(["created by", key.createdBy.map { "\($0.name) (\($0.kind))" }])
      table.add(["tags", key.tags.joined(separator: " ")])
      return table
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Create a key for a customer and print it; it is not shown again.",
      discussion:
        "The account's plan and policy apply as they do to the customer, who sees the event in the audit trail.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var expiryOptions: ExpiryOptions
    @Option(
      help: ArgumentHelp("The account that the key is for.", valueName: "id"), transform: ValidationError.parse(id:))
    var account: UUID
    @Option(help: "What the key is for.") var name: String
    @Option(name: .customLong("scope"), help: "A scope of the key; can be repeated.") var scopes: [String]
    @Option(help: "The environment of the key: live or test.") var environment = Key.Environment.live
    @Option(help: "The number of requests allowed per minute, 1 to \(Key.rateLimitPerMinuteMax).")
    var perMinute = Key.rateLimitPerMinuteDefault
    @Option(
      help: "fast: each instance decides. consistent: PostgreSQL decides, which is slower but never exceeds the limit.")
    var mode = RateLimitMode.fast
    @Option(
      name: .customLong("allowed-ip"),
      help: "An address or CIDR block that the key may be used from; can be repeated. By default, any address.")
    var allowedIPs: [String] = []
    @Option(help: "A longer description of the key.") var description: String?
    @Option(help: "A tag to find the key by; can be repeated.") var tag: [String] = []

    func validate() throws { _ = try settings(at: Date()) }

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let (issued, now) = try await configuration.withKeys { keys, now, pool in
          let settings = try settings(at: now.expiryDate)
          let issued = try await pool.withTransaction(as: .account(account)) {
            try await keys.create(settings, for: account, by: commandCaller, at: now, on: $0)
          }
          return (issued, now.expiryDate)
        }
        Output(isJSON: options.json).print(
          "key \(issued.key.id.text) \(issued.secret.reveal())",
          json: .object { $0.fields(of: NewKey(issued, at: now)) })
      }
    }

    /// Returns the settings as they are stored. Throws if one is invalid.
    private func settings(at now: Date) throws -> KeySettings {
      guard (1...Scope.countMax).contains(scopes.count), scopes.allSatisfy(Scope.isValid) else {
        throw ValidationError("--scope must match ^[a-z0-9][a-z0-9:._*-]{0,63}$, 1 to \(Scope.countMax) times.")
      }
      guard (1...Key.rateLimitPerMinuteMax).contains(perMinute) else {
        throw ValidationError("--per-minute must be a whole number from 1 to \(Key.rateLimitPerMinuteMax).")
      }
      let blocks = allowedIPs.compactMap { AddressBlock($0) }
      guard blocks.count == allowedIPs.count, blocks.count <= AddressBlock.countMax else {
        throw ValidationError(
          "--allowed-ip must be an IPv4 or IPv6 address or CIDR block, at most \(AddressBlock.countMax) times.")
      }
      try ValidationError.check(tags: tag)
      return KeySettings(
        name: try ValidationError.check(name: name, Key.nameLengthMax), environment: environment, scopes: scopes,
        rateLimitPerMinute: perMinute, rateLimitMode: mode, allowedIPs: blocks.isEmpty ? nil : blocks,
        expiresAt: expiryOptions.expiry(from: now),
        description: try description.map { try ValidationError.check(description: $0) }, tags: tag)
    }
  }

  struct Revoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Revoke a customer's key on every instance.",
      discussion: "The customer sees the reason in the audit trail.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The key's id.", transform: ValidationError.parse(id:)) var id: UUID
    @Option(help: "The reason, 3 to 500 characters.") var reason: String
    @Option(help: "The ticket in which it was requested.") var ticket: String?

    func run() async throws {
      let configuration = try await options.load()
      let reason = try ValidationError.check(reason: reason, ticket: ticket)
      try await reportingFailure {
        let revoked = try await configuration.withDesk { try await $0.revokeKey(id, by: commandCaller, reason) }
        Output(isJSON: options.json).printRevocation("key", revoked.id, revoked.revokedAt, revoked.propagation)
      }
    }
  }

  struct Explain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Explain whether a key is or was good for a request, check by check.",
      discussion: """
        Prints what each check of a verification sees, and whether it passes. Nothing is taken or counted. Counts of \
        limits are in the servers, not here.
        """)

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var tableOptions: TableOptions
    @Argument(help: "The key's id.", transform: ValidationError.parse(id:)) var id: UUID
    @Option(
      help: ArgumentHelp("Judge by the settings of this time, such as 2026-01-31T00:00:00Z.", valueName: "time"),
      transform: ValidationError.parse(time:))
    var at: Date?
    @Option(help: "A scope that the request requires; can be repeated.") var scope: [String] = []
    @Option(help: "The resource that the request is about, such as project:123; requires --scope.")
    var resource: String?
    @Option(help: "A condition on the key's permissions, such as \"a AND (b OR c)\".") var permissions: String?
    @Option(name: .customLong("client-ip"), help: "The address that the request comes from.") var clientIP: String?
    @Option(help: "The environment that the gateway's token is restricted to.") var environment: Key.Environment?
    @Option(help: "The id or slug of the api that the request is for.") var api: String?

    func run() async throws {
      let configuration = try await options.load()
      let request = try request()
      try await reportingFailure {
        let explanation = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await Explanations(pool: pool, format: configuration.settings.keyFormat)
            .explain(.id(id), request, at: at)
        }
        Output(isJSON: options.json).print(
          Self.table(explanation), hasHeadings: tableOptions.hasHeadings, json: .object { $0.fields(of: explanation) })
      }
    }

    private func request() throws -> VerificationRequest {
      guard scope.count <= Scope.countMax, scope.allSatisfy(Scope.isValid) else {
        throw ValidationError(
          "--scope must match ^[a-z0-9][a-z0-9:._*-]{0,63}$, at most \(Scope.countMax) times.")
      }
      let address = clientIP.flatMap { AddressBlock($0) }
      guard clientIP == nil || address?.isSingleAddress == true else {
        throw ValidationError("--client-ip must be an IPv4 or IPv6 address.")
      }
      if let resource, !ResourceScopes.isValid(name: resource) || scope.isEmpty {
        throw ValidationError("--resource must match \(ResourceScopes.namePattern), and requires --scope.")
      }
      let reference = api.flatMap { CatalogReference($0) }
      guard api == nil || reference != nil else { throw ValidationError("--api must be the id or slug of an api.") }
      return VerificationRequest(
        hash: nil, scopes: scope, clientIP: address, environment: environment, api: reference,
        permissions: try permissions.map(Self.query), resource: resource)
    }

    private static func query(_ text: String) throws -> PermissionQuery {
      do throws(PermissionQuery.Problem) { return try PermissionQuery(text) } catch {
        throw ValidationError("--permissions \(error.message).")
      }
    }

    private static func table(_ explanation: Explanation) -> Table {
      var table = Table(["CHECK", "PASSED", "CODE"])
      for outcome in explanation.outcomes {
        table.add([
          outcome.check.rawValue, outcome.isPassed.map { $0 ? "yes" : "no" } ?? "unknown", outcome.code.rawValue,
        ])
      }
      table.add(["verdict", explanation.code == .valid ? "yes" : "no", explanation.code.rawValue])
      return table
    }
  }
}

extension PortalConfiguration {
  /// Calls `body` with the operations of support staff.
  func withDesk<Value: Sendable>(_ body: (SupportDesk) async throws -> Value) async throws -> Value {
    try await PostgresPool.with(database.with(.portal)) { pool in
      let keys = makeKeys(pool)
      return try await body(
        SupportDesk(pool: pool, keys: keys, propagations: Propagations(pool: pool), outbox: outbox))
    }
  }

  /// Calls `body` with the operations on keys, PostgreSQL's time, and the pool for transactions.
  fileprivate func withKeys<Value: Sendable>(
    _ body: (Keys, Moment, PostgresPool) async throws -> Value
  ) async throws -> Value {
    try await PostgresPool.with(database.with(.portal)) { pool in
      let keys = makeKeys(pool)
      return try await body(keys, try await keys.now(), pool)
    }
  }

  func makeKeys(_ pool: PostgresPool) -> Keys {
    Keys(pool: pool, format: settings.keyFormat, propagations: Propagations(pool: pool), outbox: outbox)
  }

  /// The servers send the mails that are enqueued in it.
  private var outbox: Outbox { Outbox(isOpen: settings.mail != nil) }
}

extension ValidationError {
  fileprivate static func check(tags: [String]) throws {
    guard tags.count <= KeyTag.countMax, tags.allSatisfy(KeyTag.isValid),
      Set(tags.map { ByteText($0) }).count == tags.count
    else {
      throw ValidationError(
        "--tag must match ^[a-z0-9][a-z0-9:._-]{0,31}$, without repetition and at most \(KeyTag.countMax) times.")
    }
  }
}

extension RateLimit {
  fileprivate var windowText: String {
    if let bucket {
      return "bucket of \(bucket.size), \(bucket.refill) come back in \(bucket.intervalMilliseconds) ms"
        + (isAutomatic ? "" : ", on demand")
    }
    let length = windowMilliseconds % 1_000 == 0 ? "\(windowSeconds) s" : "\(windowMilliseconds) ms"
    return "\(limit) in \(length)" + (isAutomatic ? "" : ", on demand")
  }
}
