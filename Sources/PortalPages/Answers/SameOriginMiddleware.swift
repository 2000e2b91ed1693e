import HTTPTypes
package import Hummingbird
package import PortalHTTP

/// Refuses changes that a page of another origin made a browser send, whether or not there is a session: signing a
/// reader in as somebody else is such a change, too.
package struct SameOriginMiddleware: RouterMiddleware {
  private let cookie: SessionCookie

  package init(cookie: SessionCookie) { self.cookie = cookie }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    if [.get, .head].contains(request.method) { return try await next(request, context) }
    let site = request.headers[.secFetchSite]
    guard request.headers[.origin] == cookie.origin, site == nil || site == "same-origin" else {
      throw Problem(
        .forbidden, .originNotAllowed, "Forms are only accepted from the pages at \(cookie.origin).")
    }
    return try await next(request, context)
  }
}

// Safe: they are valid names.
// swift-format-ignore: NeverForceUnwrap
extension HTTPField.Name {
  static let secFetchSite = HTTPField.Name("Sec-Fetch-Site")!
  static let referrerPolicy = HTTPField.Name("Referrer-Policy")!
  static let crossOriginOpenerPolicy = HTTPField.Name("Cross-Origin-Opener-Policy")!
  static let permissionsPolicy = HTTPField.Name("Permissions-Policy")!
}
