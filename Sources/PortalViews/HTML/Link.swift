package import Foundation

/// The address of a page of the portal: a path, and a query if there is one. Its values are percent-encoded (RFC 3986),
/// so that none can lead to another site or become another parameter.
package struct Link: ExpressibleByStringInterpolation, Sendable, Equatable {
  /// The longest address that ``init(returning:)`` accepts, in bytes.
  private static let lengthMax = 1_000

  package private(set) var text: String

  package init(stringLiteral text: StaticString) { self.text = "\(text)" }

  package init(stringInterpolation: Interpolation) { text = stringInterpolation.text }

  /// A path with those parameters that have a value.
  package init(_ path: Link, query: KeyValuePairs<StaticString, String?>) {
    text = path.text
    for (name, value) in query {
      guard let value else { continue }
      text += (text.utf8.contains(UInt8(ascii: "?")) ? "&" : "?") + "\(name)=" + Self.encoded(value)
    }
  }

  /// An address that came from outside, such as the one to return to after signing in. Nil unless it is a path of this
  /// server, with a query or without, and of characters that need no encoding in an address.
  package init?(returning text: String) {
    let bytes = Array(text.utf8)
    guard bytes.count <= Self.lengthMax, bytes.first == UInt8(ascii: "/"),
      bytes.dropFirst().first != UInt8(ascii: "/"),
      bytes.allSatisfy({ Self.isUnreserved($0) || "/?&=%:".utf8.contains($0) })
    else { return nil }
    self.text = text
  }

  /// The part before the query.
  package var path: String { String(text.prefix { $0 != "?" }) }

  package struct Interpolation: StringInterpolationProtocol {
    package typealias StringLiteralType = StaticString

    fileprivate var text = ""

    package init(literalCapacity: Int, interpolationCount: Int) {}

    package mutating func appendLiteral(_ text: StaticString) { self.text += "\(text)" }
    package mutating func appendInterpolation(_ text: String) { self.text += Link.encoded(text) }
    package mutating func appendInterpolation(_ id: UUID) { text += id.uuidString.lowercased() }
  }

  private static func encoded(_ text: String) -> String {
    var bytes: [UInt8] = []
    for byte in text.utf8 {
      if isUnreserved(byte) {
        bytes.append(byte)
      } else {
        bytes += [UInt8(ascii: "%"), hexDigit(byte >> 4), hexDigit(byte & 0xF)]
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func hexDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") + (value - 10)
  }

  /// RFC 3986, 2.3.
  private static func isUnreserved(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "~"):
      true
    default: false
    }
  }
}
