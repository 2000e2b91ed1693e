/// The format of this deployment's keys: `<prefix>_<environment>_<secret><checksum>`.
package struct KeyFormat: Sendable {
  /// The maximum number of characters of a presented key; longer ones are refused without a look-up.
  package static let lengthMax = 512
  /// The characters of the secret part of a key, from 16 to 255 random bytes.
  private static let secretLength = Secret.randomLength(ofBytes: 16)...Secret.randomLength(ofBytes: 255)

  package let prefix: String

  /// Returns nil unless the prefix is 2 to 16 lower-case letters and digits, beginning with a letter.
  package init?(prefix: String) {
    let bytes = prefix.utf8
    guard (2...16).contains(bytes.count), let first = bytes.first, (97...122).contains(first),
      bytes.allSatisfy({ (97...122).contains($0) || (48...57).contains($0) })
    else { return nil }
    self.prefix = prefix
  }

  /// A new key, with the prefix and the random bytes of the api that it is for, if it is for one.
  func makeSecret(_ environment: Key.Environment, for api: CatalogAPI.Settings? = nil) -> Secret {
    .random(
      prefix: (api?.keyPrefix ?? prefix) + "_" + environment.rawValue,
      byteCount: api?.keyBytes ?? CatalogAPI.keyBytesDefault)
  }

  /// Whether a text with this deployment's prefix can be one of its keys: a right length, alphabet and checksum.
  func isWellFormed(_ secret: Secret, _ environment: Key.Environment) -> Bool {
    secret.isWellFormed(prefix: prefix + "_" + environment.rawValue, randomLength: Self.secretLength)
  }

  /// The hash by which a presented text is looked up; nil if no look-up can find it.
  package func hash(of secret: Secret) -> SecretHash? { mayExist(secret) ? secret.hash : nil }

  /// A text with this deployment's prefix must have a valid checksum. Any other text may be a key whose hash was
  /// imported from another system.
  package func mayExist(_ secret: Secret) -> Bool {
    let text = secret.reveal()
    guard !text.isEmpty, text.utf8.count <= Self.lengthMax else { return false }
    for environment in Key.Environment.allCases {
      let own = prefix + "_" + environment.rawValue + "_"
      if text.utf8.starts(with: own.utf8) { return isWellFormed(secret, environment) }
    }
    return true
  }
}
