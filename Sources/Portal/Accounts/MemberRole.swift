/// What a member is in an account. Each may do all that those before it may.
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

/// What a route of an account takes. This is the table of what each role may do; every route names one of these, and
/// nothing else decides.
package enum MemberPermission: String, Sendable, CaseIterable {
  /// Their own session, their own accounts, leaving.
  case useSession
  case readKeys
  case readUsage
  case readAudit
  case readMembers
  /// Making, changing, rolling and revoking keys.
  case changeKeys
  /// Inviting, removing, changing roles; those of owners only as an owner.
  case changeMembers
  /// What holds for all keys of the account.
  case changePolicy
  /// The end of the account.
  case closeAccount

  package var leastRole: MemberRole {
    switch self {
    case .useSession, .readKeys, .readUsage, .readAudit, .readMembers: .viewer
    case .changeKeys: .developer
    case .changeMembers, .changePolicy: .admin
    case .closeAccount: .owner
    }
  }
}
