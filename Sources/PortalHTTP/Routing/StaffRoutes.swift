import Hummingbird
import Portal

/// The routes of staff.
package typealias StaffRoutes = GuardedRoutes<StaffContext, StaffPermission>

extension GuardedRoutes<StaffContext, StaffPermission> {
  /// With `needsSecondFactor`, staff without one may only use their own session, where they can set one up.
  package init(_ group: RouterGroup<StaffContext>, needsSecondFactor: Bool, table: RouteTable) {
    self.init(group, record: { table.require($0, at: $1, $2) }) { permission, context in
      try context.member.require(permission)
      if needsSecondFactor, permission != .useSession { try context.session.requireSecondFactor() }
    }
  }
}
