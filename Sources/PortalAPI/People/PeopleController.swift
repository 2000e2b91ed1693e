import Foundation
import Hummingbird
import Portal

/// `GET /v1/me/export`, `DELETE /v1/me`, and the same for staff below `/v1/support/people`.
struct PeopleController {
  let sessions: Sessions
  let exports: PersonExports
  let erasures: PersonErasures
  let cookie: SessionCookie

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/me/export", .useSession, use: exportOwn)
    routes.delete("v1/me", .useSession, use: eraseOwn)
  }

  func addRoutes(to routes: StaffRoutes) {
    routes.get("v1/support/people/{id}/export", .changePeople, use: export)
    routes.delete("v1/support/people/{id}", .changePeople, use: erase)
  }

  @Sendable private func exportOwn(_ request: Request, _ context: MemberContext) async throws -> Response {
    try await response(of: context.session.user.id)
  }

  @Sendable private func export(_ request: Request, _ context: StaffContext) async throws -> Response {
    try await response(of: try context.pathID)
  }

  private func response(of id: UUID) async throws -> Response {
    let export = try await exports.export(of: id)
    return Response(
      status: .ok,
      headers: [
        .contentType: "application/json", .cacheControl: "no-store",
        .contentDisposition: "attachment; filename=\"personal-data.json\"",
      ],
      body: .streamed { try await export.write($0) })
  }

  @Sendable private func eraseOwn(_ request: Request, _ context: MemberContext) async throws -> Response {
    let body = try await PasswordBody(request)
    let proof = try await sessions.credentialChanges.prove(body.password, of: context.session)
    let erasure = try await erasures.erase(proof, of: context.session)
    return Response(
      json: .object { $0.fields(of: erasure) }, headers: [.setCookie: cookie.clearingHeader])
  }

  @Sendable private func erase(_ request: Request, _ context: StaffContext) async throws -> Response {
    let reason = try await SupportReason(request)
    let erasure = try await erasures.erase(try context.pathID, by: context.caller, reason)
    return Response(json: .object { $0.fields(of: erasure) })
  }
}
