package import Foundation

/// The data stored about a customer, except keys and events, which may be many: see ``PersonExports/Export``. It
/// contains no secrets and no hashes of secrets.
package struct PersonRecord: Sendable {
  package struct Membership: Sendable {
    package var accountID: UUID
    package var accountName: String
    package var role: String
    package var joinedAt: Date
    package var accountDeletedAt: Date?
  }

  package struct Session: Sendable {
    package var accountID: UUID
    package var session: OpenSession
  }

  /// An invitation that the person received or sent.
  package struct Invitation: Sendable {
    package var id: UUID
    package var accountID: UUID
    package var email: String
    package var role: String
    package var inviterName: String
    package var createdAt: Date
    package var expiresAt: Date
    package var acceptedAt: Date?
    package var revokedAt: Date?
  }

  package struct Mail: Sendable {
    package var id: UUID
    package var kind: String
    package var recipient: String
    package var accountID: UUID?
    package var state: String
    package var createdAt: Date
    package var finishedAt: Date?
    /// The values in its text, as a JSON object.
    package var parameters: String
  }

  /// A token that was sent, without its secret.
  package struct OneTimeToken: Sendable {
    package var purpose: String
    package var email: String
    package var createdAt: Date
    package var expiresAt: Date
    package var usedAt: Date?
  }

  package var user: User
  package var createdAt: Date
  package var emailVerifiedAt: Date?
  package var secondFactorEnabledAt: Date?
  package var recoveryCodeCount: Int
  package var memberships: [Membership] = []
  package var sessions: [Session] = []
  package var invitations: [Invitation] = []
  package var mails: [Mail] = []
  package var tokens: [OneTimeToken] = []
}

/// A key that a person created.
package struct MadeKey: Sendable {
  package var id: UUID
  package var accountID: UUID
  package var name: String
  package var start: String?
  package var createdAt: Date
  package var revokedAt: Date?
}
