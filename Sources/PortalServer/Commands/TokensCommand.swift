import ArgumentParser
import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import Postgres

extension ServiceToken.Permission: ExpressibleByArgument {}

extension Key.Environment: ExpressibleByArgument {}

struct TokensCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokens", abstract: "Manage the service tokens of gateways, backends and analysts.",
    subcommands: [Create.self, List.self, Roll.self, Revoke.self])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Create a service token and print it; it is not shown again.")

    @OptionGroup var options: ConfigurationOptions
    @Option(help: "What the token is for.") var name: String
    @Option(help: "A permission of the token; can be repeated.") var permission: [ServiceToken.Permission]
    @Option(help: "The only environment whose keys it can access. By default, it can access all.")
    var environment: Key.Environment?
    @Option(
      name: .customLong("api"),
      help: "The id or slug of an api whose keys it can access; can be repeated. By default, it can access all.",
      transform: ValidationError.parse(catalog:))
    var apis: [CatalogReference] = []
    @OptionGroup var expiryOptions: ExpiryOptions

    func validate() throws {
      _ = try ValidationError.check(name: name, ServiceToken.nameLengthMax)
      guard !permission.isEmpty else { throw ValidationError("--permission is required at least once.") }
      guard Set(permission).count == permission.count else {
        throw ValidationError("--permission must not repeat a value.")
      }
      if environment != nil, let other = permission.first(where: { !$0.isRestrictable }) {
        throw ValidationError("--environment cannot be combined with --permission \(other.rawValue).")
      }
      if !apis.isEmpty, let other = permission.first(where: { !$0.isRestrictable }) {
        throw ValidationError("--api cannot be combined with --permission \(other.rawValue).")
      }
      guard apis.count <= ServiceToken.apiCountMax else {
        throw ValidationError("--api can be given at most \(ServiceToken.apiCountMax) times.")
      }
    }

    func run() async throws {
      let name = try ValidationError.check(name: name, ServiceToken.nameLengthMax)
      let configuration = try await options.load()
      try await reportingFailure {
        let (issued, now) = try await configuration.withTokens { tokens, now in
          try await tokens.create(
            name: name, permissions: permission, environment: environment, apis: apis.isEmpty ? nil : apis,
            expiresAt: expiryOptions.expiry(from: now), by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "token \(issued.id.text) \(issued.secret.reveal())", json: .object { $0.fields(of: issued, at: now) })
      }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List the service tokens, most recent first.",
      discussion: "A token may have been used again up to a minute after the last use shown.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var pageOptions: PageOptions
    @OptionGroup var tableOptions: TableOptions

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let (listed, now) = try await configuration.withTokens { tokens, _ in
          try await pageOptions.read { try await tokens.list(page: $0) }
        }
        Output(isJSON: options.json).print(
          Self.table(listed.items, at: now), hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("tokens", listed.items) { json, token in json.object { $0.fields(of: token, at: now) } }
            json.field("next", listed.next)
          })
        listed.tellNext()
      }
    }

    private static func table(_ tokens: [ServiceTokenDetails], at now: Date) -> Table {
      var table = Table(["ID", "STATUS", "ENVIRONMENT", "PERMISSIONS", "LAST USED", "EXPIRES", "NAME"])
      for token in tokens {
        table.add([
          token.id.text, token.status(at: now).rawValue, token.environment?.rawValue ?? "any",
          token.permissions.map(\.rawValue).joined(separator: ","),
          token.lastUsedAt.map { Timestamp.text(of: $0) } ?? "never",
          token.expiresAt.map { Timestamp.text(of: $0) } ?? "never", token.name,
        ])
      }
      return table
    }
  }

  struct Roll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Replace a service token with a new one and print it; it is not shown again.",
      discussion: "The new token has the same name, permissions, environment, apis and expiry.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The token's id.", transform: ValidationError.parse(id:)) var id: UUID
    @Option(
      help: "The number of seconds for which the old token remains valid, 0 to \(Key.graceSecondsMax). Default: 0.")
    var graceSeconds: Int?

    func validate() throws {
      guard (0...Key.graceSecondsMax).contains(graceSeconds ?? 0) else {
        throw ValidationError("--grace-seconds must be a whole number from 0 to \(Key.graceSecondsMax).")
      }
    }

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let (rolled, now) = try await configuration.withTokens { tokens, _ in
          try await tokens.roll(id, graceSeconds: graceSeconds ?? 0, by: commandCaller)
        }
        let successor = rolled.successor
        Output(isJSON: options.json).print(
          "token \(successor.id.text) \(successor.secret.reveal())", json: .object { $0.fields(of: rolled, at: now) }
        )
      }
    }
  }

  struct Revoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Revoke a service token on every instance.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The token's id.", transform: ValidationError.parse(id:)) var id: UUID

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let (revoked, _) = try await configuration.withTokens { tokens, _ in
          try await tokens.revoke(id, by: commandCaller)
        }
        Output(isJSON: options.json).printRevocation("token", id, revoked.revokedAt, revoked.propagation)
      }
    }
  }
}

extension PortalConfiguration {
  /// Calls `body` with the operations on tokens and PostgreSQL's time, which is also returned.
  fileprivate func withTokens<Value: Sendable>(
    _ body: (ServiceTokens, Date) async throws -> Value
  ) async throws -> (Value, now: Date) {
    try await PostgresPool.with(database.with(.portal)) { pool in
      let tokens = ServiceTokens(pool: pool, propagations: Propagations(pool: pool))
      let now = try await tokens.clock.now(on: pool).expiryDate
      return (try await body(tokens, now), now)
    }
  }
}

extension Output {
  /// Prints the result of revoking a token or a key.
  func printRevocation(_ what: String, _ id: UUID, _ revokedAt: Date, _ propagation: Propagation) {
    print(
      """
      \(what) \(id.text) revoked; \(propagation.acknowledged) of \(propagation.instances) instances have dropped it, \
      after \(propagation.milliseconds) ms
      """,
      json: .object { $0.revocation(of: id, at: revokedAt, propagation) })
  }
}
