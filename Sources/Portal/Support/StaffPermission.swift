/// A permission that a staff route requires. This is the complete table of what each staff role may do: every staff
/// route names one of these, and nothing else decides.
package enum StaffPermission: String, Sendable, CaseIterable {
  /// Their own session.
  case useSession
  /// Search keys and accounts, and read plans, instances and pending confirmations.
  case readCustomers
  /// Read the usage of all accounts.
  case readUsage
  /// Revoke keys, and request, confirm and withdraw revocations.
  case revokeKeys
  /// Suspend and resume accounts.
  case suspendAccounts
  /// Change plans, and assign them to accounts.
  case changePlans
  /// List and change service tokens.
  case changeTokens
  /// List and change members of staff.
  case changeStaff
  /// Export and erase all data stored about a customer.
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
  /// Throws `.forbidden` if their role does not have the permission.
  package func require(_ permission: StaffPermission) throws(PortalError) {
    guard role.permits(permission) else {
      let roles = permission.roles.map(\.rawValue).sorted().joined(separator: " or ")
      throw .forbidden(reason: "This requires the staff role \(roles); yours is \(role.rawValue).")
    }
  }
}
