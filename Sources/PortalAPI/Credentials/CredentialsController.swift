import Hummingbird
import Portal

/// Routes that work by mail: `/v1/password/forgot`, `/v1/password/reset`, `/v1/email/verify`, `/v1/email/verification`.
struct CredentialsController {
  let credentials: Credentials

  func addRoutes(to routes: PublicRoutes) {
    routes.post("v1/password/forgot", .anybody, use: forgotPassword)
    routes.post("v1/password/reset", .anybody, use: resetPassword)
    routes.post("v1/email/verify", .anybody, use: verifyEmail)
  }

  func addRoutes(to routes: MemberRoutes) {
    routes.post("v1/email/verification", .useSession, use: requestVerification)
  }

  @Sendable private func forgotPassword(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let body = try await ForgottenPasswordBody(request)
    try await credentials.requestReset(body.email, from: context.clientAddress)
    return .mailAccepted
  }

  @Sendable private func resetPassword(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let body = try await PasswordResetBody(request)
    try await credentials.resetPassword(body.token, to: body.password, from: context.clientAddress)
    return Response(status: .noContent)
  }

  @Sendable private func verifyEmail(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let body = try await TokenBody(request)
    try await credentials.verifyEmail(body.token, from: context.clientAddress)
    return Response(status: .noContent)
  }

  @Sendable private func requestVerification(_ request: Request, _ context: MemberContext) async throws -> Response {
    _ = try await EmptyBody(request)
    try await credentials.requestVerification(of: context.session.user)
    return .mailAccepted
  }
}

extension Response {
  /// The same response whether there is a recipient or not.
  static var mailAccepted: Response {
    Response(status: .accepted, json: .object { $0.field("status", "accepted") })
  }
}
