import ArgumentParser
import Foundation
import JSON
import Portal
import PortalHTTP
import Postgres

extension Key.Status: ExpressibleByArgument {}

struct KeysCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keys", abstract: "Manage customers' keys.",
    subcommands: [List.self, Show.self, Create.self, Revoke.self])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List the keys of an account, the newest first.", discussion: "All that is said of them must hold.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var pageOptions: PageOptions
    @OptionGroup var tableOptions: TableOptions
    @Option(
      help: ArgumentHelp("The account whose keys they are.", valueName: "id"),
      transform: ValidationError.parse(id:))
    var account: UUID
    @Option(help: "Only active, disabled, expired, revoked or suspended ones.") var status: Key.Status?
    @Option(help: "Only those of this environment.") var environment: Key.Environment?
    @Option(help: "Only those with this tag; may be given several times.") var tag: [String] = []
    @Option(help: "Only those with this part in name, description or beginning, in whatever case.") var text: String?

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
        let (listed, now) = try await configuration.withKeys { keys, now in
          (try await pageOptions.read { try await keys.list(of: account, filter, page: $0) }, now)
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
          key.id.text, key.status(at: now).rawValue, key.environment.rawValue, key.start,
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
      table.add(["start", key.start])
      table.add(["status", key.status(at: now).rawValue])
      table.add(["environment", key.environment.rawValue])
      table.add(["scopes", key.scopes.joined(separator: " ")])
      table.add(["per minute", "\(key.rateLimitPerMinute), \(key.rateLimitMode.rawValue)"])
      for limit in key.limits {
        table.add(["limit", "\(limit.name): \(limit.limit) in \(limit.windowSeconds) s"])
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
      abstract: "Make a key for a customer; it is shown once.",
      discussion: "The rules of the account's plan and policy hold as for the customer, who reads of it in the trail.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var expiryOptions: ExpiryOptions
    @Option(
      help: ArgumentHelp("The account that it is for.", valueName: "id"), transform: ValidationError.parse(id:))
    var account: UUID
    @Option(help: "What the key is for.") var name: String
    @Option(name: .customLong("scope"), help: "What it may do; may be given several times.") var scopes: [String]
    @Option(help: "live or test.") var environment = Key.Environment.live
    @Option(help: "Requests per minute, 1 to \(Key.rateLimitPerMinuteMax).")
    var perMinute = Key.rateLimitPerMinuteDefault
    @Option(help: "Who decides: each instance (fast), or PostgreSQL (consistent), slower and never over.")
    var mode = RateLimitMode.fast
    @Option(
      name: .customLong("allowed-ip"),
      help: "An address or CIDR block that it may come from; may be given several times. From anywhere if left out.")
    var allowedIPs: [String] = []
    @Option(help: "More about it.") var description: String?
    @Option(help: "A word to find it by; may be given several times.") var tag: [String] = []

    func validate() throws { _ = try settings(at: Date()) }

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let (issued, now) = try await configuration.withKeys { keys, now in
          (try await keys.create(try settings(at: now), for: account, by: commandCaller), now)
        }
        Output(isJSON: options.json).print(
          "key \(issued.key.id.text) \(issued.secret.reveal())",
          json: .object { $0.fields(of: NewKey(issued, at: now)) })
      }
    }

    /// As they are kept, unless they are refused.
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
      abstract: "Revoke a customer's key, on every instance.",
      discussion: "The customer reads the reason in the audit trail.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The key's id.", transform: ValidationError.parse(id:)) var id: UUID
    @Option(help: "Why, in 3 to 500 characters.") var reason: String
    @Option(help: "The ticket that asked for it.") var ticket: String?

    func run() async throws {
      let configuration = try await options.load()
      let reason = try ValidationError.check(reason: reason, ticket: ticket)
      try await reportingFailure {
        let revoked = try await configuration.withDesk { try await $0.revokeKey(id, by: commandCaller, reason) }
        Output(isJSON: options.json).printRevocation("key", revoked.id, revoked.revokedAt, revoked.propagation)
      }
    }
  }
}

extension PortalConfiguration {
  /// Calls `body` with what staff do.
  func withDesk<Value: Sendable>(_ body: (SupportDesk) async throws -> Value) async throws -> Value {
    try await PostgresPool.with(database.with(.portal)) { pool in
      let keys = makeKeys(pool)
      return try await body(
        SupportDesk(pool: pool, keys: keys, propagations: Propagations(pool: pool), outbox: outbox))
    }
  }

  /// Calls `body` with the verbs of keys and the time, which is PostgreSQL's.
  fileprivate func withKeys<Value: Sendable>(_ body: (Keys, Date) async throws -> Value) async throws -> Value {
    try await PostgresPool.with(database.with(.portal)) { pool in
      let keys = makeKeys(pool)
      return try await body(keys, try await keys.clock.now(on: pool).expiryDate)
    }
  }

  private func makeKeys(_ pool: PostgresPool) -> Keys {
    Keys(pool: pool, format: keyFormat, propagations: Propagations(pool: pool), outbox: outbox)
  }

  /// The servers' senders find what is put in.
  private var outbox: Outbox { Outbox(isOpen: mail != nil) }
}

extension ValidationError {
  fileprivate static func check(tags: [String]) throws {
    guard tags.count <= KeyTag.countMax, tags.allSatisfy(KeyTag.isValid),
      Set(tags.map { ByteText($0) }).count == tags.count
    else {
      throw ValidationError(
        "--tag must match ^[a-z0-9][a-z0-9:._-]{0,31}$, each once and at most \(KeyTag.countMax) times.")
    }
  }
}
