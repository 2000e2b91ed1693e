package import Foundation
import Postgres

/// A request by one member of staff to revoke many keys, which another has to confirm: all keys of an account, or those
/// of a list. A request for an account names no keys: all keys that are not revoked at confirmation are revoked.
package struct StaffConfirmation: Sendable, Equatable {
  /// The most keys that one member of staff can revoke together without a confirmation.
  static let soloKeyCountMax = 25
  /// How long it can be confirmed.
  package static let lifetime: Duration = .seconds(24 * 3_600)

  package var id: UUID
  /// Nil for a list of keys, which may belong to many accounts.
  package var accountID: UUID?
  package var accountName: String?
  /// The listed keys, in ascending order; nil for all keys of an account.
  package var keyIDs: [UUID]?
  /// The number of unrevoked keys at the time of the request.
  package var keyCount: Int
  package var requesterID: UUID
  package var requesterName: String
  package var reason: SupportReason
  package var createdAt: Date
  package var expiresAt: Date

  /// Throws `.forbidden` for the requester.
  func checkConfirmation(by caller: Caller) throws(PortalError) {
    guard caller.actor.id != requesterID else {
      throw .forbidden(reason: "You requested this revocation; another member of staff must confirm it.")
    }
  }
}

extension StaffConfirmation {
  /// The settings that permit taking it and recording that.
  var settings: PostgresSettings { accountID.map { .staff(in: $0) } ?? .staff }
}

/// The result of a request to revoke many keys.
package enum KeysRevocation: Sendable {
  case done(keyCount: Int, propagation: Propagation)
  /// Another member of staff has to confirm it.
  case waits(StaffConfirmation)
}
