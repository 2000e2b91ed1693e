import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/roles`: sets of permissions that keys get together, for the company's backend and for staff with the role
/// admin.
struct CatalogRolesController {
  /// For a thousand permissions.
  private static let bodySizeMax = 256 << 10

  let roles: CatalogRoles

  func addRoutes(to routes: CompanyRoutes) {
    routes.get("v1/roles", .readCatalog, query: .page, use: list)
    routes.post("v1/roles", .changeCatalog, use: create)
    routes.get("v1/roles/{role}", .readCatalog, use: get)
    routes.patch("v1/roles/{role}", .changeCatalog, use: update)
    routes.delete("v1/roles/{role}", .changeCatalog, use: delete)
  }

  @Sendable private func list(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let found = try await roles.list(page: try request.query().page())
    return Response(json: .object { json in json.page("roles", found) { $0.fields(of: $1) } })
  }

  @Sendable private func get(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let found = try await roles.find(try context.catalogReference("role"))
    return Response(json: .object { $0.fields(of: found) })
  }

  @Sendable private func create(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let body = try fields.newRole(context)
    let made = try await roles.create(
      body.settings, permissions: body.permissions, by: context.caller, body.reason)
    return Response(
      status: .created, json: .object { $0.fields(of: made) }, headers: [.location: "/v1/roles/\(made.id.text)"])
  }

  @Sendable private func update(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let body = try fields.roleChanges(context)
    let (role, propagation) = try await roles.update(
      try context.catalogReference("role"), body.changes, by: context.caller, body.reason)
    return Response(
      json: .object { json in
        json.fields(of: role)
        json.propagation(propagation)
      })
  }

  @Sendable private func delete(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request, isOptional: true)
    let reason = try fields.deletion(context)
    try await roles.delete(try context.catalogReference("role"), by: context.caller, reason)
    return Response(status: .noContent)
  }
}
