import ArgumentParser
import Foundation
import Portal
import PortalHTTP
import Postgres

struct PeopleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "people", abstract: "Export and erase what is stored about a customer.",
    subcommands: [Export.self, Erase.self])

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print all that is stored about a customer, as one JSON object.",
      discussion: "No secret is in it. docs/PRIVACY.md says what is.")

    @OptionGroup var options: ConfigurationOptions
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
      abstract: "Erase a customer, for good.",
      discussion: """
        Ends all that they have, and takes them out of the audit trails, which stay as they are otherwise: latchkey \
        audit verify tells of it. The last owner of an account that has other members or keys is refused. Where it was \
        interrupted, the same with the id goes on. Backups still have them: see docs/PRIVACY.md.
        """)

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: PersonReference.help, transform: PersonReference.init(argument:)) var person: PersonReference
    @Flag(help: "Do not ask.") var yes = false
    @Option(help: "Why, in 3 to 500 characters; the trail has it.") var reason: String?
    @Option(help: "The ticket that asked for it.") var ticket: String?

    func validate() throws {
      guard ticket == nil || reason != nil else { throw ValidationError("--ticket takes a --reason.") }
    }

    func run() async throws {
      let configuration = try await options.load()
      let reason = try reason.map { try ValidationError.check(reason: $0, ticket: ticket) }
      try await reportingFailure {
        let erasure = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          let id = try await person.id(PersonExports(pool: pool))
          if !yes {
            tell("\(person.text) will be erased, and nothing brings them back; type \(person.text) to go on")
            guard readLine(strippingNewline: true).map({ $0.utf8.elementsEqual(person.text.utf8) }) == true else {
              throw CommandFailure(description: "nothing was erased")
            }
          }
          return try await PersonErasures(pool: pool).erase(id, by: commandCaller, reason)
        }
        Output(isJSON: options.json).print(
          "person \(erasure.id.text) is erased, \(erasure.redactedEventCount) events redacted"
            + (erasure.isFinished ? "" : "; the job erasures does the rest"),
          json: .object { $0.fields(of: erasure) })
      }
    }
  }
}

/// A customer, as an operator names them.
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

  /// Throws `.notFound` for an address that nobody has.
  fileprivate func id(_ exports: PersonExports) async throws -> UUID {
    switch self {
    case .id(let id): id
    case .email(let email): try await exports.find(email).id
    }
  }
}
