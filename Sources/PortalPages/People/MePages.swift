import Foundation
import HTTPTypes
import Hummingbird
import JSON
import Portal
import PortalHTTP
import PortalViews

/// `/me` and `/accounts`: the reader's own sessions, password and accounts.
struct MePages {
  let sessions: Sessions
  let members: Members
  let cookie: SessionCookie

  func addRoutes(to routes: MemberRoutes) {
    routes.get("me", .useSession, query: nil) { try await page($1.session, $1, FormState()) }
    routes.post("me/password", .useSession, use: changePassword)
    routes.post("me/sessions/end-others", .useSession, use: endOthers)
    routes.post("me/sessions/{id}/end", .useSession, use: end)
    routes.post("accounts/{id}/switch", .useSession, use: switchAccount)
  }

  /// `session` is the current one, which may have got a new token in this request.
  private func page(
    _ session: MemberSession, _ context: MemberContext, _ form: FormState, status: HTTPResponse.Status = .ok,
    note: HTML? = nil, headers: HTTPFields = [:]
  ) async throws -> Response {
    let open = try await sessions.list(of: session)
    let accounts = try await members.accounts(of: session.user)
    return Response(
      MePage(
        session.user, sessions: open, current: session.id, accounts: accounts, accountID: context.accountID, form,
        note: note, at: sessions.clock.now.date),
      in: context.frame, status: status, headers: headers)
  }

  private func header(_ login: IssuedSession<MemberSession>) -> HTTPFields {
    [.setCookie: cookie.header(login.token, expiresAt: login.session.expiresAt, at: sessions.clock.now.date)]
  }

  @Sendable private func changePassword(_ request: Request, _ context: MemberContext) async throws -> Response {
    var form = try await FormFields(request)
    let password = form.presentedPassword("password")
    let new = form.newPassword("newPassword")
    if let password, let new {
      if new.reveal().hasSameBytes(as: password.reveal()) {
        form.refuse("newPassword", "Choose another password than the current one.")
      } else {
        do {
          let login = try await sessions.credentialChanges.changePassword(
            password, to: new, of: context.session, ip: context.caller.ip)
          return try await page(
            login.session, context, FormState(), note: MePage.passwordChanged, headers: header(login))
        } catch PortalError.invalidCredentials {
          form.refuse("password", "This is not your current password.")
        }
      }
    }
    return try await page(context.session, context, form.state, status: .unprocessableContent)
  }

  @Sendable private func endOthers(_ request: Request, _ context: MemberContext) async throws -> Response {
    let login = try await sessions.endOthers(of: context.session, ip: context.caller.ip).login
    return try await page(login.session, context, FormState(), note: MePage.othersEnded, headers: header(login))
  }

  @Sendable private func end(_ request: Request, _ context: MemberContext) async throws -> Response {
    let id = try context.pathID
    do {
      try await sessions.end(id, of: context.session, ip: context.caller.ip)
    } catch PortalError.notFound {
      // It has ended meanwhile. The page shows which are left.
    }
    return id == context.session.id
      ? .seeOther("/login", headers: [.setCookie: cookie.clearingHeader]) : .seeOther("/me")
  }

  /// A switch changes the session's privileges, so it ends the old token.
  @Sendable private func switchAccount(_ request: Request, _ context: MemberContext) async throws -> Response {
    let login = try await sessions.switchAccount(
      of: context.session, to: try context.pathID, ip: context.caller.ip)
    return .seeOther("/overview", headers: header(login))
  }
}
