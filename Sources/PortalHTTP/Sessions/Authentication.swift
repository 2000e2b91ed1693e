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

/// Lets in a service token that has the permission.
struct GatewayAuthentication: RouterMiddleware {
  let tokens: ServiceTokenCheck
  let permission: ServiceToken.Permission
  /// The header that the token is in; nil for `Authorization: Bearer`.
  var header: HTTPField.Name?

  func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    let presented = if let header { request.headers[header].map { Secret(presented: $0) } } else { request.bearer }
    guard let secret = presented else { throw PortalError.unauthenticated }
    let token = try await tokens.find(secret)
    try token.require(permission)
    var context = context
    context.token = token
    context.tokenSecret = secret
    return try await next(request, context)
  }
}

/// Lets in a service token for analytics, and staff.
struct AnalystAuthentication: RouterMiddleware {
  let tokens: ServiceTokenCheck
  let sessions: Sessions
  /// Whether staff without a second factor are refused.
  let needsSecondFactor: Bool

  func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    guard let secret = request.bearer else { throw PortalError.unauthenticated }
    var context = context
    if secret.isWellFormed(prefix: ServiceToken.secretPrefix) {
      let token = try await tokens.find(secret)
      try token.require(.readAnalytics)
      context.token = token
    } else {
      let session = try await sessions.findStaff(secret)
      try session.member.require(.readUsage)
      if needsSecondFactor { try session.requireSecondFactor() }
      context.staff = session
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

extension ServiceToken {
  fileprivate func require(_ permission: Permission) throws(PortalError) {
    guard permissions.contains(permission) else {
      throw .forbidden(reason: "The token lacks the permission \(permission.rawValue).")
    }
  }
}
