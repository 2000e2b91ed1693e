import Crypto
package import Foundation
import Postgres

/// A request that is carried out once, however often it comes.
package struct IdempotentRequest: Sendable {
  /// Characters of the key that the client chose.
  package static let keyLength = 1...255
  /// How long an answer is remembered.
  static let answerSeconds = 86_400
  /// How long whoever repeats it with the same session or service token is shown the secret.
  static let secretSeconds = 600

  let accountID: UUID
  let keyHash: SecretHash
  let requestHash: SecretHash
  /// Made of what the client shows, a session's token or a service token, and of the client's key. Neither is stored:
  /// whoever has the database alone cannot open what is sealed with it.
  private let sealingKey: SymmetricKey

  /// `request` is what a repeat must have in common with the first. The people of an account share their keys; a
  /// service token has its own. `holder` is what the client shows. Nil unless the key is printable ASCII of an allowed
  /// length.
  package init?(
    key: String, of token: UUID? = nil, request: some Sequence<UInt8>, accountID: UUID, holder: Secret
  ) {
    let bytes = Array(key.utf8)
    guard Self.keyLength.contains(bytes.count), bytes.allSatisfy({ (0x20...0x7E).contains($0) }) else { return nil }
    self.accountID = accountID
    // No printable key begins so.
    keyHash = SecretHash(of: (token.map { Array("\($0.text)\n".utf8) } ?? []) + bytes)
    requestHash = SecretHash(of: request)
    sealingKey = HKDF<SHA256>.deriveKey(
      inputKeyMaterial: SymmetricKey(data: Array(holder.reveal().utf8)), salt: Array("latchkey-idempotency-1".utf8),
      info: Array(accountID.text.utf8) + bytes, outputByteCount: 32)
  }

  /// The secret of a new key, for the same holder to be shown again.
  func seal(_ secret: Secret, of keyID: UUID) throws -> [UInt8] {
    let box = try AES.GCM.seal(
      Array(secret.reveal().utf8), using: sealingKey, authenticating: Array(keyID.text.utf8))
    return Array(box.nonce) + box.ciphertext + box.tag
  }

  /// Nil if another holder, or another request, has sealed it.
  func open(_ sealed: [UInt8], of keyID: UUID) -> Secret? {
    guard let box = try? AES.GCM.SealedBox(combined: sealed),
      let text = try? AES.GCM.open(box, using: sealingKey, authenticating: Array(keyID.text.utf8))
    else { return nil }
    return Secret(presented: String(decoding: text, as: UTF8.self))
  }
}

/// What somebody is answered who made a key: the first time, and when the request comes again.
package struct FirstAnswer: Sendable {
  /// The API keys as they were shown the first time: that which was made, the one that it replaces, and those that this
  /// has ended.
  package var shownKeys: [String]
  package var newKeyID: UUID
  /// Nil where it may not be shown again.
  package var secret: Secret?

  package init(shownKeys: [String], newKeyID: UUID, secret: Secret?) {
    self.shownKeys = shownKeys
    self.newKeyID = newKeyID
    self.secret = secret
  }

  /// The keys in the answer, of which there are so many at least. Throws `.decoding` where a row says otherwise.
  package func shown(atLeast count: Int) throws -> [String] {
    guard shownKeys.count >= count else {
      throw PostgresError(.decoding, "\(shownKeys.count) keys were shown in an answer of \(count)")
    }
    return shownKeys
  }
}
