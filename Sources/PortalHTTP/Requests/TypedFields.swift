import JSON
package import Portal

/// Names and other texts typed by people, all checked by ``TypedText``. White space around them does not count.
extension RequestFields {
  /// A required line.
  package mutating func typedLine(_ name: String, _ length: ClosedRange<Int>) -> String? {
    required(name) { $0.optionalTyped(name, length, .line) }
  }

  /// Like ``typedLine(_:_:)``, with line breaks.
  package mutating func typedLines(_ name: String, _ length: ClosedRange<Int>) -> String? {
    required(name) { $0.optionalTyped(name, length, .lines) }
  }

  /// A line; nil if it is missing or null, and after a problem.
  package mutating func optionalTypedLine(_ name: String, _ length: ClosedRange<Int>) -> String? {
    optionalTyped(name, length, .line)
  }

  /// Like ``optionalTypedLine(_:_:)``, with line breaks.
  package mutating func optionalTypedLines(_ name: String, _ length: ClosedRange<Int>) -> String? {
    optionalTyped(name, length, .lines)
  }

  /// A person's reason for a change, and its ticket. Required.
  package mutating func supportReason() -> SupportReason? {
    let text = typedLines("reason", SupportReason.textLengthMin...SupportReason.textLengthMax)
    let ticket = optionalTypedLine("ticket", 1...SupportReason.ticketLengthMax)
    return text.map { SupportReason(text: $0, ticket: ticket) }
  }

  /// The reason for a change by the company: staff must state one, a service token may. Nil if there is none, and
  /// after a problem.
  package mutating func reason(of context: CompanyContext) -> SupportReason? {
    context.isStaff || has("reason") || has("ticket") ? supportReason() : nil
  }

  private mutating func optionalTyped(
    _ name: String, _ length: ClosedRange<Int>, _ form: TypedText.Form
  ) -> String? {
    guard let value = value(name) else { return nil }
    guard case .string(let typed) = value, case let text = TypedText.trimmed(typed),
      length.contains(text.unicodeScalars.count)
    else {
      refuse(name, "must be a string of \(length.lowerBound) to \(length.upperBound) characters")
      return nil
    }
    guard text.isEmpty || TypedText.isReadable(text, form) else {
      refuse(name, TypedText.problem)
      return nil
    }
    return text
  }
}
