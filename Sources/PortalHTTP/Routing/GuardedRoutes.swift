package import Hummingbird

/// Routes that each name the right they require, so that none can omit the check.
package struct GuardedRoutes<Context: RequestContext, Right: Sendable> {
  package typealias Handler = @Sendable (Request, Context) async throws -> Response

  private let group: RouterGroup<Context>
  private let record: (Right, RouterPath, HTTPRequest.Method) -> Void
  private let check: @Sendable (Right, Context) throws -> Void

  /// `record` is called for each route; `check` throws if the context does not have the right.
  package init(
    _ group: RouterGroup<Context>, record: @escaping (Right, RouterPath, HTTPRequest.Method) -> Void,
    check: @escaping @Sendable (Right, Context) throws -> Void
  ) {
    self.group = group
    self.record = record
    self.check = check
  }

  package func get(
    _ path: RouterPath, _ right: Right, query: [QueryParameter]? = [], use handler: @escaping Handler
  ) { on(path, .get, right, query: query, handler) }

  package func post(_ path: RouterPath, _ right: Right, use handler: @escaping Handler) {
    on(path, .post, right, handler)
  }

  package func put(_ path: RouterPath, _ right: Right, use handler: @escaping Handler) {
    on(path, .put, right, handler)
  }

  package func patch(_ path: RouterPath, _ right: Right, use handler: @escaping Handler) {
    on(path, .patch, right, handler)
  }

  package func delete(_ path: RouterPath, _ right: Right, use handler: @escaping Handler) {
    on(path, .delete, right, handler)
  }

  /// Refuses a query with parameters other than those given. If `query` is nil, the query is not checked.
  package func on(
    _ path: RouterPath, _ method: HTTPRequest.Method, _ right: Right, query: [QueryParameter]? = [],
    _ handler: @escaping Handler
  ) {
    record(right, path, method)
    group.on(path, method: method) { [check] request, context in
      try check(right, context)
      if let query { try request.checkQuery(query) }
      return try await handler(request, context)
    }
  }
}
