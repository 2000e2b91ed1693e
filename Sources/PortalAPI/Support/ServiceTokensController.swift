import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/support/tokens`: service tokens, for staff with the role admin.
struct ServiceTokensController {
  private static let warning = "Store this token securely: it won't be shown again."

  let tokens: ServiceTokens

  func addRoutes(to routes: StaffRoutes) {
    routes.get("v1/support/tokens", .changeTokens, query: .page, use: list)
    routes.post("v1/support/tokens", .changeTokens, use: create)
    routes.delete("v1/support/tokens/{id}", .changeTokens, use: revoke)
    routes.post("v1/support/tokens/{id}/roll", .changeTokens, use: roll)
  }

  @Sendable private func list(_ request: Request, _ context: StaffContext) async throws -> Response {
    let found = try await tokens.list(page: try request.query().page())
    let now = tokens.clock.now.expiryDate
    return Response(json: .object { json in json.page("tokens", found) { $0.fields(of: $1, at: now) } })
  }

  @Sendable private func create(_ request: Request, _ context: StaffContext) async throws -> Response {
    var fields = try await RequestFields(request)
    let now = tokens.clock.now.expiryDate
    let body = try NewServiceTokenBody(&fields, at: now)
    let issued = try await tokens.create(
      name: body.name, permissions: body.permissions, environment: body.environment, apis: body.apis,
      expiresAt: body.expiresAt, by: context.caller)
    return Response(
      status: .created,
      json: .object { json in
        json.fields(of: issued, at: now)
        json.field("warning", Self.warning)
      })
  }

  @Sendable private func revoke(_ request: Request, _ context: StaffContext) async throws -> Response {
    let id = try context.pathID
    let (revokedAt, propagation) = try await tokens.revoke(id, by: context.caller)
    return Response(json: .object { $0.revocation(of: id, at: revokedAt, propagation) })
  }

  @Sendable private func roll(_ request: Request, _ context: StaffContext) async throws -> Response {
    let body = try await RollBody(request)
    let rolled = try await tokens.roll(try context.pathID, graceSeconds: body.graceSeconds, by: context.caller)
    return Response(
      status: .created,
      json: .object { json in
        json.fields(of: rolled, at: tokens.clock.now.expiryDate)
        json.field("warning", Self.warning)
      })
  }
}
