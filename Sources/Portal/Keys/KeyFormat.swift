/// The format of this deployment's keys: `<prefix>_<environment>_<secret><checksum>`.
package struct KeyFormat: Sendable {
  package let prefix: String

  /// Returns nil unless the prefix is 2 to 16 lower-case letters and digits, beginning with a letter.
  package init?(prefix: String) {
    let bytes = prefix.utf8
    guard (2...16).contains(bytes.count), let first = bytes.first, (97...122).contains(first),
      bytes.allSatisfy({ (97...122).contains($0) || (48...57).contains($0) })
    else { return nil }
    self.prefix = prefix
  }

  func makeSecret(_ environment: Key.Environment) -> Secret {
    .random(prefix: prefix + "_" + environment.rawValue)
  }

  /// The hash by which a presented text is looked up; nil if no look-up can find it.
  package func hash(of secret: Secret) -> SecretHash? { mayExist(secret) ? secret.hash : nil }

  /// A text with this deployment's prefix must have a valid checksum. Any other text may be a key whose hash was
  /// imported from another system.
  package func mayExist(_ secret: Secret) -> Bool {
    let text = secret.reveal()
    guard !text.isEmpty, text.utf8.count <= Secret.lengthMax else { return false }
    for environment in Key.Environment.allCases {
      let own = prefix + "_" + environment.rawValue
      if text.utf8.starts(with: (own + "_").utf8) { return secret.isWellFormed(prefix: own) }
    }
    return true
  }
}
