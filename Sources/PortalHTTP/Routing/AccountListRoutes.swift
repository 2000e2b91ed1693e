package import Hummingbird
package import Portal

/// The permissions that a route requires of a customer and of a service token.
package struct AccountListPermission {
  package let member: MemberPermission
  package let token: ServiceToken.Permission

  package static let listAccounts = AccountListPermission(member: .useSession, token: .readAccounts)
}

/// The routes of customers and service tokens.
package typealias AccountListRoutes = GuardedRoutes<AccountListContext, AccountListPermission>

extension GuardedRoutes<AccountListContext, AccountListPermission> {
  package init(_ group: RouterGroup<AccountListContext>, table: RouteTable) {
    self.init(
      group,
      record: { permission, path, method in
        table.require(permission.member, at: path, method)
        table.require(permission.token, at: path, method)
      },
      check: { permission, context in
        switch context.lister {
        case .member(let session): try session.require(permission.member)
        case .token(let token): try token.require(permission.token)
        }
      })
  }
}
