import Hummingbird
import Portal
import PortalHTTP

/// Authenticates the holder of a key by the key, in `X-API-Key` or as a bearer token.
struct HeldKeyAuthentication: RouterMiddleware {
  let held: HeldKeys
  let limits: RequestLimits

  func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    var context = context
    let found = try await limits.identifying(context) { () async throws -> HeldKey in
      guard let presented = KeyPlaces.standard.key(in: request.headers) else { throw PortalError.unauthenticated }
      return try await held.find(presented)
    }
    try limits.session?.count(found.key.id)
    context.heldKey = found
    return try await next(request, context)
  }
}
