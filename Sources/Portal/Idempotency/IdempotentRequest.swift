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

  /// The secret of what was made, for the same holder to be shown again.
  func seal(_ secret: Secret, of newID: UUID) throws -> [UInt8] {
    let box = try AES.GCM.seal(
      Array(secret.reveal().utf8), using: sealingKey, authenticating: Array(newID.text.utf8))
    return Array(box.nonce) + box.ciphertext + box.tag
  }

  /// Nil if another holder, or another request, has sealed it.
  func open(_ sealed: [UInt8], of newID: UUID) -> Secret? {
    guard let box = try? AES.GCM.SealedBox(combined: sealed),
      let text = try? AES.GCM.open(box, using: sealingKey, authenticating: Array(newID.text.utf8))
    else { return nil }
    return Secret(presented: String(decoding: text, as: UTF8.self))
  }
}

/// What a request is answered that made something: the first time, and for each repeat.
package struct FirstAnswer: Sendable {
  /// The JSON objects in the answer, as they were shown the first time, without the secret: that which was made, then
  /// what it has changed. What is the same in each answer of the route, or as of now, is not in them.
  package var objects: [String]
  /// Of what was made.
  package var newID: UUID
  /// Of what was made, if it has one; nil where it may not be shown again.
  package var secret: Secret?

  package init(objects: [String], newID: UUID, secret: Secret?) {
    self.objects = objects
    self.newID = newID
    self.secret = secret
  }

  /// The objects, at least `count` of them. Throws `.decoding` where the stored row has fewer.
  package func objects(atLeast count: Int) throws -> [String] {
    guard objects.count >= count else {
      throw PostgresError(.decoding, "a stored answer has \(objects.count) objects instead of \(count)")
    }
    return objects
  }
}
