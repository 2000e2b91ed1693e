import Hummingbird
import Portal

/// The routes of service tokens. Each says which permission it takes, so that there is none that forgot to ask.
struct TokenRoutes {
  typealias Handler = @Sendable (Request, GatewayContext) async throws -> Response

  private let group: RouterGroup<GatewayContext>
  private let table: RouteTable

  init(_ group: RouterGroup<GatewayContext>, table: RouteTable) {
    self.group = group
    self.table = table
  }

  func get(_ path: RouterPath, _ permission: ServiceToken.Permission, use handler: @escaping Handler) {
    on(path, .get, permission, handler)
  }

  func post(_ path: RouterPath, _ permission: ServiceToken.Permission, use handler: @escaping Handler) {
    on(path, .post, permission, handler)
  }

  func patch(_ path: RouterPath, _ permission: ServiceToken.Permission, use handler: @escaping Handler) {
    on(path, .patch, permission, handler)
  }

  func delete(_ path: RouterPath, _ permission: ServiceToken.Permission, use handler: @escaping Handler) {
    on(path, .delete, permission, handler)
  }

  private func on(
    _ path: RouterPath, _ method: HTTPRequest.Method, _ permission: ServiceToken.Permission,
    _ handler: @escaping Handler
  ) {
    table.require(permission, at: path, method)
    group.on(path, method: method) { request, context in
      try context.token.require(permission)
      return try await handler(request, context)
    }
  }
}

/// The routes of analysts: service tokens and staff. Each says what it takes of either.
struct AnalystRoutes {
  typealias Handler = @Sendable (Request, AnalystContext) async throws -> Response

  private let group: RouterGroup<AnalystContext>
  private let needsStaffSecondFactor: Bool
  private let table: RouteTable

  init(_ group: RouterGroup<AnalystContext>, needsStaffSecondFactor: Bool, table: RouteTable) {
    self.group = group
    self.needsStaffSecondFactor = needsStaffSecondFactor
    self.table = table
  }

  func get(
    _ path: RouterPath, _ permission: ServiceToken.Permission, _ staffPermission: StaffPermission,
    use handler: @escaping Handler
  ) {
    table.require(permission, at: path, .get)
    table.require(staffPermission, at: path, .get)
    group.get(path) { [needsStaffSecondFactor] request, context in
      switch context.analyst {
      case .token(let token):
        try token.require(permission)
      case .staff(let session):
        try session.member.require(staffPermission)
        if needsStaffSecondFactor { try session.requireSecondFactor() }
      }
      return try await handler(request, context)
    }
  }
}

extension ServiceToken {
  fileprivate func require(_ permission: Permission) throws(PortalError) {
    guard permissions.contains(permission) else {
      throw .forbidden(reason: "The token lacks the permission \(permission.rawValue).")
    }
  }
}
