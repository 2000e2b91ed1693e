/// Parts of header fields, as bytes. A field may have 32 KiB, of which a `String` would be split into characters.
extension Substring.UTF8View {
  /// The part without the white space around it (RFC 9110 5.6.3).
  var trimmed: Substring.UTF8View {
    var rest = self
    while let byte = rest.first, Self.isSpace(byte) { rest.removeFirst() }
    while let byte = rest.last, Self.isSpace(byte) { rest.removeLast() }
    return rest
  }

  /// Whether it is this text, in any case; `lowercased` is ASCII without capitals.
  func isEqual(inAnyCase lowercased: String) -> Bool {
    elementsEqual(lowercased.utf8) { byte, wanted in
      byte == wanted || (0x41...0x5A).contains(byte) && byte | 0x20 == wanted
    }
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
}
