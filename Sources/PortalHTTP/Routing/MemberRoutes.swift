import Hummingbird
import Portal

/// The routes of an account's members.
typealias MemberRoutes = GuardedRoutes<CustomerContext, Permission>

extension GuardedRoutes<CustomerContext, Permission> {
  init(_ group: RouterGroup<CustomerContext>, table: RouteTable) {
    self.init(group, record: { table.require($0, at: $1, $2) }, check: { try $1.session.require($0) })
  }
}
