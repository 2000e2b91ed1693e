import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/signup`, `/v1/login`, `/v1/logout`, `/v1/me`, `/v1/accounts/{id}/switch`.
struct SessionsController {
  let accounts: Accounts
  let sessions: Sessions
  let credentials: Credentials
  let cookie: SessionCookie
  let isSignupOpen: Bool

  func addRoutes(to routes: PublicRoutes) {
    routes.post("v1/signup", .anybody, use: signUp)
    routes.post("v1/login", .anybody, use: logIn)
  }

  func addRoutes(to routes: MemberRoutes) {
    routes.post("v1/logout", .useSession, use: logOut)
    routes.get("v1/me", .useSession, use: me)
    routes.post("v1/accounts/{id}/switch", .useSession, use: switchAccount)
  }

  @Sendable private func signUp(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let body = try await SignUpBody(request)
    guard isSignupOpen else {
      throw PortalError.forbidden(reason: "Sign-up is closed; ask the operator for an account.")
    }
    try await credentials.admitSignUp(body.email, from: context.clientAddress)
    if credentials.isMailOpen {
      try await credentials.requestSignUp(
        name: body.accountName, email: body.email, password: body.password)
      return .mailAccepted
    }
    let created = try await accounts.create(
      name: body.accountName, email: body.email, password: body.password, by: .owner(ip: context.clientAddress))
    let login = try await sessions.open(
      for: created.user, in: created.account, from: context.origin(of: request))
    return response(login, status: .created)
  }

  @Sendable private func logIn(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let body = try await LogInBody(request)
    return response(
      try await sessions.logIn(
        email: body.email, password: body.password, code: body.code, from: context.origin(of: request),
        replacing: cookie.token(in: request)))
  }

  @Sendable private func logOut(_ request: Request, _ context: MemberContext) async throws -> Response {
    try await sessions.logOut(context.session, ip: context.caller.ip)
    return Response(status: .noContent, headers: [.setCookie: cookie.clearingHeader])
  }

  @Sendable private func me(_ request: Request, _ context: MemberContext) async throws -> Response {
    Response(json: .object { $0.fields(of: context.session) })
  }

  /// A switch changes the session's privileges, so it ends the old token.
  @Sendable private func switchAccount(_ request: Request, _ context: MemberContext) async throws -> Response {
    response(
      try await sessions.switchAccount(of: context.session, to: try context.pathID, ip: context.caller.ip))
  }

  private func response(_ login: IssuedSession<MemberSession>, status: HTTPResponse.Status = .ok) -> Response {
    let session = login.session
    let json = JSONWriter.object { json in
      json.fields(of: session.user, in: session.account, as: session.role)
      json.fields(of: login)
    }
    return Response(
      status: status, json: json,
      headers: [
        .setCookie: cookie.header(
          login.token, expiresAt: session.expiresAt, at: sessions.clock.now.date)
      ])
  }
}

extension AppRequestContext {
  /// The origin of a session that this request opens.
  func origin(of request: Request) -> Origin {
    Origin(ip: clientAddress, userAgent: request.headers[.userAgent])
  }
}
