import ArgumentParser
import Foundation
import JSON
import Portal
import PortalHTTP
import Postgres

struct MigrateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "migrate", abstract: "Apply the pending migrations, each in its own transaction.",
    discussion: """
      If the login lacks a privilege, changes nothing and prints the SQL that grants it. If all migrations are \
      applied, restores roles, privileges and policies that are missing, as after a restore on another server; \
      otherwise does nothing. Safe to run from several places at the same time: they take turns. A migration that \
      does not get a lock within a second is rolled back and tried again, so that look-ups of keys wait behind it \
      for about a second at most; what it waits for is printed on standard error.
      """)

  @OptionGroup var options: ConfigurationOptions

  @Option(
    help: ArgumentHelp(
      """
      Then let this role read the analytics views, and nothing else. If it does not exist, it is created without a \
      login.
      """,
      valueName: "name"))
  var analyticsRole: String?

  @Option(
    help: ArgumentHelp(
      "Then let this login run latchkey serve and the other commands. Needed only if another login migrates.",
      valueName: "name"))
  var serveRole: String?

  @Flag(help: ArgumentHelp("Then print the contents of the file migrations/access.", visibility: .hidden))
  var printAccess = false

  func run() async throws {
    let configuration = try await options.load()
    let length = DatabaseGrants.roleNameLength
    for (option, name) in [("--analytics-role", analyticsRole), ("--serve-role", serveRole)] {
      guard let name, !length.contains(name.utf8.count) else { continue }
      throw ValidationError("\(option) must have \(length.lowerBound) to \(length.upperBound) bytes.")
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
            notes.append("adopted the schema of the development versions under its new migration numbers")
          case .applied(let name): notes.append("applied \(name)")
          case .ahead(let names): notes.append("The database is ahead by \(names.joined(separator: ", ")).")
          case .waitsForRunner: tell("another latchkey migrate is running; waiting for it")
          case .waitsForLock(let wait): tell("\(wait)")
          }
        }
        if let analyticsRole { try await AnalyticsRole(pool: pool).grant(to: analyticsRole, by: commandCaller) }
        if let serveRole { try await DatabaseGrants(pool: pool).grant(to: serveRole, by: commandCaller) }
        if printAccess { for rule in try await migrations.access(on: pool) { print(rule.statement) } }
        return outcome
      }
      if printAccess { return }
      if !outcome.createdRoles.isEmpty, outcome.applied.count < migrations.count {
        notes.append("created the roles \(outcome.createdRoles.joined(separator: ", "))")
      }
      if !outcome.restored.isEmpty { notes.append("restored what was missing: \(outcome.restored.summary)") }
      output.print(
        notes.isEmpty ? "The database is up to date." : notes.joined(separator: "\n"),
        json: .object {
          $0.field("adopted", isAdopted)
          $0.field("applied", outcome.applied)
          $0.field("createdRoles", outcome.createdRoles)
          $0.field("restored", outcome.restored.map(\.statement))
        })
    }
  }
}
