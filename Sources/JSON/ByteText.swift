/// A text that is compared and hashed by its bytes, as everything that somebody sent must be.
///
/// `String` compares and hashes by canonical equivalence (Unicode UAX 15): it takes two spellings of a letter for one,
/// and sorts the combining marks behind a letter by insertion, which takes seconds for 64 KB of them.
package struct ByteText: Hashable, Comparable, Sendable {
  package let text: String

  package init(_ text: String) { self.text = text }

  package static func == (one: ByteText, other: ByteText) -> Bool { one.text.hasSameBytes(as: other.text) }

  package static func < (one: ByteText, other: ByteText) -> Bool {
    one.text.utf8.lexicographicallyPrecedes(other.text.utf8)
  }

  package func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    // So that a list of texts has no two spellings.
    hasher.combine(UInt8.max)
  }
}

extension StringProtocol {
  /// Whether both texts have the same bytes in UTF-8; see ``ByteText``.
  package func hasSameBytes(as other: some StringProtocol) -> Bool {
    utf8.count == other.utf8.count && utf8.elementsEqual(other.utf8)
  }

  /// The first so many Unicode scalars, to be shown where a text of any length would be too much; U+FFFD in place of
  /// control characters.
  package func shortened(to count: Int = 64) -> String {
    String(
      String.UnicodeScalarView(
        unicodeScalars.prefix(count).map { $0.properties.generalCategory == .control ? "\u{FFFD}" : $0 }))
  }
}

extension CaseIterable where Self: RawRepresentable, RawValue == String {
  /// The case that somebody has sent the name of; see ``ByteText``.
  package init?(named text: String) {
    guard let found = Self.allCases.first(where: { $0.rawValue.hasSameBytes(as: text) }) else { return nil }
    self = found
  }
}
