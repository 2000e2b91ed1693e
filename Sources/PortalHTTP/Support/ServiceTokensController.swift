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
    var fields = try await RequestFields(request, sizeMax: SupportController.bodySizeMax)
    let now = tokens.clock.now.expiryDate
    let name = fields.typedLine("name", 1...ServiceToken.nameLengthMax)
    let permissions = fields.permissions()
    let environment: Key.Environment? = fields.optionalChoice("environment")
    let expiresAt = fields.futureDate("expiresAt", after: now)
    try fields.finish()
    let issued = try await tokens.create(
      name: name, permissions: permissions, environment: environment, expiresAt: expiresAt, by: context.caller)
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
    var fields = try await RequestFields(request, sizeMax: SupportController.bodySizeMax, isOptional: true)
    let grace = fields.integer("graceSeconds", 0...Key.graceSecondsMax, default: 0)
    try fields.finish()
    let rolled = try await tokens.roll(try context.pathID, graceSeconds: grace, by: context.caller)
    return Response(
      status: .created,
      json: .object { json in
        json.fields(of: rolled, at: tokens.clock.now.expiryDate)
        json.field("warning", Self.warning)
      })
  }
}

extension RequestFields {
  fileprivate mutating func permissions() -> [ServiceToken.Permission] {
    var seen: Set<ServiceToken.Permission> = []
    let all = ServiceToken.Permission.allCases
    let problemCount = problems.count
    let permissions = optionalList(
      "permissions", 1...all.count,
      "must be one of \(all.map(\.rawValue).joined(separator: ", ")), and stand there once"
    ) { text in
      ServiceToken.Permission(named: text).flatMap { seen.insert($0).inserted ? $0 : nil }
    }
    if permissions == nil, problems.count == problemCount { refuse("permissions", "is required") }
    return permissions ?? []
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
