import Hummingbird
import Portal

/// The permissions that an analyst route requires: of a service token, and of staff.
package struct AnalystPermission {
  package let token: ServiceToken.Permission
  package let staff: StaffPermission

  package static let readUsage = AnalystPermission(token: .readAnalytics, staff: .readUsage)
}

/// The routes of analysts: service tokens and staff.
package typealias AnalystRoutes = GuardedRoutes<AnalystContext, AnalystPermission>

extension GuardedRoutes<AnalystContext, AnalystPermission> {
  package init(_ group: RouterGroup<AnalystContext>, needsStaffSecondFactor: Bool, table: RouteTable) {
    self.init(
      group,
      record: { permission, path, method in
        table.require(permission.token, at: path, method)
        table.require(permission.staff, at: path, method)
      },
      check: { permission, context in
        switch context.analyst {
        case .token(let token): try token.require(permission.token)
        case .staff(let session):
          try session.member.require(permission.staff)
          if needsStaffSecondFactor { try session.requireSecondFactor() }
        }
      })
  }
}
