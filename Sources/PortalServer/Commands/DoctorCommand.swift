import ArgumentParser
import Foundation
import JSON
import Portal
import PortalHTTP
import Postgres

struct DoctorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Check everything that latchkey serve needs, and report what is wrong.",
    discussion: """
      Prints one line per check: ok, warning or failed. Changes nothing and sends no mail. Each check takes at most \
      five seconds. Run it as the server's user, in its working directory and with its environment. Exit status: 0 if \
      no check failed, even with warnings, and 1 otherwise.
      """)

  @OptionGroup var options: ConfigurationOptions
  @OptionGroup var listener: ListenerOptions

  func run() async throws {
    var findings: [(name: String, finding: Finding)] = []
    let report = { (name: String, finding: Finding) in
      findings.append((name, finding))
      if !options.json { print(TerminalText.lines(Self.line(name, finding))) }
    }
    let worst: Finding.Status
    do {
      let configuration = try await options.load(listener.values)
      worst = try await PostgresPool.with(DoctorChecks.database(configuration)) { pool in
        try await DoctorChecks(configuration, pool: pool).all.run(database: DoctorChecks.databaseName, report)
      }
    } catch let error as ValidationError {
      report("configuration", .failed(error.message))
      worst = .failed
    }
    if options.json {
      Output(isJSON: true).print(
        "",
        json: .object { json in
          json.field("status", worst.rawValue)
          json.array("checks", findings) { json, item in
            json.object {
              $0.field("name", item.name)
              $0.field("status", item.finding.status.rawValue)
              $0.field("text", item.finding.text)
            }
          }
        })
    }
    if worst == .failed { throw ExitCode.failure }
  }

  /// Status and name in columns.
  private static func line(_ name: String, _ finding: Finding) -> String {
    let text = finding.text.split(whereSeparator: \.isNewline).joined(separator: " ")
    return finding.status.rawValue.padding(toLength: 9, withPad: " ", startingAt: 0)
      + name.padding(toLength: 15, withPad: " ", startingAt: 0) + text
  }
}
