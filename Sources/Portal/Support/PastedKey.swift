import JSON

extension KeyFormat {
  /// Characters of what is pasted: a key, and what came along with it.
  package static let pastedLengthMax = 1_024
  /// What all other secrets begin with that there are here.
  private static let otherPrefixes =
    [ServiceToken.secretPrefix, MemberSession.tokenPrefix, StaffSession.tokenPrefix]
    + OneTimeToken.Purpose.allCases.map(\.prefix)

  /// The key in what somebody pasted out of a mail, a log or a configuration. Nil if there can be no key of this portal
  /// in it, so that nobody takes it for an all-clear that none is found.
  package func key(pasted text: String) -> Secret? {
    guard text.unicodeScalars.count <= Self.pastedLengthMax else { return nil }
    var pasted = PastedText(text)
    let own = Key.Environment.allCases.map { prefix + "_" + $0.rawValue }
    let joined = pasted.words(beginningWith: own, isJoined: true)
    guard joined.isEmpty else {
      // One of ours may have been broken into lines: its checksum tells whether the parts belong together.
      return onlyKey(in: pasted.words(beginningWith: own)) ?? onlyKey(in: joined)
    }
    guard pasted.words(beginningWith: Self.otherPrefixes, isJoined: true).isEmpty else { return nil }
    // One that was brought along is what is left without blanks, quotes, the name of a header, and `Bearer` around it.
    for header in ["authorization:", "x-api-key:"] { pasted.drop(header) }
    pasted.drop("bearer", isWord: true)
    guard let visible = pasted.visible else { return nil }
    let secret = Secret(presented: visible)
    return mayExist(secret) ? secret : nil
  }

  /// The key that all of these words are; nil if one of them is another, or none.
  private func onlyKey(in words: [String]) -> Secret? {
    guard let word = words.first, words.allSatisfy({ $0.utf8.elementsEqual(word.utf8) }) else { return nil }
    let secret = Secret(presented: word)
    let isOwn = Key.Environment.allCases.contains { secret.isWellFormed(prefix: prefix + "_" + $0.rawValue) }
    return isOwn ? secret : nil
  }
}

/// A text from which is taken away what stands around it.
private struct PastedText {
  private static let quotes: [(opening: Unicode.Scalar, closing: Unicode.Scalar)] = [
    ("\"", "\""), ("'", "'"), ("`", "`"), ("\u{201C}", "\u{201D}"), ("\u{2018}", "\u{2019}"),
  ]

  private var rest: Substring.UnicodeScalarView

  init(_ text: String) {
    rest = text.unicodeScalars[...]
    trim()
  }

  private static func isBlank(_ scalar: Unicode.Scalar) -> Bool {
    let properties = scalar.properties
    return properties.isWhitespace || properties.generalCategory == .format || properties.generalCategory == .control
  }

  private mutating func trim() {
    while true {
      while let first = rest.first, Self.isBlank(first) { rest.removeFirst() }
      while let last = rest.last, Self.isBlank(last) { rest.removeLast() }
      let (first, last, inner) = (rest.first, rest.last, rest.dropFirst().dropLast())
      guard !inner.isEmpty, Self.quotes.contains(where: { $0.opening == first && $0.closing == last }) else { return }
      rest = inner
    }
  }

  /// Takes away what it begins with, in whatever case; a word only if it ends there.
  mutating func drop(_ beginning: String, isWord: Bool = false) {
    let count = beginning.unicodeScalars.count
    guard String(rest.prefix(count)).utf8.begins(inAnyCase: beginning) else { return }
    let behind = rest.dropFirst(count)
    if isWord, let next = behind.first, !Self.isBlank(next) { return }
    rest = behind
    trim()
  }

  /// All words, of letters, digits and `_`, that begin with one of these and `_`, in whatever case: what is in capitals
  /// was meant for one, too. `isJoined`: as if there were no blanks.
  func words(beginningWith prefixes: [String], isJoined: Bool = false) -> [String] {
    var scalars = String.UnicodeScalarView()
    for scalar in rest where !isJoined || !Self.isBlank(scalar) { scalars.append(scalar) }
    var words: [String] = []
    var bytes = Array(String(scalars).utf8)[...]
    while !bytes.isEmpty {
      guard prefixes.contains(where: { bytes.begins(inAnyCase: $0 + "_") }) else {
        bytes.removeFirst()
        continue
      }
      let word = bytes.prefix { Base62.isDigit($0) || $0 == UInt8(ascii: "_") }
      words.append(String(decoding: word, as: UTF8.self))
      bytes = bytes.dropFirst(word.count)
    }
    return words
  }

  /// What is left, if all of it is visible ASCII.
  var visible: String? { rest.allSatisfy { (0x21...0x7E).contains($0.value) } ? String(rest) : nil }
}

extension Collection<UInt8> {
  /// `lowercased` is ASCII without capitals.
  fileprivate func begins(inAnyCase lowercased: String) -> Bool {
    lowercased.utf8.elementsEqual(prefix(lowercased.utf8.count)) { wanted, byte in
      wanted == byte || (0x41...0x5A).contains(byte) && wanted == byte | 0x20
    }
  }
}
