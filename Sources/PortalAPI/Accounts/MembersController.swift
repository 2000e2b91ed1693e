import Foundation
import Hummingbird
import Portal

/// `/v1/members`: the people in the account.
struct MembersController {
  let members: Members

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/members", .readMembers, query: .page, use: list)
    routes.patch("v1/members/{id}", .changeMembers, use: setRole)
    routes.delete("v1/members/{id}", .changeMembers, use: remove)
    routes.post("v1/leave", .useSession, use: leave)
  }

  @Sendable private func list(_ request: Request, _ context: MemberContext) async throws -> Response {
    let found = try await members.list(of: context.accountID, page: try request.query().page())
    return Response(json: .object { json in json.page("members", found) { $0.fields(of: $1) } })
  }

  @Sendable private func setRole(_ request: Request, _ context: MemberContext) async throws -> Response {
    let body = try await RoleBody(request)
    let member = try await members.setRole(
      body.role, of: try context.pathID, in: context.accountID, by: context.session, ip: context.caller.ip)
    return Response(json: .object { $0.fields(of: member) })
  }

  @Sendable private func remove(_ request: Request, _ context: MemberContext) async throws -> Response {
    try await members.remove(
      try context.pathID, from: context.accountID, by: context.session, ip: context.caller.ip)
    return Response(status: .noContent)
  }

  @Sendable private func leave(_ request: Request, _ context: MemberContext) async throws -> Response {
    try await members.remove(
      context.session.user.id, from: context.accountID, by: context.session, ip: context.caller.ip)
    return Response(status: .noContent)
  }
}
