import Foundation
import Portal
import PortalHTTP

/// The account whose keys a request is about, and the caller: a member of the account or a service token.
struct KeyAccess: Sendable {
  let accountID: UUID
  let caller: Caller
  /// The caller's credential: the session's token or the service token.
  let secret: Secret
  /// The path of the account's keys.
  let path: String
  /// The id of the service token; nil for a member.
  var tokenID: UUID?

  var isByBackend: Bool { tokenID != nil }
}

extension MemberContext {
  var keyAccess: KeyAccess { KeyAccess(accountID: accountID, caller: caller, secret: token, path: "/v1/keys") }
}

extension ServiceTokenContext {
  /// For routes below `/v1/accounts/{id}/keys`.
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
