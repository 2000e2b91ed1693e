/// A strict parser of RFC 8259. Beyond the grammar, it refuses what would be ambiguous later: a repeated name in an
/// object, invalid UTF-8, lone surrogates, U+0000 in strings (PostgreSQL's text cannot hold it), and deep nesting. A
/// byte order mark at the beginning is skipped (section 8.1).
package struct JSONParser {
  package static let depthMax = 16

  private let bytes: UnsafeBufferPointer<UInt8>
  private var position = 0
  private var depth = 0

  /// Parses a whole text.
  package static func parse(_ bytes: some Sequence<UInt8>) throws(JSONError) -> JSONValue {
    // Other modules call this without specialization, so bytes must not be copied one by one.
    let result = bytes.withContiguousStorageIfAvailable(parse(buffer:))
    return try (result ?? ContiguousArray(bytes).withUnsafeBufferPointer(parse(buffer:))).get()
  }

  private static func parse(buffer: UnsafeBufferPointer<UInt8>) -> Result<JSONValue, JSONError> {
    var parser = JSONParser(bytes: buffer)
    do throws(JSONError) { return .success(try parser.document()) } catch { return .failure(error) }
  }

  private init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  private mutating func document() throws(JSONError) -> JSONValue {
    skipByteOrderMark()
    let value = try value()
    skipSpace()
    guard position == bytes.count else { throw error("unexpected text after the end") }
    return value
  }

  private mutating func value() throws(JSONError) -> JSONValue {
    skipSpace()
    switch peek {
    case UInt8(ascii: "{"): return try nested { parser throws(JSONError) in try parser.object() }
    case UInt8(ascii: "["): return try nested { parser throws(JSONError) in try parser.array() }
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case UInt8(ascii: "-")?, (UInt8(ascii: "0")...UInt8(ascii: "9"))?: return .number(try number())
    default: throw error("expected a value")
    }
  }

  private mutating func skipByteOrderMark() {
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
  }

  private mutating func nested(
    _ body: (inout JSONParser) throws(JSONError) -> JSONValue
  ) throws(JSONError) -> JSONValue {
    guard depth < Self.depthMax else { throw error("nested deeper than \(Self.depthMax)") }
    depth += 1
    position += 1
    let value = try body(&self)
    depth -= 1
    return value
  }

  private mutating func object() throws(JSONError) -> JSONValue {
    var members: [(name: String, value: JSONValue)] = []
    var names: Set<ByteText> = []
    if take(UInt8(ascii: "}")) { return .object([]) }
    repeat {
      skipSpace()
      guard peek == UInt8(ascii: "\"") else { throw error("expected a name in quotes") }
      let name = try string()
      guard names.insert(ByteText(name)).inserted else {
        throw error("the name \"\(name.shortened())\" occurs twice")
      }
      guard take(UInt8(ascii: ":")) else { throw error("expected a colon") }
      members.append((name, try value()))
    } while take(UInt8(ascii: ","))
    guard take(UInt8(ascii: "}")) else { throw error("expected a comma or a closing brace") }
    return .object(members)
  }

  private mutating func array() throws(JSONError) -> JSONValue {
    var elements: [JSONValue] = []
    if take(UInt8(ascii: "]")) { return .array([]) }
    repeat { elements.append(try value()) } while take(UInt8(ascii: ","))
    guard take(UInt8(ascii: "]")) else { throw error("expected a comma or a closing bracket") }
    return .array(elements)
  }

  private mutating func literal(_ text: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
    let end = position + text.utf8CodeUnitCount
    guard end <= bytes.count,
      bytes[position..<end].elementsEqual(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    else { throw error("expected a value") }
    position = end
    return value
  }

  private mutating func number() throws(JSONError) -> String {
    let start = position
    if peek == UInt8(ascii: "-") { position += 1 }
    let integerStart = position
    guard takeDigits() > 0 else { throw error("expected a digit") }
    if bytes[integerStart] == UInt8(ascii: "0"), position - integerStart > 1 {
      throw error("a number with a leading zero")
    }
    if peek == UInt8(ascii: ".") {
      position += 1
      guard takeDigits() > 0 else { throw error("expected a digit") }
    }
    if peek == UInt8(ascii: "e") || peek == UInt8(ascii: "E") {
      position += 1
      if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { position += 1 }
      guard takeDigits() > 0 else { throw error("expected a digit") }
    }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  private mutating func takeDigits() -> Int {
    let start = position
    while let byte = peek, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { position += 1 }
    return position - start
  }

  private mutating func string() throws(JSONError) -> String {
    position += 1
    let start = position
    while let byte = peek {
      if byte == UInt8(ascii: "\"") {
        defer { position += 1 }
        return try text(start..<position)
      }
      if byte == UInt8(ascii: "\\") { return try escapedString(from: start) }
      guard byte >= 0x20 else { throw error("a control character in a string") }
      position += 1
    }
    throw error("an unterminated string")
  }

  /// Collects bytes and validates them once: a `String` that grows by one scalar at a time takes ten times as long. An
  /// escape is a whole scalar, so bytes around it that are invalid UTF-8 stay invalid.
  private mutating func escapedString(from start: Int) throws(JSONError) -> String {
    var result = [UInt8](bytes[start..<position])
    while let byte = peek {
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let text = String(validating: result, as: UTF8.self) else { throw error("invalid UTF-8") }
        return text
      case UInt8(ascii: "\\"):
        result.append(contentsOf: try escape().utf8)
      case 0..<0x20:
        position -= 1
        throw error("a control character in a string")
      default:
        result.append(byte)
      }
    }
    throw error("an unterminated string")
  }

  private mutating func escape() throws(JSONError) -> Unicode.Scalar {
    guard let byte = peek else { throw error("an unterminated string") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): return try unicodeEscape()
    default: throw error("an unknown escape")
    }
  }

  private mutating func unicodeEscape() throws(JSONError) -> Unicode.Scalar {
    let unit = try hexUnit()
    if let scalar = Unicode.Scalar(unit) {
      guard unit != 0 else { throw error("U+0000 in a string") }
      return scalar
    }
    guard unit < 0xDC00, take(exactly: UInt8(ascii: "\\")), take(exactly: UInt8(ascii: "u")) else {
      throw error("a lone surrogate")
    }
    let low = try hexUnit()
    guard (0xDC00...0xDFFF).contains(low),
      let scalar = Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))
    else { throw error("a lone surrogate") }
    return scalar
  }

  private mutating func hexUnit() throws(JSONError) -> UInt32 {
    guard position + 4 <= bytes.count else { throw error("an escape without four hexadecimal digits") }
    var unit: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = bytes[position].hexDigitValue else { throw error("an escape without four hexadecimal digits") }
      unit = unit << 4 | UInt32(digit)
      position += 1
    }
    return unit
  }

  private func text(_ range: Range<Int>) throws(JSONError) -> String {
    guard let text = String(validating: bytes[range], as: UTF8.self) else { throw error("invalid UTF-8") }
    return text
  }

  private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func take(_ byte: UInt8) -> Bool {
    skipSpace()
    return take(exactly: byte)
  }

  private mutating func take(exactly byte: UInt8) -> Bool {
    guard peek == byte else { return false }
    position += 1
    return true
  }

  private mutating func skipSpace() {
    while let byte = peek, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
  }

  private func error(_ message: String) -> JSONError { JSONError(message: message, offset: position) }
}
