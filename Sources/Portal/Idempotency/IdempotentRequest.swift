import Crypto
package import Foundation
import Postgres

/// A request that is executed once, however often it is sent.
package struct IdempotentRequest: Sendable {
  /// Length of the idempotency key, in characters.
  package static let keyLength = 1...255
  /// How long an answer is kept.
  static let answerSeconds = 86_400
  /// How long a repeat with the same session or service token gets the secret.
  static let secretSeconds = 600

  let accountID: UUID
  let keyHash: SecretHash
  let requestHash: SecretHash
  /// Derived from the client's credential (a session's token or a service token) and from the idempotency key. Neither
  /// is stored, so the database alone does not suffice to open a sealed secret.
  private let sealingKey: SymmetricKey

  /// `request` is the content that a repeat must share with the first request, and `holder` is the client's credential.
  /// The members of an account share one space of idempotency keys; each service token (`token`) has its own. Returns
  /// nil unless the key is printable ASCII of an allowed length.
  package init?(
    key: String, of token: UUID? = nil, request: some Sequence<UInt8>, accountID: UUID, holder: Secret
  ) {
    let bytes = Array(key.utf8)
    guard Self.keyLength.contains(bytes.count), bytes.allSatisfy({ (0x20...0x7E).contains($0) }) else { return nil }
    self.accountID = accountID
    // No printable key contains a line feed, so the spaces of keys are disjoint.
    keyHash = SecretHash(of: (token.map { Array("\($0.text)\n".utf8) } ?? []) + bytes)
    requestHash = SecretHash(of: request)
    sealingKey = HKDF<SHA256>.deriveKey(
      inputKeyMaterial: SymmetricKey(data: Array(holder.reveal().utf8)), salt: Array("latchkey-idempotency-1".utf8),
      info: Array(accountID.text.utf8) + bytes, outputByteCount: 32)
  }

  /// Seals the secret of the new object, so that the same holder can get it again.
  func seal(_ secret: Secret, of newID: UUID) throws -> [UInt8] {
    let box = try AES.GCM.seal(
      Array(secret.reveal().utf8), using: sealingKey, authenticating: Array(newID.text.utf8))
    return Array(box.nonce) + box.ciphertext + box.tag
  }

  /// Returns nil if the secret was sealed by another holder or for another request.
  func open(_ sealed: [UInt8], of newID: UUID) -> Secret? {
    guard let box = try? AES.GCM.SealedBox(combined: sealed),
      let text = try? AES.GCM.open(box, using: sealingKey, authenticating: Array(newID.text.utf8))
    else { return nil }
    return Secret(presented: String(decoding: text, as: UTF8.self))
  }
}

/// The answer to a request that created an object, for the first request and for each repeat.
package struct FirstAnswer: Sendable {
  /// The JSON objects in the first answer, without the secret: the new object, then the objects that the request
  /// changed. Parts that are the same in each answer of the route, or that describe the current state, are left out.
  package var objects: [String]
  /// The id of the new object.
  package var newID: UUID
  /// The secret of the new object, if it has one; nil if it may not be shown again.
  package var secret: Secret?

  package init(objects: [String], newID: UUID, secret: Secret?) {
    self.objects = objects
    self.newID = newID
    self.secret = secret
  }

  /// The objects, of which there are at least `count`. Throws `.decoding` if the stored row has fewer.
  package func objects(atLeast count: Int) throws -> [String] {
    guard objects.count >= count else {
      throw PostgresError(.decoding, "a stored answer has \(objects.count) objects instead of \(count)")
    }
    return objects
  }
}
