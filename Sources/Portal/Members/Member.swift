package import Foundation

/// A person in an account.
package struct Member: Sendable, Equatable {
  package var user: User
  package var role: MemberRole
  package var joinedAt: Date
}

/// An account in the list of a member's own accounts.
package struct OwnAccount: Sendable, Equatable {
  package var id: UUID
  package var name: String
  package var role: MemberRole
  package var suspendedAt: Date?
}
