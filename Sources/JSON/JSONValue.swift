/// A JSON value as it was sent (RFC 8259): members in order, numbers as they were written.
package enum JSONValue: Sendable, Equatable {
  case null
  case bool(Bool)
  /// The digits as sent; the reader decides what they mean.
  case number(String)
  case string(String)
  case array([JSONValue])
  case object([(name: String, value: JSONValue)])

  package static func == (one: JSONValue, other: JSONValue) -> Bool {
    switch (one, other) {
    case (.null, .null): true
    case (.bool(let one), .bool(let other)): one == other
    case (.number(let one), .number(let other)), (.string(let one), .string(let other)): one.hasSameBytes(as: other)
    case (.array(let one), .array(let other)): one == other
    case (.object(let one), .object(let other)):
      one.elementsEqual(other) { $0.name.hasSameBytes(as: $1.name) && $0.value == $1.value }
    default: false
    }
  }

  /// The number as a whole number, if it is one that `Int` can hold; `60.0` and `6e1` are 60.
  package var integer: Int? {
    guard case .number(let digits) = self else { return nil }
    return Int(digits) ?? Double(digits).flatMap { Int(exactly: $0) }
  }

  /// The number, if it is finite as a `Double`.
  package var double: Double? {
    guard case .number(let digits) = self, let value = Double(digits), value.isFinite else { return nil }
    return value
  }
}

extension JSONValue {
  /// Equal bytes for equal values, whatever the order of members, and different bytes for different ones: a letter for
  /// the kind, then the size of the content, if there is any, and the content.
  package var fingerprint: [UInt8] {
    switch self {
    case .null: Array("n".utf8)
    case .bool(let value): Array((value ? "t" : "f").utf8)
    case .number(let digits): Array("d\(digits.utf8.count):\(digits)".utf8)
    case .string(let text): Array("s\(text.utf8.count):\(text)".utf8)
    case .array(let elements): Array("a\(elements.count):".utf8) + elements.flatMap(\.fingerprint)
    case .object(let members):
      Array("o\(members.count):".utf8)
        + members.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        .flatMap { JSONValue.string($0.name).fingerprint + $0.value.fingerprint }
    }
  }
}

/// Why a text is not JSON, or is not accepted here, and at which byte.
package struct JSONError: Error, Equatable {
  package var message: String
  package var offset: Int
}
