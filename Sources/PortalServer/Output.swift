import ArgumentParser
import Foundation
import Portal
import PortalHTTP
import Postgres

/// What a command says: text for people, or one JSON object.
struct Output {
  let isJSON: Bool

  func print(_ text: @autoclosure () -> String, json: JSONWriter) {
    Swift.print(isJSON ? String(decoding: json.bytes, as: UTF8.self) : text())
  }
}

/// Runs what a command does, and turns its failure into one line on standard error and exit status 1.
func reportingFailure(_ body: () async throws -> Void) async throws {
  do {
    try await body()
  } catch let error as ValidationError {
    throw error
  } catch let error as ExitCode {
    throw error
  } catch {
    FileHandle.standardError.write(Data("latchkey: \(explanation(of: error))\n".utf8))
    throw ExitCode.failure
  }
}

private func explanation(of error: any Error) -> String {
  switch error {
  case PortalError.emailTaken: "the e-mail address is taken"
  case PortalError.notFound: "there is no such thing"
  case PortalError.tokenNotActive: "the token is revoked, expired or rolled already"
  case let error as PostgresError where error.code == .migrationMismatch: error.message
  case let error as PostgresError: "the database says: \(error.message.trimmingCharacters(in: .whitespacesAndNewlines))"
  default: "\(error)"
  }
}

/// A password from a file (`-`: standard input), or a generated one, which then must be shown.
struct PasswordOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Read the password from this file (its first line; - is standard input). Generated and printed if left out.",
      valueName: "file"))
  var passwordFile: String?

  func read() throws -> (password: Password, isGenerated: Bool) {
    guard let passwordFile else { return (.random(), true) }
    let line: String?
    if passwordFile == "-" {
      line = readLine(strippingNewline: true)
    } else {
      let text = try? String(contentsOfFile: passwordFile, encoding: .utf8)
      guard let text else { throw ValidationError("cannot read --password-file \(passwordFile)") }
      line = text.split(separator: "\n", omittingEmptySubsequences: false).first.map(String.init)
    }
    do throws(Password.Refusal) { return (try Password(new: line ?? ""), false) } catch {
      throw ValidationError("--password-file \(error.message)")
    }
  }
}

/// Who acts at the command line, for the audit trail.
var commandCaller: Caller {
  Caller(actor: .command(name: ProcessInfo.processInfo.environment["USER"] ?? "operator"))
}

extension ValidationError {
  /// The name as it is kept, unless it is refused.
  static func check(name: String, _ lengthMax: Int) throws -> String {
    try check(name, "--name", 1...lengthMax, .line)
  }

  /// The reason as it is kept, unless it or the ticket is refused.
  static func check(reason: String, ticket: String?) throws -> SupportReason {
    SupportReason(
      text: try check(reason, "--reason", SupportReason.textLengthMin...SupportReason.textLengthMax, .lines),
      ticket: try ticket.map { try check($0, "--ticket", 1...SupportReason.ticketLengthMax, .line) })
  }

  private static func check(
    _ typed: String, _ option: String, _ length: ClosedRange<Int>, _ form: TypedText.Form
  ) throws -> String {
    let text = TypedText.trimmed(typed)
    guard length.contains(text.unicodeScalars.count) else {
      throw ValidationError("\(option) must have \(length.lowerBound) to \(length.upperBound) characters.")
    }
    guard TypedText.isReadable(text, form) else { throw ValidationError("\(option) \(TypedText.problem).") }
    return text
  }

  static func parse(id text: String) throws -> UUID {
    guard let id = UUID(uuidString: text) else { throw ValidationError("\(text) is no UUID.") }
    return id
  }

  static func parse(trail text: String) throws -> AuditTrail {
    guard let trail = AuditTrail(text: text) else { throw ValidationError("\(text) is neither a UUID nor system.") }
    return trail
  }

  static func check(email: String) throws -> EmailAddress {
    do throws(EmailAddress.Refusal) { return try EmailAddress(typed: email) } catch {
      throw ValidationError("--email \(error.message).")
    }
  }
}
