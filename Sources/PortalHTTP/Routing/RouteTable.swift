package import Hummingbird
package import Portal
import Synchronization

/// All routes, by path: for 405 with `Allow`, and for the test that compares the documentation with them.
package final class RouteTable: Sendable {
  private struct Route {
    let segments: [String]
    let method: HTTPRequest.Method

    init(_ path: RouterPath, _ method: HTTPRequest.Method) {
      segments = path.description.split(separator: "/").map(String.init)
      self.method = method
    }

    var name: String { "\(method.rawValue) /" + segments.joined(separator: "/") }
  }

  private let routes = Mutex<[Route]>([])
  private let required = Mutex<[String: MemberPermission]>([:])
  private let requiredOfStaff = Mutex<[String: StaffPermission]>([:])
  private let requiredOfTokens = Mutex<[String: ServiceToken.Permission]>([:])

  package init() {}

  /// Every route as `GET /v1/keys/{id}`, sorted.
  package var all: [String] {
    routes.withLock { $0.map(\.name) }.sorted()
  }

  /// The permissions that the routes of an account's members require, by route as in ``all``.
  package var permissions: [String: MemberPermission] { required.withLock { $0 } }

  /// The permissions that the routes of staff require, by route as in ``all``.
  package var staffPermissions: [String: StaffPermission] { requiredOfStaff.withLock { $0 } }

  /// The permissions that the routes of service tokens require, by route as in ``all``.
  package var tokenPermissions: [String: ServiceToken.Permission] { requiredOfTokens.withLock { $0 } }

  /// The methods of a path; empty if there is no such path. As in the router, a path that matches a route without
  /// parameters is not also matched as an id.
  package func methods(at path: String) -> [HTTPRequest.Method] {
    // HEAD is answered wherever GET is (RFC 9110 9.3.2).
    routes(at: path).flatMap { $0.method == .get ? [.get, .head] : [$0.method] }
  }

  /// The route that handles a request, as in ``all``; nil if there is none.
  package func route(at path: String, _ method: HTTPRequest.Method) -> String? {
    routes(at: path).first { $0.method == (method == .head ? .get : method) }?.name
  }

  private func routes(at path: String) -> [Route] {
    guard !Self.hasEmptySegment(path) else { return [] }
    let segments = path.split(separator: "/")
    return routes.withLock { routes in
      let matches = routes.filter { route in
        route.segments.count == segments.count
          && zip(route.segments, segments).allSatisfy { $0 == $1 || $0.hasPrefix("{") }
      }
      let literal = matches.filter { route in !route.segments.contains { $0.hasPrefix("{") } }
      return literal.isEmpty ? matches : literal
    }
  }

  /// Whether the path has two slashes in a row, or one at its end. The path `/` has no segments.
  static func hasEmptySegment(_ path: String) -> Bool {
    if path.utf8.elementsEqual("/".utf8) { return false }
    var last: UInt8?
    for byte in path.utf8 {
      if byte == UInt8(ascii: "/"), byte == last { return true }
      last = byte
    }
    return last == UInt8(ascii: "/")
  }

  func require(_ permission: MemberPermission, at path: RouterPath, _ method: HTTPRequest.Method) {
    required.withLock { $0[Route(path, method).name] = permission }
  }

  func require(_ permission: StaffPermission, at path: RouterPath, _ method: HTTPRequest.Method) {
    requiredOfStaff.withLock { $0[Route(path, method).name] = permission }
  }

  func require(_ permission: ServiceToken.Permission, at path: RouterPath, _ method: HTTPRequest.Method) {
    requiredOfTokens.withLock { $0[Route(path, method).name] = permission }
  }

  fileprivate func record(_ path: RouterPath, _ method: HTTPRequest.Method) {
    routes.withLock { $0.append(Route(path, method)) }
  }
}

/// A router that records the routes that are added to it.
package struct RecordingRouter: RouterMethods {
  package typealias Context = AppRequestContext

  private let router: Router<AppRequestContext>
  package let table: RouteTable

  package init(router: Router<AppRequestContext>, table: RouteTable) {
    self.router = router
    self.table = table
  }

  @discardableResult
  package func on<Responder: HTTPResponder>(
    _ path: RouterPath, method: HTTPRequest.Method, responder: Responder
  ) -> Self where Responder.Context == Context {
    table.record(path, method)
    router.on(path, method: method, responder: responder)
    // Answered as GET is; ``ProblemMiddleware`` leaves out the body. The framework's own HEAD would answer with the
    // size 0 where it is not known.
    if method == .get { router.on(path, method: .head, responder: responder) }
    return self
  }

  @discardableResult
  package func add(middleware: any MiddlewareProtocol<Request, Response, Context>) -> Self {
    router.add(middleware: middleware)
    return self
  }
}
