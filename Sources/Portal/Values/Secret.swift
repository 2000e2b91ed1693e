import Crypto

/// A random token that grants access: an API key, a session, a service token. It cannot be printed, logged or encoded
/// by accident; ``reveal()`` is the only access to its text.
///
/// `<prefix>_<43 characters><6 characters>`: 32 bytes of the system's generator in base 62, then the CRC-32 of
/// everything before it in base 62, so that a scanner or the server can detect a typo without a look-up. Keys for an
/// api may have 16 to 255 bytes.
package struct Secret: Sendable, CustomStringConvertible, CustomReflectable {
  static let randomLength = 43
  static let checksumLength = 6
  /// The maximum number of characters of a presented secret; longer ones are refused without a look-up.
  package static let lengthMax = 256

  private let text: String

  /// A secret that a client presented.
  package init(presented text: String) { self.text = text }

  /// The number of base 62 characters that any `count` bytes fit into.
  static func randomLength(ofBytes count: Int) -> Int {
    // log 256 / log 62, rounded up: a multiple that is too large by less than one character at 255 bytes.
    (count * 13_436 + 9_999) / 10_000
  }

  /// Creates a new secret of this many random bytes. `SystemRandomNumberGenerator` is the kernel's CSPRNG on Linux
  /// (`getrandom(2)`).
  package static func random(prefix: String, byteCount: Int = 32) -> Secret {
    var generator = SystemRandomNumberGenerator()
    var limbs = (0..<(byteCount + 7) / 8).map { _ in generator.next() as UInt64 }
    if byteCount % 8 > 0 { limbs[0] >>= UInt64(64 - byteCount % 8 * 8) }
    let body = prefix + "_" + Base62.encode(limbs, length: randomLength(ofBytes: byteCount))
    return Secret(presented: body + checksum(of: body.utf8))
  }

  /// The text, to be shown to its owner once and to nobody else.
  package func reveal() -> String { text }

  package var hash: SecretHash { SecretHash(of: text.utf8) }

  /// The first characters, by which people can recognize it.
  package func start(_ count: Int) -> String { String(text.prefix(count)) }

  /// Whether it can be one of our secrets with `prefix`: right length, alphabet and checksum.
  package func isWellFormed(prefix: String) -> Bool {
    isWellFormed(prefix: prefix, randomLength: Self.randomLength...Self.randomLength)
  }

  /// Like ``isWellFormed(prefix:)``, for secrets whose random part has a number of characters in `randomLength`.
  func isWellFormed(prefix: String, randomLength: ClosedRange<Int>) -> Bool {
    let bodyLength = text.utf8.count - Self.checksumLength
    guard randomLength.contains(bodyLength - prefix.utf8.count - 1), text.utf8.starts(with: (prefix + "_").utf8) else {
      return false
    }
    let bytes = Array(text.utf8)
    guard bytes[(prefix.utf8.count + 1)...].allSatisfy(Base62.isDigit) else { return false }
    return bytes[bodyLength...].elementsEqual(Self.checksum(of: bytes[..<bodyLength]).utf8)
  }

  private static func checksum(of bytes: some Sequence<UInt8>) -> String {
    Base62.encode([UInt64(CRC32.checksum(of: bytes))], length: checksumLength)
  }

  package var description: String { "<secret>" }
  package var customMirror: Mirror { Mirror(self, children: []) }
}

/// The SHA-256 of a secret, which is stored and looked up. It grants no access, but it is kept out of logs as well.
package struct SecretHash: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
  private let words: (UInt64, UInt64, UInt64, UInt64)

  package init(of bytes: some Sequence<UInt8>) {
    var hasher = SHA256()
    if bytes.withContiguousStorageIfAvailable({ hasher.update(bufferPointer: UnsafeRawBufferPointer($0)) }) == nil {
      hasher.update(data: Array(bytes))
    }
    words = hasher.finalize().withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self) }
  }

  package init(of bytes: Span<UInt8>) {
    var hasher = SHA256()
    bytes.withUnsafeBytes { hasher.update(bufferPointer: $0) }
    words = hasher.finalize().withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self) }
  }

  /// From the 32 bytes of a column; nil if they aren't 32.
  package init?(bytes: [UInt8]) {
    guard bytes.count == 32 else { return nil }
    words = bytes.withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self) }
  }

  package var bytes: [UInt8] { withUnsafeBytes(of: words) { Array($0) } }

  package static func == (one: SecretHash, other: SecretHash) -> Bool {
    // Always compares all four words, so that the time reveals nothing.
    let difference =
      (one.words.0 ^ other.words.0) | (one.words.1 ^ other.words.1) | (one.words.2 ^ other.words.2)
      | (one.words.3 ^ other.words.3)
    return difference == 0
  }

  /// One word suffices: SHA-256 spreads evenly.
  package func hash(into hasher: inout Hasher) { hasher.combine(words.0) }

  /// For an index within a shard.
  var indexBits: UInt32 { UInt32(truncatingIfNeeded: words.1) }

  /// For choosing a shard: other bits than the hasher uses.
  var shardBits: Int { Int(truncatingIfNeeded: words.3) }

  package var description: String { "<secret hash>" }
  package var customMirror: Mirror { Mirror(self, children: []) }
}
