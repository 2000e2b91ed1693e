import Foundation
import HTTPTypes
package import Hummingbird
import JSON
package import Portal
import PortalHTTP
package import PortalViews

/// The fields of a form that a browser sent (`application/x-www-form-urlencoded`), taken one by one. What is wrong with
/// them is collected in ``state``, which also has the values to show again. Secrets are not among these.
///
/// A required value is nil after a problem, and only then. Fields that are not taken are ignored.
package struct FormFields {
  /// The largest body, in bytes.
  static let sizeMax = 64 << 10
  static let fieldCountMax = 200
  private static let mediaType = "application/x-www-form-urlencoded"

  private let fields: [(name: String, value: String)]
  /// The body, by which a repeat of the form is recognized.
  let bytes: [UInt8]
  package var state = FormState()

  package init(_ request: Request) async throws {
    let type = request.headers[.contentType]?.split(separator: ";").first?.lowercased() ?? ""
    guard type.utf8.elementsEqual(Self.mediaType.utf8) else {
      throw Problem(.unsupportedMediaType, .unsupportedMediaType, "The form must be sent as \(Self.mediaType).")
    }
    let buffer = try await request.body.collect(upTo: Self.sizeMax)
    try self.init(Array(buffer.readableBytesView))
  }

  package init(_ bytes: [UInt8]) throws {
    self.bytes = bytes
    let parts = bytes.split(separator: UInt8(ascii: "&"))
    guard parts.count <= Self.fieldCountMax else {
      throw InvalidRequest("form", "must have at most \(Self.fieldCountMax) fields")
    }
    fields = try parts.map { part in
      let end = part.firstIndex(of: UInt8(ascii: "=")) ?? part.endIndex
      guard let name = Self.decoded(part[..<end]), let value = Self.decoded(part[end...].dropFirst()) else {
        throw InvalidRequest("form", "must be percent-encoded UTF-8")
      }
      return (name, value)
    }
  }

  /// A space is a plus, unlike in other addresses.
  static func decoded(_ text: some Collection<UInt8>) -> String? {
    Query.decoded(text.map { $0 == UInt8(ascii: "+") ? UInt8(ascii: " ") : $0 })
  }

  package var isGood: Bool { state.problems.isEmpty }

  package mutating func refuse(_ name: String?, _ message: String) { state.refuse(name, message) }

  /// Takes what the domain refused. A field that the form does not have counts as a problem of the whole form.
  package mutating func refuse(_ problems: [FieldProblem]) {
    for problem in problems {
      state.refuse(problem.field.formName, "\(FieldWords.label(problem.field)) \(problem.message).")
    }
  }

  // MARK: Values

  private func first(_ name: String) -> String? { fields.first { $0.name.hasSameBytes(as: name) }?.value }

  /// A value to be shown again as it is; empty if there is none. Line breaks are line feeds.
  package mutating func text(_ name: String) -> String {
    let value = (first(name) ?? "").replacing("\r\n", with: "\n")
    state.set(name, value)
    return value
  }

  /// A required line that others will read.
  package mutating func line(_ name: String, _ length: ClosedRange<Int>, _ message: String) -> String? {
    typed(name, length, .line, message)
  }

  /// An optional text that others will read; empty if there is none. Nil after a problem.
  package mutating func lines(_ name: String, max: Int, _ message: String) -> String? {
    typed(name, 0...max, .lines, message)
  }

  private mutating func typed(
    _ name: String, _ length: ClosedRange<Int>, _ form: TypedText.Form, _ message: String
  ) -> String? {
    let text = TypedText.trimmed(text(name))
    guard length.contains(text.unicodeScalars.count) else {
      refuse(name, message)
      return nil
    }
    guard text.isEmpty || TypedText.isReadable(text, form) else {
      refuse(name, "This text has characters that cannot be seen. Type it again.")
      return nil
    }
    return text
  }

  /// The words of a text, separated by white space or commas.
  package mutating func words(_ name: String) -> [String] {
    text(name).unicodeScalars.split { $0.properties.isWhitespace || $0 == "," }.map { String($0) }
  }

  package mutating func email(_ name: String) -> EmailAddress? {
    let typed = text(name)
    do throws(EmailAddress.Refusal) { return try EmailAddress(typed: typed) } catch {
      switch error {
      case .form: refuse(name, "Enter an e-mail address, such as ada@example.com.")
      case .invisible, .domain: refuse(name, "An e-mail address \(error.message).")
      }
      return nil
    }
  }

  package mutating func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String, _ message: String
  ) -> Choice? where Choice.RawValue == String {
    if let choice = Choice(named: text(name)) { return choice }
    refuse(name, message)
    return nil
  }

  package mutating func integer(_ name: String, _ range: ClosedRange<Int>, _ message: String) -> Int? {
    let text = TypedText.trimmed(text(name))
    guard let number = Int(digits: text.utf8), range.contains(number) else {
      refuse(name, message)
      return nil
    }
    return number
  }

  // MARK: Secrets

  /// A value that is never shown again; empty if there is none.
  package func secret(_ name: String) -> String { first(name) ?? "" }

  /// A password to compare with the stored one.
  package mutating func presentedPassword(_ name: String) -> Password? {
    let text = secret(name)
    guard (1...Password.typedLengthMax).contains(text.utf8.count) else {
      refuse(name, "Enter the password.")
      return nil
    }
    return Password(presented: text)
  }

  /// A new password.
  package mutating func newPassword(_ name: String) -> Password? {
    do throws(Password.Refusal) { return try Password(new: secret(name)) } catch {
      switch error {
      case .length: refuse(name, "Choose a password of at least \(Password.lengthMin) characters.")
      case .character: refuse(name, "A password \(error.message).")
      }
      return nil
    }
  }

  /// A one-time code from a mail.
  package mutating func token(_ name: String) -> Secret? {
    let text = TypedText.trimmed(secret(name))
    guard (1...Secret.lengthMax).contains(text.utf8.count) else {
      refuse(name, "Paste the code from the mail.")
      return nil
    }
    return Secret(presented: text)
  }
}

extension FieldProblem.Field {
  /// The name of the field in the forms; nil if no form has it.
  fileprivate var formName: String? {
    switch self {
    case .scopes, .scope: "scopes"
    case .rateLimitPerMinute: "rateLimitPerMinute"
    case .expiresAt: "expires"
    case .allowedIPs: "allowedIPs"
    case .environment: "environment"
    case .email: "email"
    case .password: "password"
    case .role: "role"
    default: nil
    }
  }
}
