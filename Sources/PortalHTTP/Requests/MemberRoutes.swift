import Hummingbird
import Portal

/// The routes of an account's members. Each says what it takes to use it, so that there is none that forgot to ask.
struct MemberRoutes {
  typealias Handler = @Sendable (Request, CustomerContext) async throws -> Response

  private let group: RouterGroup<CustomerContext>
  private let table: RouteTable

  init(_ group: RouterGroup<CustomerContext>, table: RouteTable) {
    self.group = group
    self.table = table
  }

  func get(_ path: RouterPath, _ permission: Permission, use handler: @escaping Handler) {
    on(path, .get, permission, handler)
  }

  func post(_ path: RouterPath, _ permission: Permission, use handler: @escaping Handler) {
    on(path, .post, permission, handler)
  }

  func put(_ path: RouterPath, _ permission: Permission, use handler: @escaping Handler) {
    on(path, .put, permission, handler)
  }

  func patch(_ path: RouterPath, _ permission: Permission, use handler: @escaping Handler) {
    on(path, .patch, permission, handler)
  }

  func delete(_ path: RouterPath, _ permission: Permission, use handler: @escaping Handler) {
    on(path, .delete, permission, handler)
  }

  func on(_ path: RouterPath, _ method: HTTPRequest.Method, _ permission: Permission, _ handler: @escaping Handler) {
    table.require(permission, at: path, method)
    group.on(path, method: method) { request, context in
      try context.session.require(permission)
      return try await handler(request, context)
    }
  }
}
