package import Foundation

/// An offer of membership to an e-mail address. Accepting it takes its token and the password of that address, which a
/// new user sets.
package struct Invitation: Sendable, Equatable {
  /// Of an account, that were neither taken nor taken back nor are over.
  package static let openCountMax = 100
  /// How long it is good for; its token lives as long from when it is sent.
  static let lifetime: Duration = OneTimeToken.Purpose.invitation.lifetime

  package var id: UUID
  package var email: String
  package var role: MemberRole
  /// Who invited.
  package var inviterName: String
  package var createdAt: Date
  package var expiresAt: Date
}
