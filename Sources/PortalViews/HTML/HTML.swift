package import Foundation
import JSON

/// HTML whose literals are trusted and whose values are escaped. The compiler tells which is which: a literal is a
/// `StaticString`, so it can only come from the source, and there is no way from a `String` to unescaped text.
///
/// Values may stand in text and in attributes in quotes. Addresses that are not literals are values of type ``Link``.
package struct HTML: ExpressibleByStringInterpolation, Sendable {
  package fileprivate(set) var bytes: [UInt8]

  package init(stringLiteral text: StaticString) {
    bytes = []
    bytes.append(text)
  }

  package init(stringInterpolation: Interpolation) { bytes = stringInterpolation.bytes }

  package struct Interpolation: StringInterpolationProtocol {
    package typealias StringLiteralType = StaticString

    fileprivate var bytes: [UInt8] = []

    package init(literalCapacity: Int, interpolationCount: Int) {
      bytes.reserveCapacity(literalCapacity + 24 * interpolationCount)
    }

    package mutating func appendLiteral(_ text: StaticString) { bytes.append(text) }

    package mutating func appendInterpolation(_ html: HTML) { bytes.append(contentsOf: html.bytes) }

    package mutating func appendInterpolation(_ html: HTML?) {
      if let html { bytes.append(contentsOf: html.bytes) }
    }

    package mutating func appendInterpolation(_ number: Int) { bytes.append(contentsOf: String(number).utf8) }

    package mutating func appendInterpolation(_ id: UUID) {
      bytes.append(contentsOf: id.uuidString.lowercased().utf8)
    }

    package mutating func appendInterpolation(_ link: Link) { append(escaped: link.text.utf8) }

    package mutating func appendInterpolation(_ text: String) { append(escaped: text.utf8) }

    /// `html`, if `condition` holds.
    package mutating func appendInterpolation(when condition: Bool, _ html: @autoclosure () -> HTML) {
      if condition { bytes.append(contentsOf: html().bytes) }
    }

    /// What `body` makes of each element.
    package mutating func appendInterpolation<Element>(each elements: [Element], _ body: (Element) -> HTML) {
      for element in elements { bytes.append(contentsOf: body(element).bytes) }
    }

    private mutating func append(escaped text: String.UTF8View) {
      for byte in text {
        switch byte {
        case UInt8(ascii: "&"): bytes.append("&amp;")
        case UInt8(ascii: "<"): bytes.append("&lt;")
        case UInt8(ascii: ">"): bytes.append("&gt;")
        case UInt8(ascii: "\""): bytes.append("&quot;")
        case UInt8(ascii: "'"): bytes.append("&#39;")
        // No document may have it, and it may hide what follows.
        case 0: bytes.append("\u{FFFD}")
        default: bytes.append(byte)
        }
      }
    }
  }
}
