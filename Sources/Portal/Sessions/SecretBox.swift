import Crypto
import Foundation

/// Encrypts what the server must be able to read again, under a key that the database does not have (AES-256-GCM).
package struct SecretBox: Sendable {
  private static let keyLength = 32
  /// Different bytes that 32 random ones have, but for one key in more than 10^12.
  private static let differentByteCountMin = 16

  private let key: SymmetricKey

  /// From 32 bytes in base 64; nil for anything else.
  package init?(base64 text: String) {
    guard let data = Data(base64Encoded: text), data.count == Self.keyLength else { return nil }
    key = SymmetricKey(data: data)
  }

  /// Whether the key has too few different bytes to have been made at random.
  package var looksMadeUp: Bool { key.withUnsafeBytes { Set($0).count } < Self.differentByteCountMin }

  /// `owner` is bound to it: what is sealed for one person cannot be opened as another's.
  func seal(_ bytes: [UInt8], for owner: UUID) throws -> [UInt8] {
    guard let sealed = try AES.GCM.seal(bytes, using: key, authenticating: Data(owner.text.utf8)).combined else {
      throw PortalError.unavailable(reason: "AES-GCM made a nonce of another length")
    }
    return Array(sealed)
  }

  /// Nil for what was sealed under another key or for somebody else.
  func open(_ sealed: [UInt8], for owner: UUID) -> [UInt8]? {
    guard let box = try? AES.GCM.SealedBox(combined: sealed),
      let bytes = try? AES.GCM.open(box, using: key, authenticating: Data(owner.text.utf8))
    else { return nil }
    return Array(bytes)
  }
}
