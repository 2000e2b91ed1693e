/// What a route of staff takes. This is the table of what each of their roles may do; every such route names one of
/// these, and nothing else decides.
package enum StaffPermission: String, Sendable, CaseIterable {
  /// Their own session.
  case useSession
  /// Looking for keys and accounts, and at plans, instances and what waits to be confirmed.
  case readCustomers
  /// Usage of all accounts.
  case readUsage
  /// Also asking for it, confirming and withdrawing.
  case revokeKeys
  /// And resuming.
  case suspendAccounts
  /// What plans allow, and which account has which.
  case changePlans
  /// Service tokens, their list included.
  case changeTokens
  /// The people among staff, their list included.
  case changeStaff
  /// Handing out, and erasing, all that is stored about a customer.
  case changePeople

  package var roles: Set<StaffMember.Role> {
    switch self {
    case .useSession, .readCustomers, .readUsage, .revokeKeys, .suspendAccounts: [.support, .admin]
    case .changePlans, .changeTokens, .changeStaff, .changePeople: [.admin]
    }
  }
}

extension StaffMember.Role {
  package func permits(_ permission: StaffPermission) -> Bool { permission.roles.contains(self) }
}

extension StaffMember {
  /// Throws `.forbidden` for somebody whose role does not allow it.
  package func require(_ permission: StaffPermission) throws(PortalError) {
    guard role.permits(permission) else {
      let roles = permission.roles.map(\.rawValue).sorted().joined(separator: " or ")
      throw .forbidden(reason: "Requires the staff role \(roles); yours is \(role.rawValue).")
    }
  }
}
