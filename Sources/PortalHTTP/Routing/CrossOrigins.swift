import Foundation
import HTTPTypes
import Hummingbird

/// The origins, besides the portal's own, whose pages may send requests to this server and read the answers (CORS, in
/// the Fetch standard).
package struct CrossOrigins: Sendable, Equatable {
  package static let none = CrossOrigins(origins: [])

  private let origins: Set<String>

  /// Parses origins separated by commas, each as ``SessionCookie`` parses the portal's; nil if one is not an origin.
  /// There is no `*`.
  package init?(_ text: String) {
    let parts = text.split(separator: ",", omittingEmptySubsequences: false).map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    let origins = parts == [""] ? [] : parts.map { $0.contains("*") ? nil : SessionCookie(publicURL: $0)?.origin }
    guard origins.allSatisfy({ $0 != nil }) else { return nil }
    self.origins = Set(origins.compactMap { $0 })
  }

  private init(origins: Set<String>) { self.origins = origins }

  package var isEmpty: Bool { origins.isEmpty }

  /// The origin of the page that sent the request, if it is allowed.
  func origin(of request: Request) -> String? {
    request.headers[.origin].flatMap { origins.contains($0) ? $0 : nil }
  }
}

/// Tells browsers which other origins may send requests. They may not use cookies: without
/// `Access-Control-Allow-Credentials`, their pages cannot read the answer to a request with a cookie.
///
/// The routes of gateways are excluded. Their service token does not belong in any page, and they may be answered
/// before the HTTP decoder, where origins are not checked.
package struct CrossOriginMiddleware: RouterMiddleware {
  private static let requestHeaders = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match"
  private static let exposedHeaders =
    "ETag, RateLimit, RateLimit-Policy, Retry-After, X-Latchkey-Complete-Through, X-Request-Id"
  /// How long a browser may cache the answer to a preflight request.
  private static let maxAgeSeconds = 600

  private let origins: CrossOrigins
  private let table: RouteTable
  private let gatewayPaths: Set<String>

  package init(origins: CrossOrigins, table: RouteTable, gatewayPaths: Set<String>) {
    self.origins = origins
    self.table = table
    self.gatewayPaths = gatewayPaths
  }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    if gatewayPaths.contains(request.uri.path) { return try await next(request, context) }
    let origin = origins.origin(of: request)
    var response: Response
    if let origin, let answer = preflight(request) {
      response = answer
      response.headers[.xRequestID] = context.id
      response.headers[.accessControlAllowOrigin] = origin
    } else {
      response = try await next(request, context)
      if let origin {
        response.headers[.accessControlAllowOrigin] = origin
        response.headers[.accessControlExposeHeaders] = Self.exposedHeaders
      }
    }
    // Also without an origin, so that no cache serves the answer to a request from another one.
    response.headers[values: .vary].append("Origin")
    return response
  }

  /// The answer to a preflight request; nil for any other request.
  private func preflight(_ request: Request) -> Response? {
    guard request.method == .options, request.headers[.accessControlRequestMethod] != nil else { return nil }
    let methods = table.methods(at: request.uri.path)
    guard !methods.isEmpty, !RouteTable.hasEmptySegment(request.uri.path) else { return nil }
    return Response(
      status: .noContent,
      headers: [
        .accessControlAllowMethods: methods.map(\.rawValue).sorted().joined(separator: ", "),
        .accessControlAllowHeaders: Self.requestHeaders, .accessControlMaxAge: "\(Self.maxAgeSeconds)",
      ])
  }
}
