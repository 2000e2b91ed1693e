import ArgumentParser
import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import Postgres

struct PeopleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "people", abstract: "Export and erase what is stored about a customer.",
    subcommands: [Export.self, Erase.self])

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print everything that is stored about a customer as one JSON object.",
      discussion: "It contains no secrets. docs/PRIVACY.md describes its contents.")

    @OptionGroup var options: SettingsOptions
    @Argument(help: PersonReference.help, transform: PersonReference.init(argument:)) var person: PersonReference

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          let exports = PersonExports(pool: pool)
          let export = try await exports.export(of: try await person.id(exports))
          try await export.write { piece in
            try FileHandle.standardOutput.write(contentsOf: Data(TerminalText.json(piece)))
          }
          try FileHandle.standardOutput.write(contentsOf: Data("\n".utf8))
        }
      }
    }
  }

  struct Erase: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Erase a customer permanently.",
      discussion: """
        Deletes the person with their sessions and memberships, and redacts them in the audit trails, which otherwise \
        stay as they are; latchkey audit verify lists the redactions. Refuses to erase the last owner of an account \
        that has other members or keys. If it is interrupted, run it again with the person's id to continue. Backups \
        still contain the person: see docs/PRIVACY.md.
        """)

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: PersonReference.help, transform: PersonReference.init(argument:)) var person: PersonReference
    @Flag(help: "Do not ask for confirmation.") var yes = false
    @Option(help: "The reason, 3 to 500 characters, for the audit trail.") var reason: String?
    @Option(help: "The ticket in which it was requested.") var ticket: String?

    func validate() throws {
      guard ticket == nil || reason != nil else { throw ValidationError("--ticket requires --reason.") }
    }

    func run() async throws {
      let configuration = try await options.load()
      let reason = try reason.map { try ValidationError.check(reason: $0, ticket: ticket) }
      try await reportingFailure {
        let erasure = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          let id = try await person.id(PersonExports(pool: pool))
          if !yes {
            tell("\(person.text) will be erased permanently; type \(person.text) to continue")
            guard readLine(strippingNewline: true).map({ $0.utf8.elementsEqual(person.text.utf8) }) == true else {
              throw CommandFailure(description: "nothing was erased")
            }
          }
          return try await PersonErasures(pool: pool).erase(id, by: commandCaller, reason)
        }
        Output(isJSON: options.json).print(
          "person \(erasure.id.text) is erased, \(erasure.redactedEventCount) events redacted"
            + (erasure.isFinished ? "" : "; the job erasures continues"),
          json: .object { $0.fields(of: erasure) })
      }
    }
  }
}

/// A customer, named by id or e-mail address.
enum PersonReference: Sendable {
  static let help: ArgumentHelp = "The id or the e-mail address of the person."

  case id(UUID)
  case email(EmailAddress)

  init(argument text: String) throws {
    if let id = UUID(uuidString: text) {
      self = .id(id)
    } else if let email = EmailAddress(text) {
      self = .email(email)
    } else {
      throw ValidationError("\(text) is neither a UUID nor an e-mail address.")
    }
  }

  var text: String {
    switch self {
    case .id(let id): id.text
    case .email(let email): email.text
    }
  }

  /// Throws `.notFound` for an unknown address.
  fileprivate func id(_ exports: PersonExports) async throws -> UUID {
    switch self {
    case .id(let id): id
    case .email(let email): try await exports.find(email).id
    }
  }
}
