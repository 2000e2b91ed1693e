package import Hummingbird
package import Portal

/// The permissions that a route of the company requires: of a service token, and of staff.
package struct CompanyPermission {
  package let token: ServiceToken.Permission
  /// Another one that is enough for a service token.
  package var otherToken: ServiceToken.Permission?
  package let staff: StaffPermission

  package static let readUsage = CompanyPermission(token: .readAnalytics, staff: .readUsage)
  package static let readCatalog = CompanyPermission(token: .readCatalog, staff: .changeCatalog)
  package static let changeCatalog = CompanyPermission(token: .writeCatalog, staff: .changeCatalog)
  package static let grantKeys = CompanyPermission(token: .grantKeys, staff: .grantKeys)
  package static let readLimits = CompanyPermission(
    token: .writeLimits, otherToken: .useLimits, staff: .changeLimits)
  package static let changeLimits = CompanyPermission(token: .writeLimits, staff: .changeLimits)
  package static let readKeyCredits = CompanyPermission(token: .readKeys, staff: .readCustomers)
  package static let changeKeyCredits = CompanyPermission(token: .writeKeys, staff: .changeCredits)
  package static let readAccountCredits = CompanyPermission(token: .readAccounts, staff: .readCustomers)
  package static let changeAccountCredits = CompanyPermission(token: .writeAccounts, staff: .changeCredits)
}

/// The routes of the company that runs the portal: its machines, with service tokens, and its staff.
package typealias CompanyRoutes = GuardedRoutes<CompanyContext, CompanyPermission>

extension GuardedRoutes<CompanyContext, CompanyPermission> {
  package init(_ group: RouterGroup<CompanyContext>, needsStaffSecondFactor: Bool, table: RouteTable) {
    self.init(
      group,
      record: { permission, path, method in
        table.require(permission.token, at: path, method)
        table.require(permission.staff, at: path, method)
      },
      check: { permission, context in
        switch context.holder {
        case .token(let token):
          if let other = permission.otherToken, token.permissions.contains(other) { return }
          try token.require(permission.token)
        case .staff(let session):
          try session.member.require(permission.staff)
          if needsStaffSecondFactor { try session.requireSecondFactor() }
        }
      })
  }
}
