/// The format of this deployment's keys: `<prefix>_<environment>_<secret><checksum>`.
package struct KeyFormat: Sendable {
  /// The maximum number of characters of a presented key; longer ones are refused without a look-up.
  package static let lengthMax = 512
  /// The characters of the secret part of a key, from 16 to 255 random bytes.
  private static let secretLength = Secret.randomLength(ofBytes: 16)...Secret.randomLength(ofBytes: 255)

  /// Characters of the secret part that are stored for display, with all before them.
  private static let shownLength = 4
  private static let importedPrefixLengthMax = 16
  package static let prefixPattern = "^[a-z][a-z0-9]{1,15}$"

  package let prefix: String
  /// What another system hashed together with the keys that were imported from it, if anything.
  package var importSalt: ImportSalt?

  /// Returns nil unless the prefix is 2 to 16 lower-case letters and digits, beginning with a letter.
  package init?(prefix: String) {
    guard Self.isValid(prefix: prefix) else { return nil }
    self.prefix = prefix
  }

  /// Whether it matches ``prefixPattern``.
  package static func isValid(prefix: String) -> Bool {
    let bytes = prefix.utf8
    guard (2...16).contains(bytes.count), let first = bytes.first, (97...122).contains(first) else { return false }
    return bytes.allSatisfy { (97...122).contains($0) || (48...57).contains($0) }
  }

  /// A new key of `byteCount` random bytes, with the deployment's prefix unless another is given.
  func makeSecret(
    _ environment: Key.Environment, prefix: String? = nil, byteCount: Int = CatalogAPI.keyBytesDefault
  ) -> Secret {
    .random(prefix: (prefix ?? self.prefix) + "_" + environment.rawValue, byteCount: byteCount)
  }

  /// The start of a key that was imported: its beginning up to the first `_` if that comes early, and four characters.
  /// Characters other than visible ASCII are replaced by `?`.
  static func start(ofImported secret: Secret) -> String {
    let text = Array(secret.reveal().utf8)
    let prefixEnd = text.prefix(importedPrefixLengthMax + 1).firstIndex(of: UInt8(ascii: "_")).map { $0 + 1 } ?? 0
    // Of a short text, no more than a quarter.
    let shown = text.prefix(min(prefixEnd + shownLength, max(1, text.count / 4)))
    return String(decoding: shown.map { (0x21...0x7E).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
  }

  /// All before the secret part of a key that was made here, and four characters of it.
  static func start(of secret: Secret) -> String {
    let text = secret.reveal().utf8
    let secretPart = text.lastIndex(of: UInt8(ascii: "_")).map { text.index(after: $0) } ?? text.startIndex
    let length = text.distance(from: text.startIndex, to: secretPart) + shownLength
    return secret.start(min(length, Key.startLengthMax))
  }

  /// Whether a text with this deployment's prefix can be one of its keys: a right length, alphabet and checksum.
  func isWellFormed(_ secret: Secret, _ environment: Key.Environment) -> Bool {
    secret.isWellFormed(prefix: prefix + "_" + environment.rawValue, randomLength: Self.secretLength)
  }

  /// The hash by which a presented text is looked up; nil if no look-up can find it.
  package func hash(of secret: Secret) -> SecretHash? { mayExist(secret) ? secret.hash : nil }

  /// Whether a text is neither empty nor longer than any key: all that can be said where keys were imported.
  package func isOfPossibleLength(_ secret: Secret) -> Bool {
    (1...Self.lengthMax).contains(secret.reveal().utf8.count)
  }

  /// A text with this deployment's prefix must have a valid checksum, unless keys were imported. Any other text may be
  /// a key with an api's prefix, or its own.
  package func mayExist(_ secret: Secret) -> Bool {
    guard isOfPossibleLength(secret) else { return false }
    let text = secret.reveal()
    for environment in Key.Environment.allCases {
      let own = prefix + "_" + environment.rawValue + "_"
      if text.utf8.starts(with: own.utf8) { return isWellFormed(secret, environment) }
    }
    return true
  }
}
