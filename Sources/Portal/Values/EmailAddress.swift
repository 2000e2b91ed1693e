import CIDN2
import Foundation
import JSON

/// An e-mail address in the one form that it is kept, compared and written to in, so that one mailbox is one person:
/// without white space around it, in lower case, the part before the `@` in Unicode's form NFC (UAX 15), and the domain
/// in ASCII, as name servers know it (IDNA 2008 with the mapping of UTS 46, non-transitional).
package struct EmailAddress: Sendable, Equatable {
  /// Bytes of UTF-8 in that form (RFC 5321, 4.5.3.1.3).
  package static let lengthMax = 254
  /// Bytes that are looked at of what was typed: in other forms an address is longer.
  private static let typedLengthMax = 4 * lengthMax

  package let text: String
  /// As it was kept before there was one form: as it was typed, in lower case.
  let earlierText: String

  /// Why something is no address.
  package enum Refusal: Error, Sendable {
    case form
    /// A character that nobody sees, or that changes the direction of text: two addresses would look the same.
    case invisible
    /// The domain is none that could be registered.
    case domain

    /// To be said of it.
    package var message: String {
      switch self {
      case .form: "must be an e-mail address"
      case .invisible: "must have no control characters and none that are invisible or change the direction of text"
      case .domain: "must have a domain that IDNA 2008 allows"
      }
    }
  }

  /// Asks for the form only (one `@`, a dot in the domain, no spaces); whether mail arrives is another question.
  package init(typed text: String) throws(Refusal) {
    guard text.utf8.count <= Self.typedLengthMax else { throw .form }
    // Before what is around it is cut off: Foundation takes U+200B for white space.
    if Self.hasInvisible(text) { throw .invisible }
    let earlier = text.trimmingCharacters(in: .whitespaces).lowercased()
    let parts = earlier.unicodeScalars.split(separator: "@", omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty,
      !earlier.unicodeScalars.contains(where: \.properties.isWhitespace)
    else { throw .form }
    let domain = try Self.asciiDomain(String(parts[1]))
    guard domain.utf8.contains(UInt8(ascii: ".")), domain.utf8.first != UInt8(ascii: "."),
      domain.utf8.last != UInt8(ascii: ".")
    else { throw .form }
    let whole = String(parts[0]).composed + "@" + domain
    guard whole.utf8.count <= Self.lengthMax else { throw .form }
    self.text = whole
    earlierText = earlier
  }

  /// Nil for what ``init(typed:)`` refuses.
  package init?(_ text: String) {
    guard let address = try? EmailAddress(typed: text) else { return nil }
    self = address
  }

  package static func == (one: EmailAddress, other: EmailAddress) -> Bool { one.text.hasSameBytes(as: other.text) }

  /// Those that somebody may be found under, the one first that was always theirs: an address that was kept before
  /// there was one form is found as it was typed then.
  package var storedTexts: [String] {
    earlierText.hasSameBytes(as: text) ? [text] : [earlierText, text]
  }

  /// Whether something in it, or around it, cannot be seen. Blanks do not count.
  package static func hasInvisible(_ text: String) -> Bool {
    text.unicodeScalars.contains { scalar in
      let properties = scalar.properties
      if properties.isWhitespace { return false }
      return properties.generalCategory == .control || properties.generalCategory == .format
        || properties.isDefaultIgnorableCodePoint
    }
  }

  // MARK: The domain

  private static let aLabelPrefix = "xn--"

  private static func asciiDomain(_ domain: String) throws(Refusal) -> String {
    let isPlain =
      domain.utf8.allSatisfy { $0 < 0x80 }
      && !domain.utf8.split(separator: UInt8(ascii: ".")).contains { $0.starts(with: aLabelPrefix.utf8) }
    if isPlain { return domain }
    var output: UnsafeMutablePointer<CChar>?
    let flags = Int32(bitPattern: IDN2_NFC_INPUT.rawValue | IDN2_NONTRANSITIONAL.rawValue)
    guard idn2_to_ascii_8z(domain, &output, flags) == IDN2_OK.rawValue, let output else { throw .domain }
    defer { idn2_free(output) }
    let ascii = String(cString: output)
    // The mapping makes ASCII of much that looks like it, such as a full-width `@` or slash.
    let labels = ascii.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard labels.allSatisfy({ !$0.isEmpty && $0.allSatisfy(isLabelByte) }) else { throw .domain }
    return ascii
  }

  private static func isLabelByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
      UInt8(ascii: "_"):
      true
    default: false
    }
  }
}
