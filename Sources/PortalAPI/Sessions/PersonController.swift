import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// The caller's own sessions, password and second factor: `/v1/me` for customers, `/v1/support/me` for staff.
struct PersonController<Context: PersonContext>: Sendable {
  let path: String
  let sessions: Sessions
  /// Nil for staff, who have no session cookie.
  let cookie: SessionCookie?

  private typealias Handler = @Sendable (Request, Context) async throws -> Response

  private var routes: [(method: HTTPRequest.Method, path: RouterPath, handler: Handler)] {
    [
      (.get, at("sessions"), list),
      (.delete, at("sessions"), endOthers),
      (.delete, at("sessions/{id}"), end),
      (.post, at("password"), changePassword),
      (.get, at("second-factor"), secondFactor),
      (.post, at("second-factor"), startSecondFactor),
      (.post, at("second-factor/confirm"), confirmSecondFactor),
      (.post, at("second-factor/recovery-codes"), renewRecoveryCodes),
      (.delete, at("second-factor"), disableSecondFactor),
    ]
  }

  private func at(_ rest: String) -> RouterPath { RouterPath("\(path)/\(rest)") }

  private var secondFactors: SecondFactors { sessions.secondFactors }
  private var now: Date { sessions.clock.now.date }

  // MARK: Sessions

  @Sendable private func list(_ request: Request, _ context: Context) async throws -> Response {
    let found = try await sessions.list(of: context.session)
    return Response(
      json: .object { json in
        json.objects("sessions", found) { json, session in
          json.fields(of: session)
          json.field("current", session.id == context.session.id)
        }
      })
  }

  @Sendable private func end(_ request: Request, _ context: Context) async throws -> Response {
    let id = try context.pathID
    try await sessions.end(id, of: context.session, ip: context.caller.ip)
    let isCurrent = id == context.session.id
    return Response(
      status: .noContent, headers: isCurrent ? cookie.map { [.setCookie: $0.clearingHeader] } ?? [:] : [:])
  }

  @Sendable private func endOthers(_ request: Request, _ context: Context) async throws -> Response {
    let (count, login) = try await sessions.endOthers(of: context.session, ip: context.caller.ip)
    return Response(login, cookie, at: now) { $0.field("ended", count) }
  }

  // MARK: Password

  @Sendable private func changePassword(_ request: Request, _ context: Context) async throws -> Response {
    let body = try await NewPasswordBody(request)
    return Response(
      try await sessions.credentialChanges.changePassword(
        body.password, to: body.newPassword, of: context.session, ip: context.caller.ip),
      cookie, at: now)
  }

  // MARK: Second factor

  @Sendable private func secondFactor(_ request: Request, _ context: Context) async throws -> Response {
    let status = try await secondFactors.status(of: context.session)
    return Response(json: .object { $0.fields(of: status) })
  }

  @Sendable private func startSecondFactor(_ request: Request, _ context: Context) async throws -> Response {
    let body = try await PasswordBody(request)
    let factor = try await secondFactors.start(body.password, of: context.session)
    return Response(status: .created, json: .object { $0.fields(of: factor, for: context.session.email) })
  }

  @Sendable private func confirmSecondFactor(_ request: Request, _ context: Context) async throws -> Response {
    let body = try await CodeBody(request)
    let (codes, login) = try await secondFactors.confirm(body.code, of: context.session, ip: context.caller.ip)
    return Response(login, cookie, at: now) { $0.field(codes) }
  }

  @Sendable private func renewRecoveryCodes(_ request: Request, _ context: Context) async throws -> Response {
    let body = try await PasswordAndCodeBody(request)
    let codes = try await secondFactors.renewCodes(
      body.password, body.code, of: context.session, ip: context.caller.ip)
    return Response(json: .object { $0.field(codes) })
  }

  @Sendable private func disableSecondFactor(_ request: Request, _ context: Context) async throws -> Response {
    let body = try await PasswordAndCodeBody(request)
    return Response(
      try await secondFactors.disable(body.password, body.code, of: context.session, ip: context.caller.ip),
      cookie, at: now)
  }
}

extension PersonController<MemberContext> {
  func addRoutes(to group: MemberRoutes) {
    for route in routes { group.on(route.path, route.method, .useSession, route.handler) }
  }
}

extension PersonController<StaffContext> {
  func addRoutes(to group: StaffRoutes) {
    for route in routes { group.on(route.path, route.method, .useSession, route.handler) }
  }
}

extension Response {
  /// The response with a session's new token. `more` writes members before it.
  init(
    _ login: IssuedSession<some PersonSession>, _ cookie: SessionCookie?, at now: Date,
    _ more: (inout JSONWriter) -> Void = { _ in }
  ) {
    self.init(
      json: .object { json in
        more(&json)
        json.fields(of: login)
      },
      headers: cookie.map { [.setCookie: $0.header(login.token, expiresAt: login.session.expiresAt, at: now)] } ?? [:])
  }
}
