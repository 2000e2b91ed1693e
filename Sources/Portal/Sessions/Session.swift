package import Foundation

/// A customer who is logged in, within the account that the session is for.
package struct CustomerSession: Sendable {
  package var user: User
  package var account: Account
  package var role: Role
  package var expiresAt: Date

  /// Who to name in the audit trail.
  package func caller(ip: String?) -> Caller {
    Caller(actor: .user(id: user.id, email: user.email), ip: ip)
  }
}

/// A member of staff who is logged in.
package struct StaffSession: Sendable {
  package var member: StaffMember
  package var expiresAt: Date

  /// Who to name in the audit trail.
  package func caller(ip: String?) -> Caller {
    Caller(actor: .staff(id: member.id, name: member.name), ip: ip)
  }
}

/// A session together with its token: the one moment at which the token can be handed over.
package struct Login<Session: Sendable>: Sendable {
  package var session: Session
  package var token: Secret
}
