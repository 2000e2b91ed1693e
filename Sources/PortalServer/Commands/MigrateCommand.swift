import ArgumentParser
import Portal
import PortalHTTP
import Postgres

struct MigrateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "migrate", abstract: "Apply the pending migrations, each in a transaction of its own.",
    discussion: "Safe to run from several places at once: they take turns. Does nothing when all are applied.")

  @OptionGroup var options: ConfigurationOptions

  @Option(
    help: ArgumentHelp(
      "Then let this role read the views for analytics, and nothing else. It is made if there is none, without a login.",
      valueName: "name"))
  var analyticsRole: String?

  @Option(
    help: ArgumentHelp(
      "Then let this login run latchkey serve and the other commands. Only needed if it is not the one that migrates.",
      valueName: "name"))
  var serveRole: String?

  func run() async throws {
    let configuration = try await options.load()
    let length = PortalAccess.roleNameLength
    for (option, name) in [("--analytics-role", analyticsRole), ("--serve-role", serveRole)] {
      guard let name, !length.contains(name.utf8.count) else { continue }
      throw ValidationError("\(option) must have \(length.upperBound) bytes at most.")
    }
    try await reportingFailure {
      let migrations = try Migrations.embedded()
      let output = Output(isJSON: options.json)
      var isAdopted = false
      let applied = try await PostgresPool.with(configuration.database) { pool in
        let applied = try await migrations.apply(on: pool) { if $0 == .adopted { isAdopted = true } }
        if let analyticsRole { try await AnalyticsRole(pool: pool).grant(to: analyticsRole, by: commandCaller) }
        if let serveRole { try await PortalAccess(pool: pool).grant(to: serveRole, by: commandCaller) }
        return applied
      }
      let lines = (isAdopted ? ["adopted the schema under its new numbers"] : []) + applied.map { "applied \($0)" }
      output.print(
        lines.isEmpty ? "The database is up to date." : lines.joined(separator: "\n"),
        json: .object {
          $0.field("adopted", isAdopted)
          $0.field("applied", applied)
        })
    }
  }
}
