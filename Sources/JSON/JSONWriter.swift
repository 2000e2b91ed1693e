package import Foundation

/// Writes JSON as `openapi.yaml` describes it: members in the order of the calls, nil as `null`, ids in lower case,
/// times in RFC 3339 with milliseconds.
package struct JSONWriter {
  package private(set) var bytes: [UInt8] = []
  private var needsComma = false

  package static func object(_ body: (inout JSONWriter) -> Void) -> JSONWriter {
    var writer = JSONWriter()
    writer.bytes.reserveCapacity(512)
    writer.object(body)
    return writer
  }

  package init() {}

  /// A value as it was parsed, without spaces.
  package static func text(of value: JSONValue) -> String {
    var writer = JSONWriter()
    writer.value(value)
    return writer.text
  }

  package var text: String { String(decoding: bytes, as: UTF8.self) }

  /// Empties the writer, and keeps its memory.
  package mutating func clear() {
    bytes.removeAll(keepingCapacity: true)
    needsComma = false
  }

  // MARK: Values

  package mutating func object(_ body: (inout JSONWriter) -> Void) {
    open(UInt8(ascii: "{"))
    body(&self)
    close(UInt8(ascii: "}"))
  }

  /// An object on a line of its own, as in JSON Lines.
  package mutating func line(_ body: (inout JSONWriter) -> Void) {
    object(body)
    bytes.append(UInt8(ascii: "\n"))
    needsComma = false
  }

  // The functions with a type of elements are inlinable: other modules would run them without specialization.

  @inlinable
  package mutating func array<Element>(_ elements: some Sequence<Element>, _ body: (inout JSONWriter, Element) -> Void)
  {
    open(UInt8(ascii: "["))
    for element in elements { body(&self, element) }
    close(UInt8(ascii: "]"))
  }

  package mutating func string(_ text: String) {
    separate()
    quote(text)
    needsComma = true
  }

  private mutating func value(_ value: JSONValue) {
    switch value {
    case .null: literal("null")
    case .bool(let value): literal(value ? "true" : "false")
    case .number(let digits): literal(digits)
    case .string(let text): string(text)
    case .array(let elements): array(elements) { $0.value($1) }
    case .object(let members):
      object { json in
        for (name, value) in members {
          json.string(name)
          json.bytes.append(UInt8(ascii: ":"))
          json.needsComma = false
          json.value(value)
        }
      }
    }
  }

  // MARK: Members

  package mutating func field(_ name: StaticString, _ value: String?) {
    self.name(name)
    if let value { quote(value) } else { raw("null") }
    needsComma = true
  }

  /// A member whose name is not a literal.
  package mutating func field(named name: String, _ value: String) {
    string(name)
    bytes.append(UInt8(ascii: ":"))
    quote(value)
    needsComma = true
  }

  package mutating func field(_ name: StaticString, _ value: Int) {
    self.name(name)
    bytes.append(decimal: value)
    needsComma = true
  }

  package mutating func field(_ name: StaticString, _ value: Int?) {
    field(name, literal: value.map { "\($0)" } ?? "null")
  }
  package mutating func field(_ name: StaticString, _ value: Bool) { field(name, literal: value ? "true" : "false") }
  package mutating func field(_ name: StaticString, _ value: UUID?) {
    guard let value else { return field(name, literal: "null") }
    self.name(name)
    bytes.append(UInt8(ascii: "\""))
    bytes.append(hex: value)
    bytes.append(UInt8(ascii: "\""))
    needsComma = true
  }

  package mutating func field(_ name: StaticString, _ value: Date?) {
    field(name, value.map { Timestamp.text(of: $0) })
  }

  /// With at most three decimals: no measurement here is finer.
  package mutating func field(_ name: StaticString, _ value: Double?) {
    field(name, literal: value?.text(parts: 1_000) ?? "null")
  }

  /// With at most six decimals, for a small share of a large number.
  package mutating func field(_ name: StaticString, ratio value: Double?) {
    field(name, literal: value?.text(parts: 1_000_000) ?? "null")
  }

  package mutating func field(_ name: StaticString, _ values: [String]?) {
    guard let values else { return field(name, literal: "null") }
    array(name, values) { $0.string($1) }
  }

  /// A member whose value is already JSON.
  package mutating func field(_ name: StaticString, json text: String?) { field(name, literal: text ?? "null") }

  /// For a name that is not fixed.
  package mutating func object(named name: String, _ body: (inout JSONWriter) -> Void) {
    string(name)
    bytes.append(UInt8(ascii: ":"))
    needsComma = false
    object(body)
  }

  package mutating func object(_ name: StaticString, _ body: (inout JSONWriter) -> Void) {
    self.name(name)
    object(body)
  }

  @inlinable
  package mutating func array<Element>(
    _ name: StaticString, _ elements: some Sequence<Element>, _ body: (inout JSONWriter, Element) -> Void
  ) {
    self.name(name)
    array(elements, body)
  }

  /// A list of objects; `body` writes the members of each.
  @inlinable
  package mutating func objects<Element>(
    _ name: StaticString, _ elements: some Sequence<Element>, _ body: (inout JSONWriter, Element) -> Void
  ) {
    array(name, elements) { json, element in json.object { body(&$0, element) } }
  }

  /// The members of an object that has already been written and is not empty.
  package mutating func fields(ofObject text: String) {
    separate()
    bytes.append(contentsOf: text.utf8.dropFirst().dropLast())
    needsComma = true
  }

  // MARK: Characters

  private mutating func field(_ name: StaticString, literal: String) {
    self.name(name)
    raw(literal)
    needsComma = true
  }

  private mutating func literal(_ text: String) {
    separate()
    raw(text)
    needsComma = true
  }

  @usableFromInline
  mutating func name(_ name: StaticString) {
    let count = name.utf8CodeUnitCount
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: count + 4) { text in
      text.initializeElement(at: 0, to: UInt8(ascii: ","))
      text.initializeElement(at: 1, to: UInt8(ascii: "\""))
      let end = text[2...].initialize(fromContentsOf: UnsafeBufferPointer(start: name.utf8Start, count: count))
      text.initializeElement(at: end, to: UInt8(ascii: "\""))
      text.initializeElement(at: end + 1, to: UInt8(ascii: ":"))
      bytes.append(contentsOf: UnsafeBufferPointer(rebasing: text[(needsComma ? 0 : 1)...]))
    }
    needsComma = false
  }

  @usableFromInline
  mutating func open(_ bracket: UInt8) {
    separate()
    bytes.append(bracket)
    needsComma = false
  }

  @usableFromInline
  mutating func close(_ bracket: UInt8) {
    bytes.append(bracket)
    needsComma = true
  }

  private mutating func separate() {
    if needsComma { bytes.append(UInt8(ascii: ",")) }
  }

  private mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

  private mutating func quote(_ text: String) {
    var text = text
    text.withUTF8 { utf8 in
      bytes.append(UInt8(ascii: "\""))
      // Nearly always, no byte needs an escape. Without an early exit, several bytes are checked at a time.
      let hasEscapes = utf8.reduce(into: false) { $0 = Self.needsEscape($1) || $0 }
      if hasEscapes { escape(utf8) } else { bytes.append(contentsOf: utf8) }
      bytes.append(UInt8(ascii: "\""))
    }
  }

  private static func needsEscape(_ byte: UInt8) -> Bool {
    byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
  }

  private mutating func escape(_ utf8: UnsafeBufferPointer<UInt8>) {
    for byte in utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0..<0x20:
        raw("\\u00" + (byte < 16 ? "0" : "") + String(byte, radix: 16))
      default:
        bytes.append(byte)
      }
    }
  }

  // MARK: Pieces

  /// Appends a piece of JSON as it is, for what is written very often: every append has a cost, whatever its length.
  /// The caller writes the commas in and before it; a comma after it is added.
  package mutating func piece(_ text: StaticString) {
    bytes.append(text)
    needsComma = true
  }

  package mutating func piece(_ text: StaticString, _ number: Int) {
    bytes.append(text, decimal: number)
    needsComma = true
  }

  package mutating func piece(_ text: StaticString, _ id: UUID) {
    bytes.append(text)
    bytes.append(hex: id)
    needsComma = true
  }

  /// Puts the value in quotes.
  package mutating func piece(_ text: StaticString, _ value: String) {
    bytes.append(text)
    quote(value)
    needsComma = true
  }
}

extension Double {
  /// Rounded to a multiple of `1 / parts`; nil if JSON cannot express it.
  package func text(parts: Double) -> String? {
    let rounded = (self * parts).rounded() / parts
    return rounded.isFinite ? "\(rounded)" : nil
  }
}
