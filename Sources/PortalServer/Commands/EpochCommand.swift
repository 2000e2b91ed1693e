import ArgumentParser
import Foundation
import Portal
import PortalHTTP
import Postgres

struct EpochCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "epoch", abstract: "Make every server drop its caches.", subcommands: [New.self])

  struct New: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Begin a new epoch of the invalidation log, after changes that bypassed its triggers.",
      discussion: """
        Needed after a restore of single tables, a restore with --disable-triggers, or changes made under \
        session_replication_role = replica. A failover or a restore of the whole database is detected without it. \
        docs/BACKUP.md lists the cases.
        """)

    @OptionGroup var options: ConfigurationOptions
    @Option(help: "The reason, 3 to 500 characters.") var reason: String
    @Option(help: "The ticket in which it was requested.") var ticket: String?

    func run() async throws {
      let configuration = try await options.load()
      let reason = try ValidationError.check(reason: reason, ticket: ticket)
      try await reportingFailure {
        let (epoch, propagation) = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await InvalidationEpochs(pool: pool, propagations: Propagations(pool: pool))
            .begin(by: commandCaller, reason)
        }
        Output(isJSON: options.json).print(
          "Epoch \(epoch.text) has begun; \(propagation.acknowledged) of \(propagation.instances) servers have dropped "
            + "their caches, after \(propagation.milliseconds) ms.",
          json: .object { json in
            json.field("epoch", epoch)
            json.propagation(propagation)
          })
      }
    }
  }
}
