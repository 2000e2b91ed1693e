import ArgumentParser
import Foundation
import Portal
import PortalHTTP
import Postgres

struct MigrateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "migrate", abstract: "Apply the pending migrations, each in a transaction of its own.",
    discussion: """
      What the login may not do is asked first; then nothing is changed, and the SQL that lets it is printed. Roles, \
      rights and policies that are missing though all is applied, as after a restore on another server, are given \
      again. Safe to run from several places at once: they take turns. Does nothing when all are applied. A migration \
      that does not get a lock within two seconds is undone and tried again, so that nobody waits behind it for \
      longer; what it waits for is told on standard error.
      """)

  @OptionGroup var options: ConfigurationOptions

  @Option(
    help: ArgumentHelp(
      """
      Then let this role read the views for analytics, and nothing else. It is made if there is none, without a \
      login.
      """,
      valueName: "name"))
  var analyticsRole: String?

  @Option(
    help: ArgumentHelp(
      "Then let this login run latchkey serve and the other commands. Only needed if it is not the one that migrates.",
      valueName: "name"))
  var serveRole: String?

  @Flag(help: ArgumentHelp("Then print what the file migrations/access is to hold.", visibility: .hidden))
  var printAccess = false

  func run() async throws {
    let configuration = try await options.load()
    let length = DatabaseGrants.roleNameLength
    for (option, name) in [("--analytics-role", analyticsRole), ("--serve-role", serveRole)] {
      guard let name, !length.contains(name.utf8.count) else { continue }
      throw ValidationError("\(option) must have \(length.upperBound) bytes at most.")
    }
    try await reportingFailure {
      let migrations = try PortalMigrations()
      let output = Output(isJSON: options.json)
      var notes: [String] = []
      var isAdopted = false
      let outcome = try await PostgresPool.with(configuration.database) { pool in
        let outcome = try await migrations.run(on: pool) { progress in
          switch progress {
          case .adopted:
            isAdopted = true
            notes.append("adopted the schema under its new numbers")
          case .applied(let name): notes.append("applied \(name)")
          case .ahead(let names): notes.append("The database is ahead, by \(names.joined(separator: ", ")).")
          case .waitsForRunner: tell("another latchkey migrate is at work; waiting for it")
          case .waitsForLock(let wait): tell("\(wait)")
          }
        }
        if let analyticsRole { try await AnalyticsRole(pool: pool).grant(to: analyticsRole, by: commandCaller) }
        if let serveRole { try await DatabaseGrants(pool: pool).grant(to: serveRole, by: commandCaller) }
        if printAccess { for rule in try await migrations.access(on: pool) { print(rule.statement) } }
        return outcome
      }
      if printAccess { return }
      if !outcome.madeRoles.isEmpty, outcome.applied.count < migrations.count {
        notes.append("made the roles \(outcome.madeRoles.joined(separator: ", "))")
      }
      if !outcome.mended.isEmpty { notes.append("gave again what was missing: \(outcome.mended.summary)") }
      output.print(
        notes.isEmpty ? "The database is up to date." : notes.joined(separator: "\n"),
        json: .object {
          $0.field("adopted", isAdopted)
          $0.field("applied", outcome.applied)
          $0.field("madeRoles", outcome.madeRoles)
          $0.field("mended", outcome.mended.map(\.statement))
        })
    }
  }
}
