import Hummingbird
import Portal

/// The routes of an account's members.
package typealias MemberRoutes = GuardedRoutes<MemberContext, MemberPermission>

extension GuardedRoutes<MemberContext, MemberPermission> {
  package init(_ group: RouterGroup<MemberContext>, table: RouteTable) {
    self.init(group, record: { table.require($0, at: $1, $2) }, check: { try $1.session.require($0) })
  }
}
