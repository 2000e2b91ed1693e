import HTTPTypes
import Portal

/// The header in which trusted proxies report where a request comes from. Only one of them is read, never both: a proxy
/// writes one of them, and passes on what a client wrote to the other.
package enum ForwardedHeader: String, Sendable, CaseIterable {
  case xForwardedFor = "x-forwarded-for"
  /// RFC 7239.
  case forwarded

  var name: HTTPField.Name {
    switch self {
    case .xForwardedFor: .xForwardedFor
    case .forwarded: .forwarded
    }
  }
}

/// The elements of such a header from the right, each parsed when it is needed.
///
/// Quotes are also read from the right. From the left, a client that opens a quote and does not close it would swallow
/// what the proxy added after it.
struct ForwardedHops {
  private let header: ForwardedHeader
  private var fields: [String]
  private var bytes: [UInt8] = []
  /// The end of the unread part of the present field; nil if nothing is left of it.
  private var end: Int?

  init(_ header: ForwardedHeader, _ fields: [String]) {
    self.header = header
    self.fields = fields
  }

  /// The next element: nil at the left end, and `.some(nil)` for an element without an address.
  package mutating func next() -> AddressBlock?? {
    if end == nil, let field = fields.popLast() {
      bytes = Array(field.utf8)
      end = bytes.count
    }
    guard let end else { return nil }
    let comma = comma(before: end)
    self.end = comma
    let element = Self.trimmed(bytes[(comma.map { $0 + 1 } ?? 0)..<end])
    switch header {
    case .xForwardedFor: return .some(Self.address(of: element))
    case .forwarded: return .some(Self.node(in: element).flatMap { Self.address(of: $0[...]) })
    }
  }

  private func comma(before end: Int) -> Int? {
    var position = end
    var isQuoted = false
    while position > 0 {
      position -= 1
      switch bytes[position] {
      case UInt8(ascii: ",") where !isQuoted: return position
      case UInt8(ascii: "\"") where header == .forwarded && !(isQuoted && isEscaped(position)): isQuoted.toggle()
      default: break
      }
    }
    return nil
  }

  /// Whether an odd number of backslashes precedes it.
  private func isEscaped(_ position: Int) -> Bool {
    var start = position
    while start > 0, bytes[start - 1] == UInt8(ascii: "\\") { start -= 1 }
    return (position - start) % 2 == 1
  }

  /// The value of `for` in an element of `Forwarded` (RFC 7239 4); nil if there is none or more than one, or if the
  /// element is not a list of pairs.
  private static func node(in element: ArraySlice<UInt8>) -> [UInt8]? {
    var rest = element
    var node: [UInt8]?
    while true {
      rest = trimmed(rest)
      guard let first = rest.first else { return node }
      if first == UInt8(ascii: ";") {
        rest.removeFirst()
        continue
      }
      guard let equals = rest.firstIndex(of: UInt8(ascii: "=")) else { return nil }
      let name = String(decoding: rest[..<equals], as: UTF8.self).lowercased()
      rest = rest[(equals + 1)...]
      guard !name.isEmpty, let value = takeValue(&rest) else { return nil }
      if name == "for" {
        guard node == nil else { return nil }
        node = value
      }
    }
  }

  /// Removes a token or a quoted string, up to the following semicolon.
  private static func takeValue(_ rest: inout ArraySlice<UInt8>) -> [UInt8]? {
    guard rest.first == UInt8(ascii: "\"") else {
      let end = rest.firstIndex(of: UInt8(ascii: ";")) ?? rest.endIndex
      let token = trimmed(rest[..<end])
      rest = rest[end...]
      return token.contains(UInt8(ascii: "\"")) ? nil : Array(token)
    }
    var value: [UInt8] = []
    var isEscaped = false
    for index in rest.indices.dropFirst() {
      let byte = rest[index]
      if isEscaped {
        value.append(byte)
        isEscaped = false
      } else if byte == UInt8(ascii: "\\") {
        isEscaped = true
      } else if byte == UInt8(ascii: "\"") {
        rest = trimmed(rest[(index + 1)...])
        return rest.isEmpty || rest.first == UInt8(ascii: ";") ? value : nil
      } else {
        value.append(byte)
      }
    }
    return nil
  }

  /// Parses `192.0.2.43`, `192.0.2.43:47011`, `2001:db8::17`, `[2001:db8::17]` and `[2001:db8::17]:47011`. Nil for
  /// anything else, including `unknown` and `_hidden` (RFC 7239 6.2, 6.3).
  private static func address(of node: ArraySlice<UInt8>) -> AddressBlock? {
    var host = node
    if node.first == UInt8(ascii: "[") {
      guard let close = node.firstIndex(of: UInt8(ascii: "]")), isPort(node[(close + 1)...]) else { return nil }
      host = node[(node.startIndex + 1)..<close]
      guard host.contains(UInt8(ascii: ":")) else { return nil }
    } else if let colon = node.firstIndex(of: UInt8(ascii: ":")), colon == node.lastIndex(of: UInt8(ascii: ":")) {
      guard isPort(node[colon...]) else { return nil }
      host = node[..<colon]
    }
    guard !host.contains(UInt8(ascii: "/")) else { return nil }
    return AddressBlock(String(decoding: host, as: UTF8.self))
  }

  /// Whether the text is empty, or a colon and a port: a number, or a name that hides it (`_gazonk`, RFC 7239 6.3).
  private static func isPort(_ text: ArraySlice<UInt8>) -> Bool {
    guard let colon = text.first else { return true }
    let port = text.dropFirst()
    guard colon == UInt8(ascii: ":"), let first = port.first else { return false }
    if first == UInt8(ascii: "_") { return port.count > 1 }
    return port.count <= 5 && port.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
  }

  private static func trimmed(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    let isSpace = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
    let start = text.firstIndex { !isSpace($0) } ?? text.endIndex
    let end = text.lastIndex { !isSpace($0) }.map { $0 + 1 } ?? start
    return text[start..<max(start, end)]
  }
}

extension HTTPField.Name {
  // Safe: these are valid names.
  // swift-format-ignore: NeverForceUnwrap
  package static let xForwardedFor = HTTPField.Name("X-Forwarded-For")!
  // swift-format-ignore: NeverForceUnwrap
  package static let forwarded = HTTPField.Name("Forwarded")!
}
