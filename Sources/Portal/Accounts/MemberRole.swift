/// A member's role in an account. Each role permits everything that the roles before it permit.
package enum MemberRole: String, Sendable, CaseIterable, Comparable {
  case viewer, developer, admin, owner

  private var rank: Int {
    switch self {
    case .viewer: 0
    case .developer: 1
    case .admin: 2
    case .owner: 3
    }
  }

  package static func < (one: MemberRole, other: MemberRole) -> Bool { one.rank < other.rank }

  package func permits(_ permission: MemberPermission) -> Bool { permission.leastRole <= self }
}

/// The permission that a route of an account requires. Each route names one of these, and `leastRole` alone decides
/// which roles have it.
package enum MemberPermission: String, Sendable, CaseIterable {
  /// Using one's own session, listing one's own accounts, leaving an account.
  case useSession
  case readKeys
  case readUsage
  case readAudit
  case readMembers
  /// Creating, changing, rolling and revoking keys.
  case changeKeys
  /// Inviting and removing members and changing their roles. For owners, only an owner may do this.
  case changeMembers
  /// Changing the rules for all keys of the account.
  case changePolicy
  /// Deleting the account.
  case closeAccount

  var leastRole: MemberRole {
    switch self {
    case .useSession, .readKeys, .readUsage, .readAudit, .readMembers: .viewer
    case .changeKeys: .developer
    case .changeMembers, .changePolicy: .admin
    case .closeAccount: .owner
    }
  }
}
