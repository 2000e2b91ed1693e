import JSON

extension KeyFormat {
  /// The most characters of a pasted text: a key and its surroundings.
  package static let pastedLengthMax = 1_024
  /// The prefixes of all other secrets of the portal.
  private static let otherPrefixes =
    [ServiceToken.secretPrefix, MemberSession.tokenPrefix, StaffSession.tokenPrefix]
    + OneTimeToken.Purpose.allCases.map(\.prefix)

  /// The key in a text that was pasted from a mail, a log or a configuration file. Nil if the text cannot contain a key
  /// of this portal, so that an unsuccessful search is not taken for an all-clear.
  package func key(pasted text: String) -> Secret? {
    guard text.unicodeScalars.count <= Self.pastedLengthMax else { return nil }
    var pasted = PastedText(text)
    let own = Key.Environment.allCases.map { prefix + "_" + $0.rawValue }
    let joined = pasted.words(beginningWith: own, isJoined: true)
    guard joined.isEmpty else {
      // A key may have been broken into lines; its checksum shows whether the parts belong together.
      return onlyKey(in: pasted.words(beginningWith: own)) ?? onlyKey(in: joined)
    }
    guard pasted.words(beginningWith: Self.otherPrefixes, isJoined: true).isEmpty else { return nil }
    // An imported key is what remains after removing blanks, quotes, a header name and `Bearer`.
    for header in ["authorization:", "x-api-key:"] { pasted.drop(header) }
    pasted.drop("bearer", isWord: true)
    guard let visible = pasted.visible else { return nil }
    let secret = Secret(presented: visible)
    return mayExist(secret) ? secret : nil
  }

  /// Like ``key(pasted:)``, whatever the text looks like: it may be an imported key.
  func anyKey(pasted text: String) -> Secret? {
    guard text.unicodeScalars.count <= Self.pastedLengthMax else { return nil }
    var pasted = PastedText(text)
    for header in ["authorization:", "x-api-key:"] { pasted.drop(header) }
    pasted.drop("bearer", isWord: true)
    guard let visible = pasted.visible else { return nil }
    let secret = Secret(presented: visible)
    return isOfPossibleLength(secret) ? secret : nil
  }

  /// The key, if all words are the same well-formed key; nil otherwise.
  private func onlyKey(in words: [String]) -> Secret? {
    guard let word = words.first, words.allSatisfy({ $0.utf8.elementsEqual(word.utf8) }) else { return nil }
    let secret = Secret(presented: word)
    let isOwn = Key.Environment.allCases.contains { isWellFormed(secret, $0) }
    return isOwn ? secret : nil
  }
}

/// A pasted text, from which the surroundings of a key can be removed.
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

  /// Removes `beginning` from the start of the text, ignoring case. With `isWord`, only if the word ends there.
  mutating func drop(_ beginning: String, isWord: Bool = false) {
    let count = beginning.unicodeScalars.count
    guard String(rest.prefix(count)).utf8.begins(inAnyCase: beginning) else { return }
    let behind = rest.dropFirst(count)
    if isWord, let next = behind.first, !Self.isBlank(next) { return }
    rest = behind
    trim()
  }

  /// All words of letters, digits and `_` that begin with one of `prefixes` and `_`, ignoring case, because a key in
  /// capitals was also meant as one. With `isJoined`, blanks are removed first.
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

  /// The remaining text, if all of it is visible ASCII.
  var visible: String? { rest.allSatisfy { (0x21...0x7E).contains($0.value) } ? String(rest) : nil }
}

extension Collection<UInt8> {
  /// Whether it begins with `lowercased`, ignoring case. `lowercased` must be ASCII without capitals.
  fileprivate func begins(inAnyCase lowercased: String) -> Bool {
    lowercased.utf8.elementsEqual(prefix(lowercased.utf8.count)) { wanted, byte in
      wanted == byte || (0x41...0x5A).contains(byte) && wanted == byte | 0x20
    }
  }
}
