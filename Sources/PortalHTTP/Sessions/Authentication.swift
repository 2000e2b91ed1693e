import HTTPTypes
import Hummingbird
import Portal

/// Finds out which customer is logged in, by bearer token or cookie.
struct CustomerAuthentication: RouterMiddleware {
  let sessions: Sessions
  let cookie: SessionCookie

  func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    var context = context
    let token = try token(of: request)
    context.customer = try await sessions.find(token)
    context.customerToken = token
    return try await next(request, context)
  }

  private func token(of request: Request) throws -> Secret {
    if let bearer = request.bearer { return bearer }
    guard let token = cookie.token(in: request) else { throw PortalError.unauthenticated }
    try cookie.checkOrigin(of: request)
    return token
  }
}

/// Finds out which member of staff is logged in, by bearer token.
struct StaffAuthentication: RouterMiddleware {
  let sessions: Sessions

  func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    guard let token = request.bearer else { throw PortalError.unauthenticated }
    var context = context
    context.staff = try await sessions.findStaff(token)
    return try await next(request, context)
  }
}

/// Finds out which service token somebody shows.
struct GatewayAuthentication: RouterMiddleware {
  let tokens: ServiceTokenCheck
  /// The header that the token is in; nil for `Authorization: Bearer`.
  var header: HTTPField.Name?

  func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    let presented = if let header { request.headers[header].map { Secret(presented: $0) } } else { request.bearer }
    guard let secret = presented else { throw PortalError.unauthenticated }
    var context = context
    context.token = try await tokens.find(secret)
    context.tokenSecret = secret
    return try await next(request, context)
  }
}

/// Finds out which service token somebody shows, or which member of staff is logged in.
struct AnalystAuthentication: RouterMiddleware {
  let tokens: ServiceTokenCheck
  let sessions: Sessions

  func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    guard let secret = request.bearer else { throw PortalError.unauthenticated }
    var context = context
    if secret.isWellFormed(prefix: ServiceToken.secretPrefix) {
      context.token = try await tokens.find(secret)
    } else {
      context.staff = try await sessions.findStaff(secret)
    }
    return try await next(request, context)
  }
}

extension StaffSession {
  /// Throws `.enrolmentRequired` for who has none.
  func requireSecondFactor() throws(PortalError) {
    guard hasSecondFactor else { throw .enrolmentRequired }
  }
}
