extension Span<UInt8> {
  /// Whether the bytes from `place` on begin with a text, as far as they go.
  package func begins(_ text: StaticString, at place: Int) -> Bool {
    let count = Swift.min(text.utf8CodeUnitCount, count - place)
    return text.withUTF8Buffer { text in
      for offset in 0..<count where self[place + offset] != text[offset] { return false }
      return true
    }
  }

  /// Whether `place` holds exactly a text.
  package func holds(_ text: StaticString, at place: Range<Int>) -> Bool {
    text.utf8CodeUnitCount == place.count && begins(text, at: place.lowerBound)
  }

  /// Whether `place` begins with a text in any case; `lowercased` is ASCII without capitals.
  package func begins(inAnyCase lowercased: StaticString, at place: Range<Int>) -> Bool {
    guard lowercased.utf8CodeUnitCount <= place.count else { return false }
    return lowercased.withUTF8Buffer { text in
      for offset in text.indices where !has(inAnyCase: text[offset], at: place.lowerBound + offset) { return false }
      return true
    }
  }

  /// Whether there is a character at `index`, in any case; `lowercased` is ASCII and not a capital.
  package func has(inAnyCase lowercased: UInt8, at index: Int) -> Bool {
    let byte = self[index]
    return byte == lowercased || byte | 0x20 == lowercased && lowercased >= UInt8(ascii: "a")
  }

  /// The bytes of `place`, decoded as UTF-8.
  package func text(_ place: Range<Int>) -> String {
    extracting(place).withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
  }
}
