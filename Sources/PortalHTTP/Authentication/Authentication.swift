package import Foundation
package import HTTPTypes
package import Hummingbird
package import Portal

/// Authenticates a customer by bearer token or cookie.
package struct MemberAuthentication: RouterMiddleware {
  private let sessions: Sessions
  private let cookie: SessionCookie
  private let limits: RequestLimits

  package init(sessions: Sessions, cookie: SessionCookie, limits: RequestLimits) {
    self.sessions = sessions
    self.cookie = cookie
    self.limits = limits
  }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    var context = context
    let (session, token) = try await limits.identifying(context) { try await find(request) }
    try limits.session?.count(session.id)
    context.member = session
    context.memberToken = token
    return try await next(request, context)
  }

  private func find(_ request: Request) async throws -> (MemberSession, Secret) {
    let token = try token(of: request)
    return (try await sessions.find(token), token)
  }

  private func token(of request: Request) throws -> Secret {
    if let bearer = request.bearer { return bearer }
    guard let token = cookie.token(in: request) else { throw PortalError.unauthenticated }
    try cookie.checkOrigin(of: request)
    return token
  }
}

/// Authenticates a staff member by bearer token.
package struct StaffAuthentication: RouterMiddleware {
  private let sessions: Sessions
  private let limits: RequestLimits

  package init(sessions: Sessions, limits: RequestLimits) {
    self.sessions = sessions
    self.limits = limits
  }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    var context = context
    let session = try await limits.identifying(context) { () async throws -> StaffSession in
      guard let token = request.bearer else { throw PortalError.unauthenticated }
      return try await sessions.findStaff(token)
    }
    try limits.session?.count(session.id)
    context.staff = session
    return try await next(request, context)
  }
}

/// Authenticates a service token.
package struct ServiceTokenAuthentication: RouterMiddleware {
  private let tokens: ServiceTokenVerifier
  /// The header that the token is in; nil for `Authorization: Bearer`.
  private var header: HTTPField.Name?
  private let limits: RequestLimits
  /// The limit among `limits` that the requests of these tokens count towards; nil if there is none.
  private let limit: RequestLimit<UUID>?

  package init(
    tokens: ServiceTokenVerifier, header: HTTPField.Name? = nil, limits: RequestLimits, limit: RequestLimit<UUID>?
  ) {
    self.tokens = tokens
    self.header = header
    self.limits = limits
    self.limit = limit
  }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    let presented = if let header { request.headers[header].map { Secret(presented: $0) } } else { request.bearer }
    var context = context
    let (token, secret) = try await limits.identifying(context) { () async throws -> (ServiceToken, Secret) in
      guard let secret = presented else { throw PortalError.unauthenticated }
      return (try await tokens.find(secret), secret)
    }
    try limit?.count(token.id)
    context.token = token
    context.tokenSecret = secret
    return try await next(request, context)
  }
}

/// Authenticates a service token or a staff member, by bearer token.
package struct CompanyAuthentication: RouterMiddleware {
  private let tokens: ServiceTokenVerifier
  private let sessions: Sessions
  private let limits: RequestLimits

  package init(tokens: ServiceTokenVerifier, sessions: Sessions, limits: RequestLimits) {
    self.tokens = tokens
    self.sessions = sessions
    self.limits = limits
  }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    var context = context
    let (token, session) = try await limits.identifying(context) { try await find(request) }
    if let token { try limits.token?.count(token.id) }
    if let session { try limits.session?.count(session.id) }
    (context.token, context.staff) = (token, session)
    return try await next(request, context)
  }

  private func find(_ request: Request) async throws -> (ServiceToken?, StaffSession?) {
    guard let secret = request.bearer else { throw PortalError.unauthenticated }
    return secret.isWellFormed(prefix: ServiceToken.secretPrefix)
      ? (try await tokens.find(secret), nil) : (nil, try await sessions.findStaff(secret))
  }
}

/// Authenticates a service token, which has a form of its own, or a customer.
package struct AccountListAuthentication: RouterMiddleware {
  private let tokens: ServiceTokenAuthentication
  private let members: MemberAuthentication

  package init(tokens: ServiceTokenAuthentication, members: MemberAuthentication) {
    self.tokens = tokens
    self.members = members
  }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    if let bearer = request.bearer, bearer.isWellFormed(prefix: ServiceToken.secretPrefix) {
      return try await tokens.handle(request, context: context, next: next)
    }
    return try await members.handle(request, context: context, next: next)
  }
}

/// Reads `X-On-Behalf-Of`, which names the person that a backend acts for. The audit trail records it with the changes.
package struct OnBehalfMiddleware: RouterMiddleware {
  package init() {}

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    let values = request.headers[values: .xOnBehalfOf]
    guard let text = values.first else { return try await next(request, context) }
    guard values.count == 1, (1...Caller.onBehalfOfLengthMax).contains(text.utf8.count),
      text.utf8.allSatisfy({ (0x20...0x7E).contains($0) })
    else {
      throw InvalidRequest(
        "header.X-On-Behalf-Of",
        "must be sent once, with 1 to \(Caller.onBehalfOfLengthMax) printable ASCII characters")
    }
    var context = context
    context.onBehalfOf = text
    return try await next(request, context)
  }
}

// Safe: it is a valid name.
// swift-format-ignore: NeverForceUnwrap
extension HTTPField.Name {
  fileprivate static let xOnBehalfOf = HTTPField.Name("X-On-Behalf-Of")!
}

extension StaffSession {
  /// Throws `.enrolmentRequired` if the staff member has none.
  func requireSecondFactor() throws(PortalError) {
    guard hasSecondFactor else { throw .enrolmentRequired }
  }
}

extension RequestLimits {
  /// Authenticates a request with `find`. If that fails, the request counts towards the limit of its address, so that
  /// guessing is limited. It is counted afterwards, because a valid session must not be limited by others at its
  /// address. A wrong token therefore costs its look-up even if the address has reached its limit.
  package func identifying<Found>(
    _ context: AppRequestContext, _ find: () async throws -> Found
  ) async throws -> Found {
    do {
      return try await find()
    } catch {
      if error is Problem || error as? PortalError == .unauthenticated {
        try countAddress(context.clientAddress)
      }
      throw error
    }
  }
}
