package import Foundation
import Hummingbird
package import Portal

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
    let found = try await tokens.list(page: try request.page())
    let now = tokens.clock.now.expiryDate
    return Response(
      json: .object { json in
        json.array("tokens", found.items) { json, token in json.object { $0.fields(of: token, at: now) } }
        json.field("nextCursor", found.next.map { Cursor.text(of: $0) })
      })
  }

  @Sendable private func create(_ request: Request, _ context: StaffContext) async throws -> Response {
    var fields = try await RequestFields(request)
    let now = tokens.clock.now.expiryDate
    let body = try NewServiceTokenBody(&fields, at: now)
    let issued = try await tokens.create(
      name: body.name, permissions: body.permissions, environment: body.environment, expiresAt: body.expiresAt,
      by: context.caller)
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
    return Response(
      json: .object { json in
        json.field("id", id)
        json.field("revokedAt", revokedAt)
        json.propagation(propagation)
      })
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

extension JSONWriter {
  package mutating func fields(of token: ServiceTokenDetails, at now: Date) {
    field("id", token.id)
    field("name", token.name)
    field("permissions", token.permissions.map(\.rawValue))
    field("environment", token.environment?.rawValue)
    field("expiresAt", token.expiresAt)
    field("revokedAt", token.revokedAt)
    field("rolledAt", token.rolledAt)
    field("replacesId", token.replacesID)
    field("lastUsedAt", token.lastUsedAt)
    field("createdAt", token.createdAt)
    field("status", token.status(at: now).rawValue)
  }

  package mutating func fields(of issued: IssuedServiceToken, at now: Date) {
    fields(of: issued.details, at: now)
    field("token", issued.secret.reveal())
  }

  package mutating func fields(of rolled: ServiceTokens.Rolled, at now: Date) {
    object("newToken") { $0.fields(of: rolled.successor, at: now) }
    object("oldToken") { $0.fields(of: rolled.predecessor, at: now) }
    propagation(rolled.propagation)
  }
}
