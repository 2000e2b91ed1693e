import ArgumentParser
import Foundation
import Portal
import PortalHTTP
import Postgres

struct KeysCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keys", abstract: "Manage customers' keys.", subcommands: [Revoke.self])

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
        let revoked = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          let propagations = Propagations(pool: pool)
          // The servers' senders find what is put in.
          let outbox = Outbox(isOpen: configuration.mail != nil)
          let keys = Keys(
            pool: pool, format: configuration.keyFormat, propagations: propagations, outbox: outbox)
          return try await SupportDesk(pool: pool, keys: keys, propagations: propagations, outbox: outbox)
            .revokeKey(id, by: commandCaller, reason)
        }
        Output(isJSON: options.json).printRevocation("key", revoked.id, revoked.revokedAt, revoked.propagation)
      }
    }
  }
}
