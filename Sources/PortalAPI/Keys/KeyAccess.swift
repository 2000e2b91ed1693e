import Foundation
import Portal

/// Whose keys a request is about, and who asks: a member of the account, or a service token for it.
struct KeyAccess: Sendable {
  let accountID: UUID
  let caller: Caller
  /// What the caller shows with each request: a session's token, or the service token.
  let secret: Secret
  /// Where the keys are.
  let path: String
  /// Of the service token, if it is one.
  var tokenID: UUID?
}

extension MemberContext {
  var keyAccess: KeyAccess { KeyAccess(accountID: accountID, caller: caller, secret: token, path: "/v1/keys") }
}

extension ServiceTokenContext {
  /// Of a route below `/v1/accounts/{id}/keys`.
  var keyAccess: KeyAccess {
    get throws(PortalError) {
      let accountID = try pathID
      return KeyAccess(
        accountID: accountID, caller: caller, secret: secret, path: "/v1/accounts/\(accountID.text)/keys",
        tokenID: token.id)
    }
  }

  var keyID: UUID {
    get throws(PortalError) { try pathUUID("keyId") }
  }
}
