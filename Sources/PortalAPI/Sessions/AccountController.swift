import Hummingbird
import Portal

/// `POST /v1/me/email` and `DELETE /v1/account`.
struct AccountController {
  let sessions: Sessions
  let deletion: AccountDeletion
  let cookie: SessionCookie

  func addRoutes(to routes: MemberRoutes) {
    routes.post("v1/me/email", .useSession, use: changeEmail)
    routes.delete("v1/account", .closeAccount, use: delete)
  }

  /// With mail configured, the new address takes effect once it is confirmed, and the response does not reveal whether
  /// the address is in use. Without mail, it takes effect immediately.
  @Sendable private func changeEmail(_ request: Request, _ context: MemberContext) async throws -> Response {
    let body = try await NewEmailBody(request)
    let proof = try await sessions.credentialChanges.prove(body.password, of: context.session)
    if sessions.credentialChanges.isMailOpen {
      try await sessions.credentialChanges.requestEmailChange(to: body.email, proof, of: context.session)
      return .mailAccepted
    }
    let login = try await sessions.credentialChanges.changeEmail(
      to: body.email, proof, of: context.session, ip: context.caller.ip)
    return Response(login, cookie, at: sessions.clock.now.date) { $0.field("email", login.session.user.email) }
  }

  @Sendable private func delete(_ request: Request, _ context: MemberContext) async throws -> Response {
    let body = try await PasswordBody(request)
    let proof = try await sessions.credentialChanges.prove(body.password, of: context.session)
    let deleted = try await deletion.delete(proof, of: context.session, ip: context.caller.ip)
    return Response(json: .object { $0.fields(of: deleted) }, headers: [.setCookie: cookie.clearingHeader])
  }
}
