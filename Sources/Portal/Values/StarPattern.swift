import JSON

/// A text in which each `*` stands for any characters, or for none, and everything else for itself. It matches whole
/// texts, by bytes, in time that is linear in the two lengths.
package struct StarPattern: Sendable, Equatable {
  package let text: String
  /// The bytes of the text other than stars.
  package let literalCount: Int

  private let bytes: [UInt8]
  /// The parts between the stars, as places in `bytes`; at least one, and any may be empty.
  private let parts: [Range<Int>]
  /// For each place in a part, how much of the part's beginning a search still has if the byte there does not follow
  /// (D. E. Knuth, J. H. Morris, V. R. Pratt 1977).
  private let fallbacks: [UInt16]

  package var starCount: Int { parts.count - 1 }

  /// Nil if the text is empty, has more than `lengthMax` Unicode scalars, which may be 16,000, or more than
  /// `starCountMax` stars.
  package init?(_ text: String, lengthMax: Int, starCountMax: Int = .max) {
    guard !text.isEmpty, text.utf8.count <= 4 * lengthMax, text.unicodeScalars.count <= lengthMax else { return nil }
    let bytes = Array(text.utf8)
    let stars = bytes.indices.filter { bytes[$0] == UInt8(ascii: "*") }
    guard stars.count <= starCountMax else { return nil }
    self.text = text
    self.bytes = bytes
    literalCount = bytes.count - stars.count
    parts = zip([0] + stars.map { $0 + 1 }, stars + [bytes.count]).map { $0..<$1 }
    var fallbacks = [UInt16](repeating: 0, count: bytes.count)
    for part in parts {
      var length = 0
      for place in part.dropFirst() {
        fallbacks[place] = UInt16(length)
        while length > 0, bytes[place] != bytes[part.lowerBound + length] {
          length = Int(fallbacks[part.lowerBound + length])
        }
        if bytes[place] == bytes[part.lowerBound + length] { length += 1 }
      }
    }
    self.fallbacks = fallbacks
  }

  package static func == (one: StarPattern, other: StarPattern) -> Bool { one.bytes == other.bytes }

  package func matches(_ text: String) -> Bool {
    var text = text
    return text.withUTF8 { matches($0) }
  }

  /// Whether it matches a text in UTF-8. Allocates nothing.
  func matches(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
    guard text.count >= literalCount, let first = parts.first, let last = parts.last else { return false }
    guard starCount > 0 else { return text.elementsEqual(bytes) }
    // The first part begins the text, the last one ends it. The others may as well be where they come first.
    guard has(first, in: text, at: 0), has(last, in: text, at: text.count - last.count) else { return false }
    var place = first.count
    for part in parts.dropFirst().dropLast() {
      guard let end = end(of: part, in: text, place..<text.count - last.count) else { return false }
      place = end
    }
    return true
  }

  private func has(_ part: Range<Int>, in text: UnsafeBufferPointer<UInt8>, at place: Int) -> Bool {
    for offset in 0..<part.count where text[place + offset] != bytes[part.lowerBound + offset] { return false }
    return true
  }

  /// Where the first occurrence of a part ends.
  private func end(of part: Range<Int>, in text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Int? {
    if part.isEmpty { return range.lowerBound }
    var length = 0
    for place in range {
      while length > 0, text[place] != bytes[part.lowerBound + length] {
        length = Int(fallbacks[part.lowerBound + length])
      }
      if text[place] == bytes[part.lowerBound + length] { length += 1 }
      if length == part.count { return place + 1 }
    }
    return nil
  }
}
