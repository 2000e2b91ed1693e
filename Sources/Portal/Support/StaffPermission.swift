/// The permission that a route for staff requires. `roles` alone decides which roles have it; every such route names
/// one.
package enum StaffPermission: String, Sendable, CaseIterable {
  /// Using one's own session.
  case useSession
  /// Searching keys and accounts; reading plans, instances and pending confirmations.
  case readCustomers
  /// Reading the usage of all accounts.
  case readUsage
  /// Revoking keys; requesting, confirming and withdrawing revocations.
  case revokeKeys
  /// Suspending and resuming accounts.
  case suspendAccounts
  /// Changing plans and assigning them to accounts.
  case changePlans
  /// Listing and changing apis, permissions and roles.
  case changeCatalog
  /// Changing the roles and permissions of keys.
  case grantKeys
  /// Listing and changing service tokens.
  case changeTokens
  /// Listing and changing members of staff.
  case changeStaff
  /// Exporting and erasing what is stored about a customer.
  case changePeople
  /// Listing and changing the namespaces and overrides of standalone limits.
  case changeLimits
  /// Changing the credits of keys and accounts.
  case changeCredits

  package var roles: Set<StaffMember.Role> {
    switch self {
    case .useSession, .readCustomers, .readUsage, .revokeKeys, .suspendAccounts: [.support, .admin]
    case .changePlans, .changeCatalog, .grantKeys, .changeTokens, .changeStaff, .changePeople, .changeLimits,
      .changeCredits:
      [.admin]
    }
  }
}

extension StaffMember.Role {
  package func permits(_ permission: StaffPermission) -> Bool { permission.roles.contains(self) }
}

extension StaffMember {
  /// Throws `.forbidden` if the role does not have the permission.
  package func require(_ permission: StaffPermission) throws(PortalError) {
    guard role.permits(permission) else {
      let roles = permission.roles.map(\.rawValue).sorted().joined(separator: " or ")
      throw .forbidden(reason: "Requires the staff role \(roles); yours is \(role.rawValue).")
    }
  }
}
