import Hummingbird
import Portal

/// The routes of staff. Each says what it takes to use it, so that there is none that forgot to ask.
struct StaffRoutes {
  typealias Handler = @Sendable (Request, StaffContext) async throws -> Response

  private let group: RouterGroup<StaffContext>
  private let needsSecondFactor: Bool
  private let table: RouteTable

  /// With `needsSecondFactor`, who has none uses their own session and nothing else: so they can set one up.
  init(_ group: RouterGroup<StaffContext>, needsSecondFactor: Bool, table: RouteTable) {
    self.group = group
    self.needsSecondFactor = needsSecondFactor
    self.table = table
  }

  func get(_ path: RouterPath, _ permission: StaffPermission, use handler: @escaping Handler) {
    on(path, .get, permission, handler)
  }

  func post(_ path: RouterPath, _ permission: StaffPermission, use handler: @escaping Handler) {
    on(path, .post, permission, handler)
  }

  func put(_ path: RouterPath, _ permission: StaffPermission, use handler: @escaping Handler) {
    on(path, .put, permission, handler)
  }

  func delete(_ path: RouterPath, _ permission: StaffPermission, use handler: @escaping Handler) {
    on(path, .delete, permission, handler)
  }

  func on(
    _ path: RouterPath, _ method: HTTPRequest.Method, _ permission: StaffPermission, _ handler: @escaping Handler
  ) {
    table.require(permission, at: path, method)
    group.on(path, method: method) { [needsSecondFactor] request, context in
      try context.member.require(permission)
      if needsSecondFactor, permission != .useSession { try context.session.requireSecondFactor() }
      return try await handler(request, context)
    }
  }
}
