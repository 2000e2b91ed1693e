package import Foundation

/// An offer of membership to an e-mail address. Accepting it requires its token and the password of the user with that
/// address; a new user sets one.
package struct Invitation: Sendable, Equatable {
  /// The maximum number of open invitations of an account: neither accepted nor revoked nor expired.
  package static let openCountMax = 100
  /// How long an invitation is valid. The lifetime of its token is the same, from when it is sent.
  static let lifetime: Duration = OneTimeToken.Purpose.invitation.lifetime

  package var id: UUID
  package var email: String
  package var role: MemberRole
  /// The e-mail address of the inviter, or the name of the service token.
  package var inviterName: String
  package var createdAt: Date
  package var expiresAt: Date
}

/// An invitation that is about to be made.
struct NewInvitation: Sendable {
  let id = UUID.version7()
  var accountID: UUID
  var email: String
  var role: MemberRole
  /// The plan that an external account takes when its first person joins; nil: the default plan.
  var plan: String?
  /// The member who invites; nil for a backend.
  var inviterID: UUID?
  var inviterName: String
}
