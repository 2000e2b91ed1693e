import Hummingbird
import Portal

/// What people do by mail: `/v1/password/forgot`, `/v1/password/reset`, `/v1/email/verify`, `/v1/email/verification`.
struct CredentialsController {
  static let bodySizeMax = 16 << 10

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
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let email = fields.email("email")
    try fields.finish()
    guard let email else { throw Problem.internalError }
    try await credentials.requestReset(email, from: context.clientAddress)
    return .mailAccepted
  }

  @Sendable private func resetPassword(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let token = fields.string("token", 1...Secret.lengthMax)
    let password = fields.password("password")
    try fields.finish()
    guard let password else { throw Problem.internalError }
    try await credentials.resetPassword(
      Secret(presented: token), to: password, from: context.clientAddress)
    return Response(status: .noContent)
  }

  @Sendable private func verifyEmail(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let token = fields.string("token", 1...Secret.lengthMax)
    try fields.finish()
    try await credentials.verifyEmail(Secret(presented: token), from: context.clientAddress)
    return Response(status: .noContent)
  }

  @Sendable private func requestVerification(_ request: Request, _ context: CustomerContext) async throws -> Response {
    try await RequestFields(request, sizeMax: Self.bodySizeMax, isOptional: true).finish()
    try await credentials.requestVerification(of: context.session.user)
    return .mailAccepted
  }
}

extension Response {
  /// The same whether there is somebody to write to or not.
  static var mailAccepted: Response {
    Response(status: .accepted, json: .object { $0.field("status", "accepted") })
  }
}
