import Foundation
import HTTPTypes
import Hummingbird
import Portal
import PortalHTTP

extension Request {
  /// This request as its `Idempotency-Key` identifies it; nil without the header. A repeat has the same method, path
  /// and body; the order of the body's members does not matter.
  func idempotent(_ fields: RequestFields, _ access: KeyAccess) throws(InvalidRequest) -> IdempotentRequest? {
    try idempotent(fields, of: access.tokenID, access.secret, in: access.accountID)
  }

  /// `tokenID` is the id of the service token, if the credential `holder` is one.
  func idempotent(
    _ fields: RequestFields, of tokenID: UUID?, _ holder: Secret, in accountID: UUID
  ) throws(InvalidRequest) -> IdempotentRequest? {
    let keys = headers[values: .idempotencyKey]
    guard let key = keys.first else { return nil }
    guard keys.count == 1,
      let request = IdempotentRequest(
        key: key, of: tokenID, request: Array("\(method) \(uri.path)\n".utf8) + fields.fingerprint,
        accountID: accountID, holder: holder)
    else {
      let length = IdempotentRequest.keyLength
      throw InvalidRequest(
        "header.Idempotency-Key",
        "must be sent once, with \(length.lowerBound) to \(length.upperBound) printable characters")
    }
    return request
  }
}

extension HTTPField.Name {
  // Safe: it is a valid name.
  // swift-format-ignore: NeverForceUnwrap
  static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
}
