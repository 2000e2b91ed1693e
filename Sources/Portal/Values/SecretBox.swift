import Crypto
import Foundation

/// Encrypts data that the server must be able to read again, under a key that the database does not have (AES-256-GCM).
///
/// While the key is being changed there are previous keys, which open what they have sealed and seal nothing. Sealed
/// data does not say which key it needs: they are tried in turn, and GCM detects a wrong one.
package struct SecretBox: Sendable {
  /// The maximum number of previous keys.
  package static let previousCountMax = 4
  private static let keyLength = 32
  /// 32 random bytes have at least this many different values, except for fewer than one key in 10^12.
  private static let differentByteCountMin = 16

  private let key: SymmetricKey
  private let previous: [SymmetricKey]

  /// The key that opens a value.
  enum Age: Sendable {
    case present, previous
  }

  /// From 32 bytes in base 64; nil for anything else.
  package init?(base64 text: String) {
    guard let key = Self.key(text) else { return nil }
    (self.key, previous) = (key, [])
  }

  /// Adds previous keys, each as ``init(base64:)`` takes it, separated by commas. Nil for anything else, for more than
  /// ``previousCountMax``, and if the present key is among them.
  package func opening(previous text: String) -> SecretBox? {
    let texts = text.split(separator: ",", omittingEmptySubsequences: false)
    let keys = texts.prefix(Self.previousCountMax + 1).compactMap { text in
      Self.key(text.trimmingCharacters(in: .whitespaces))
    }
    guard texts.count <= Self.previousCountMax, keys.count == texts.count, !keys.contains(key) else { return nil }
    return SecretBox(key: key, previous: keys)
  }

  private init(key: SymmetricKey, previous: [SymmetricKey]) { (self.key, self.previous) = (key, previous) }

  private static func key(_ text: String) -> SymmetricKey? {
    guard let data = Data(base64Encoded: text), data.count == keyLength else { return nil }
    return SymmetricKey(data: data)
  }

  /// Whether there are previous keys.
  package var hasPrevious: Bool { !previous.isEmpty }

  /// Whether the key has too few different bytes to have been made at random.
  package var looksMadeUp: Bool { key.withUnsafeBytes { Set($0).count } < Self.differentByteCountMin }

  /// Seals `bytes` for `owner`: what is sealed for one person cannot be opened as another's.
  func seal(_ bytes: [UInt8], for owner: UUID) throws -> [UInt8] {
    guard let sealed = try AES.GCM.seal(bytes, using: key, authenticating: Data(owner.text.utf8)).combined else {
      throw PortalError.unavailable(reason: "AES-GCM made a nonce of another length")
    }
    return Array(sealed)
  }

  /// Nil for data that was sealed under an unknown key or for another owner.
  func open(_ sealed: [UInt8], for owner: UUID) -> (bytes: [UInt8], age: Age)? {
    guard let box = try? AES.GCM.SealedBox(combined: sealed) else { return nil }
    let owner = Data(owner.text.utf8)
    if let bytes = try? AES.GCM.open(box, using: key, authenticating: owner) { return (Array(bytes), .present) }
    for key in previous {
      if let bytes = try? AES.GCM.open(box, using: key, authenticating: owner) { return (Array(bytes), .previous) }
    }
    return nil
  }
}
