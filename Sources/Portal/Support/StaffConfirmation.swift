package import Foundation

/// That all keys of an account be revoked, which one member of staff asked for and another has to confirm. It names no
/// keys: whichever are alive when it is confirmed are revoked.
package struct StaffConfirmation: Sendable, Equatable {
  /// Keys that one member of staff revokes at once without another.
  package static let soloKeyCountMax = 25
  /// For how long it can be confirmed.
  package static let lifetime: Duration = .seconds(24 * 3_600)

  package var id: UUID
  package var accountID: UUID
  package var accountName: String
  /// As of when it was asked for.
  package var keyCount: Int
  package var requesterID: UUID
  package var requesterName: String
  package var reason: SupportReason
  package var createdAt: Date
  package var expiresAt: Date

  /// Throws `.forbidden` for whoever asked for it.
  func checkConfirmation(by caller: Caller) throws(PortalError) {
    guard caller.actor.id != requesterID else {
      throw .forbidden(reason: "You asked for it yourself; another member of staff has to confirm it.")
    }
  }
}

/// What came of asking that all keys of an account be revoked.
package enum KeysRevocation: Sendable {
  case done(keyCount: Int, propagation: Propagation)
  case waits(StaffConfirmation)
}
