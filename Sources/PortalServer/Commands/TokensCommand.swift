import ArgumentParser
import Foundation
import Portal
import PortalHTTP
import Postgres

extension ServiceToken.Permission: ExpressibleByArgument {}

struct TokensCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokens", abstract: "Manage the tokens of gateways and analysts.",
    subcommands: [Create.self, Revoke.self])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a service token; it is shown once.")

    @OptionGroup var options: ConfigurationOptions
    @Option(help: "What the token is for.") var name: String
    @Option(help: "What it allows; may be given several times.") var permission: [ServiceToken.Permission]

    func run() async throws {
      let configuration = try await options.load()
      try ValidationError.check(name: name, ServiceToken.nameLengthMax)
      guard !permission.isEmpty else { throw ValidationError("--permission is needed at least once.") }
      try await reportingFailure {
        let (id, secret) = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await ServiceTokens(pool: pool, propagations: Propagations(pool: pool))
            .create(name: name, permissions: permission, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "token \(id.text) \(secret.reveal())",
          json: .object {
            $0.field("id", id)
            $0.field("token", secret.reveal())
          })
      }
    }
  }

  struct Revoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Revoke a service token, on every instance.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The token's id.", transform: ValidationError.parse(id:)) var id: UUID

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let (revokedAt, propagation) = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await ServiceTokens(pool: pool, propagations: Propagations(pool: pool)).revoke(id, by: commandCaller)
        }
        Output(isJSON: options.json).printRevocation("token", id, revokedAt, propagation)
      }
    }
  }
}

extension Output {
  /// How a revocation went, of a token or a key.
  func printRevocation(_ what: String, _ id: UUID, _ revokedAt: Date, _ propagation: Propagation) {
    print(
      """
      \(what) \(id.text) revoked; \(propagation.acknowledged) of \(propagation.instances) instances have dropped it, \
      after \(propagation.milliseconds) ms
      """,
      json: .object { json in
        json.field("id", id)
        json.field("revokedAt", revokedAt)
        json.propagation(propagation)
      })
  }
}
