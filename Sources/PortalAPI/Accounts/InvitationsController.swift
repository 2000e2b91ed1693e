import Foundation
import Hummingbird
import Portal

/// `/v1/invitations`, and `/v1/accept-invitation` for the invited person.
struct InvitationsController {
  let invitations: Invitations

  func addRoutes(to routes: PublicRoutes) {
    routes.post("v1/accept-invitation", .anybody, use: accept)
  }

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/invitations", .readMembers, query: .page, use: list)
    routes.post("v1/invitations", .changeMembers, use: invite)
    routes.delete("v1/invitations/{id}", .changeMembers, use: revoke)
  }

  @Sendable private func list(_ request: Request, _ context: MemberContext) async throws -> Response {
    let found = try await invitations.list(of: context.accountID, page: try request.query().page())
    return Response(json: .object { json in json.page("invitations", found) { $0.fields(of: $1) } })
  }

  /// The response has the token only if it is not sent by mail.
  @Sendable private func invite(_ request: Request, _ context: MemberContext) async throws -> Response {
    let body = try await InvitationBody(request)
    let (invitation, token) = try await invitations.invite(
      body.email, as: body.role, into: context.accountID, by: context.session, ip: context.caller.ip)
    return Response(
      status: .created, json: .object { $0.fields(of: invitation, token) },
      headers: [.location: "/v1/invitations/" + invitation.id.text])
  }

  @Sendable private func revoke(_ request: Request, _ context: MemberContext) async throws -> Response {
    try await invitations.revoke(
      try context.pathID, of: context.accountID, by: context.session, ip: context.caller.ip)
    return Response(status: .noContent)
  }

  @Sendable private func accept(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let body = try await AcceptanceBody(request)
    let accepted = try await invitations.accept(body.token, password: body.password, from: context.clientAddress)
    return Response(json: .object { $0.fields(of: accepted.user, in: accepted.account, as: accepted.role) })
  }
}
