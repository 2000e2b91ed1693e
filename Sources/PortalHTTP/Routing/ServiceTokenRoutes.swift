import Hummingbird
import Portal

/// The routes of service tokens.
package typealias ServiceTokenRoutes = GuardedRoutes<ServiceTokenContext, ServiceToken.Permission>

extension GuardedRoutes<ServiceTokenContext, ServiceToken.Permission> {
  package init(_ group: RouterGroup<ServiceTokenContext>, table: RouteTable) {
    self.init(group, record: { table.require($0, at: $1, $2) }, check: { try $1.token.require($0) })
  }
}

extension ServiceToken {
  /// Throws `.forbidden` if the token does not have the permission.
  package func require(_ permission: MemberPermission) throws(PortalError) {
    guard permissions.contains(permission) else {
      throw .forbidden(reason: "The token lacks the permission \(permission.rawValue).")
    }
  }
}
