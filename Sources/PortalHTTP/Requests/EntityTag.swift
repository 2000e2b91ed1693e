import HTTPTypes
import Hummingbird
import JSON

/// A revision as written in `ETag` and `If-Match` (RFC 9110, 8.8.3 and 13.1.1): its digits in quotes.
package enum EntityTag {
  package static func text(of revision: Int) -> String { "\"\(revision)\"" }

  /// Whether `If-Match` is `*`, which matches any revision.
  static func isAny(_ text: String) -> Bool { trimmed(Array(text.utf8)[...]).elementsEqual("*".utf8) }

  /// The revisions in a list of tags; nil if the text is not a list or has no tag. A tag that ``text(of:)`` would not
  /// write matches no revision, and neither does a weak one (8.8.3.2). List elements may be empty (5.6.1.2).
  package static func revisions(in text: String) -> Set<Int>? {
    tags(in: text).map { tags in Set(tags.compactMap { $0.isWeak ? nil : Int(digits: $0.opaque) }) }
  }

  /// Whether a list has the tag with this text between its quotes, weak or not, as for `If-None-Match` (8.8.3.2,
  /// 13.1.2).
  package static func list(in text: String, has tag: String) -> Bool {
    tags(in: text)?.contains { $0.opaque.elementsEqual(tag.utf8) } ?? false
  }

  private static func tags(in text: String) -> [(isWeak: Bool, opaque: ArraySlice<UInt8>)]? {
    var rest = trimmed(Array(text.utf8)[...])
    var tags: [(isWeak: Bool, opaque: ArraySlice<UInt8>)] = []
    while true {
      rest = trimmed(rest)
      if let byte = rest.first, byte != UInt8(ascii: ",") {
        guard let tag = takeTag(&rest) else { return nil }
        tags.append(tag)
        rest = trimmed(rest)
      }
      guard let separator = rest.popFirst() else { return tags.isEmpty ? nil : tags }
      guard separator == UInt8(ascii: ",") else { return nil }
    }
  }

  /// Removes a tag from the beginning, and returns the text between its quotes. Nil if there is no tag.
  private static func takeTag(_ rest: inout ArraySlice<UInt8>) -> (isWeak: Bool, opaque: ArraySlice<UInt8>)? {
    let isWeak = rest.starts(with: "W/".utf8)
    if isWeak { rest = rest.dropFirst(2) }
    guard rest.popFirst() == UInt8(ascii: "\"") else { return nil }
    let opaque = rest.prefix { $0 == 0x21 || (0x23...0x7E).contains($0) || $0 >= 0x80 }
    rest = rest[opaque.endIndex...]
    return rest.popFirst() == UInt8(ascii: "\"") ? (isWeak, opaque) : nil
  }

  private static func trimmed(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    let isSpace = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
    let start = text.firstIndex { !isSpace($0) } ?? text.endIndex
    let end = text.lastIndex { !isSpace($0) }.map { $0 + 1 } ?? start
    return text[start..<end]
  }
}

extension Request {
  /// The revisions that the client takes to be current; nil without `If-Match`, or for `*`. Throws if it is neither `*`
  /// nor a list of tags.
  package func ifMatch() throws(InvalidRequest) -> Set<Int>? {
    guard let header = headers[.ifMatch], !EntityTag.isAny(header) else { return nil }
    guard let revisions = EntityTag.revisions(in: header) else {
      throw InvalidRequest("header.If-Match", "must be * or a list of entity tags, such as \"7\"")
    }
    return revisions
  }
}
