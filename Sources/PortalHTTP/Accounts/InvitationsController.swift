import Foundation
import Hummingbird
import Portal

/// `/v1/invitations`, and `/v1/accept-invitation` for whoever was invited.
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

  @Sendable private func list(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let found = try await invitations.list(of: context.accountID, page: try request.page())
    return Response(
      json: .object { json in
        json.array("invitations", found.items) { json, invitation in json.object { $0.fields(of: invitation) } }
        json.field("nextCursor", found.next.map { Cursor.text(of: $0) })
      })
  }

  /// The answer has the token only where it does not go out by mail.
  @Sendable private func invite(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let body = try await InvitationBody(request)
    let (invitation, token) = try await invitations.invite(
      body.email, as: body.role, into: context.accountID, by: context.session, ip: context.caller.ip)
    let json = JSONWriter.object { json in
      json.fields(of: invitation)
      json.field("token", token?.reveal())
    }
    return Response(status: .created, json: json, headers: [.location: "/v1/invitations/" + invitation.id.text])
  }

  @Sendable private func revoke(_ request: Request, _ context: CustomerContext) async throws -> Response {
    try await invitations.revoke(
      try context.pathID, of: context.accountID, by: context.session, ip: context.caller.ip)
    return Response(status: .noContent)
  }

  @Sendable private func accept(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let body = try await AcceptanceBody(request)
    let accepted = try await invitations.accept(body.token, password: body.password, from: context.clientAddress)
    return Response(
      json: .object { json in
        json.object("user") { json in
          json.field("id", accepted.user.id)
          json.field("email", accepted.user.email)
        }
        json.object("account") { json in
          json.field("id", accepted.account.id)
          json.field("name", accepted.account.name)
        }
        json.field("role", accepted.role.rawValue)
      })
  }
}

extension JSONWriter {
  fileprivate mutating func fields(of invitation: Invitation) {
    field("id", invitation.id)
    field("email", invitation.email)
    field("role", invitation.role.rawValue)
    field("invitedBy", invitation.inviterName)
    field("createdAt", invitation.createdAt)
    field("expiresAt", invitation.expiresAt)
  }
}
