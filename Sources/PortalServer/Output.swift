import ArgumentParser
import Foundation
import JSON
import Portal
import PortalAPI
import Postgres

/// A command's standard output: text for people, or one JSON object.
struct Output {
  let isJSON: Bool

  func print(_ text: @autoclosure () -> String, json: JSONWriter) {
    if isJSON { print(json) } else { Swift.print(TerminalText.lines(text())) }
  }

  /// Prints a list as a table, or as the JSON object that contains it.
  func print(_ table: @autoclosure () -> Table, hasHeadings: Bool, json: JSONWriter) {
    if isJSON { print(json) } else { Swift.print(table().text(hasHeadings: hasHeadings), terminator: "") }
  }

  private func print(_ json: JSONWriter) {
    Swift.print(String(decoding: TerminalText.json(json.bytes), as: UTF8.self))
  }
}

/// Prints a line on standard error, apart from the command's output.
func tell(_ line: String) {
  FileHandle.standardError.write(Data("latchkey: \(TerminalText.lines(line))\n".utf8))
}

/// The options of a command that prints a table.
struct TableOptions: ParsableArguments {
  @Flag(name: .customLong("no-headings"), help: "Omit the column headings.")
  var hasNoHeadings = false

  var hasHeadings: Bool { !hasNoHeadings }
}

/// The options of a command that lists in pages.
struct PageOptions: ParsableArguments {
  private static let limitMax = 10_000

  @Option(help: "The maximum number of entries to list, 1 to \(PageOptions.limitMax).")
  var limit = PageRequest.limitDefault
  @Option(
    help: ArgumentHelp("Continue after the entry with this id, the last one of the previous list.", valueName: "id"),
    transform: ValidationError.parse(id:))
  var after: UUID?

  func validate() throws {
    guard (1...Self.limitMax).contains(limit) else {
      throw ValidationError("--limit must be a whole number from 1 to \(Self.limitMax).")
    }
  }

  /// Reads the entries from as many of the portal's pages as it takes.
  func read<Item: Sendable>(
    _ page: (PageRequest) async throws -> Page<Item>
  ) async throws -> Listed<Item> {
    var listed = Listed<Item>()
    var before = after
    repeat {
      let count = min(limit - listed.items.count, PageRequest.limitMax)
      let found = try await page(PageRequest(limit: count, before: before))
      listed.items += found.items
      listed.next = found.next
      before = found.next
    } while listed.items.count < limit && listed.next != nil
    return listed
  }
}

/// Part of a list.
struct Listed<Item: Sendable>: Sendable {
  var items: [Item] = []
  /// The id with which `--after` continues; nil at the end of the list.
  var next: UUID?

  /// Prints how to continue, if there is more.
  func tellNext() {
    if let next { tell("there are more; continue with --after \(next.text)") }
  }
}

/// Runs the body of a command, and turns a failure into one line on standard error and exit status 1.
func reportingFailure(_ body: () async throws -> Void) async throws {
  do {
    try await body()
  } catch let error as ValidationError {
    throw error
  } catch let error as ExitCode {
    throw error
  } catch {
    tell(explanation(of: error))
    throw ExitCode.failure
  }
}

/// A failure, described for an operator, with its source: the database, the file system, or the setting or option that
/// it begins with.
func explanation(of error: any Error) -> String {
  switch error {
  case PortalError.emailTaken: "the e-mail address is taken"
  case PortalError.externalIDTaken: "another account has this external id"
  case PortalError.notFound: "not found"
  case PortalError.tokenNotActive: "the token is already revoked, expired or rolled"
  case PortalError.lastOwner:
    """
    an account that has other members or keys would be left without an owner; make another member an owner first, or \
    delete the account
    """
  case PortalError.lastAdmin: "this is the last admin who can log in; make another member of staff an admin first"
  case PortalError.keyCapReached(let cap): "the account has \(cap) live keys, as many as its plan allows"
  case PortalError.forbidden(let reason): reason
  case PortalError.nameTaken: "the slug or name is taken"
  case PortalError.inUse(let reason): reason
  case PortalError.capReached(let reason): reason
  case PortalError.protected: "the api is protected; remove its protection first: latchkey apis update --no-protected"
  case PortalError.creditsUnlimited: "there are no credits to change: the use is unlimited; set them first"
  case PortalError.invalid(let problems), PortalError.scopeNotAllowed(let problems),
    PortalError.limitNotAllowed(let problems), PortalError.policyViolation(let problems):
    problems.map { "\($0.field.name) \($0.message)" }.joined(separator: "; ")
  case let error as PostgresError where error.code == .migrationMismatch: error.message
  case let error as PostgresError: "database error: \(oneLine(error.message))"
  default: fileProblem(of: error).map { "file system error: \($0)" } ?? "\(error)"
  }
}

/// Messages of libpq have lines of their own for hints, indented by a tab.
private func oneLine(_ message: String) -> String {
  message.split { $0.isNewline || $0 == "\t" }.map { $0.trimmingCharacters(in: .whitespaces) }
    .filter { !$0.isEmpty }.joined(separator: " ")
}

/// The path, if it is known, and the system's reason of an error that Foundation throws for a file; nil for other
/// errors.
private func fileProblem(of error: any Error) -> String? {
  let error = error as NSError
  guard error.domain == NSCocoaErrorDomain || error.domain == NSPOSIXErrorDomain else { return nil }
  let cause = error.userInfo[NSUnderlyingErrorKey] as? NSError ?? error
  let path = error.userInfo[NSFilePathErrorKey] as? String ?? (error.userInfo[NSURLErrorKey] as? URL)?.path
  return (path.map { $0 + ": " } ?? "") + systemReason(of: cause)
}

/// Foundation has an underlying POSIX error for most failures, but not for all.
private func systemReason(of error: NSError) -> String {
  let code: Int32? =
    if error.domain == NSPOSIXErrorDomain {
      Int32(exactly: error.code)
    } else {
      switch CocoaError.Code(rawValue: error.code) {
      case .fileNoSuchFile, .fileReadNoSuchFile: ENOENT
      case .fileReadNoPermission, .fileWriteNoPermission: EACCES
      default: nil
      }
    }
  return code.map { String(cString: strerror($0)) } ?? error.localizedDescription
}

/// A password from a file (`-`: standard input), or a generated one, which the command must print.
struct PasswordOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The file whose first line is the password, or - for standard input. By default, one is generated and printed.",
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
      throw ValidationError("The password in --password-file \(error.message).")
    }
  }
}

/// The options for when a key or a token expires.
struct ExpiryOptions: ParsableArguments {
  @Option(
    help:
      "The number of days after which it expires, 1 to \(ServiceToken.lifetimeDaysMax). By default, it does not expire."
  )
  var expiresInDays: Int?
  @Option(
    help: ArgumentHelp("The time at which it expires, such as 2026-12-31T23:59:59Z.", valueName: "time"),
    transform: ValidationError.parse(time:))
  var expiresAt: Date?

  func validate() throws {
    guard expiresInDays == nil || expiresAt == nil else {
      throw ValidationError("--expires-in-days and --expires-at cannot be combined.")
    }
    guard (1...ServiceToken.lifetimeDaysMax).contains(expiresInDays ?? 1) else {
      throw ValidationError("--expires-in-days must be a whole number from 1 to \(ServiceToken.lifetimeDaysMax).")
    }
    guard expiresAt.map({ $0 > Date() }) ?? true else {
      throw ValidationError("--expires-at must be in the future.")
    }
  }

  /// Returns nil if it does not expire.
  func expiry(from now: Date) -> Date? {
    expiresAt ?? expiresInDays.map { now.addingTimeInterval(Double($0) * 86_400) }
  }
}

/// The caller that the audit trail names for a command: the user of the operating system.
var commandCaller: Caller {
  Caller(actor: .command(name: ProcessInfo.processInfo.environment["USER"] ?? "operator"))
}

extension ValidationError {
  /// Returns the name as it is stored. Throws if it is invalid.
  static func check(name: String, _ lengthMax: Int) throws -> String {
    try check(name, "--name", 1...lengthMax, .line)
  }

  /// Returns the reason and the ticket as they are stored. Throws if one is invalid.
  static func check(reason: String, ticket: String?) throws -> SupportReason {
    SupportReason(
      text: try check(reason, "--reason", SupportReason.textLengthMin...SupportReason.textLengthMax, .lines),
      ticket: try ticket.map { try check($0, "--ticket", 1...SupportReason.ticketLengthMax, .line) })
  }

  /// Returns the description as it is stored. Throws if it is invalid.
  static func check(description: String) throws -> String {
    try check(description, "--description", 1...Key.descriptionLengthMax, .lines)
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
    guard let id = UUID(uuidString: text) else { throw ValidationError("\(text) is not a UUID.") }
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
