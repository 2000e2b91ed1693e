import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/permissions`: what keys may be granted, for the company's backend and for staff with the role admin.
struct CatalogPermissionsController {
  let permissions: CatalogPermissions

  func addRoutes(to routes: CompanyRoutes) {
    routes.get("v1/permissions", .readCatalog, query: .page, use: list)
    routes.post("v1/permissions", .changeCatalog, use: create)
    routes.get("v1/permissions/{permission}", .readCatalog, use: get)
    routes.patch("v1/permissions/{permission}", .changeCatalog, use: update)
    routes.delete("v1/permissions/{permission}", .changeCatalog, use: delete)
  }

  @Sendable private func list(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let found = try await permissions.list(page: try request.query().page())
    return Response(json: .object { json in json.page("permissions", found) { $0.fields(of: $1) } })
  }

  @Sendable private func get(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let found = try await permissions.find(try context.catalogReference("permission"))
    return Response(json: .object { $0.fields(of: found) })
  }

  @Sendable private func create(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request)
    let body = try fields.newPermission(context)
    let made = try await permissions.create(body.settings, by: context.caller, body.reason)
    return Response(
      status: .created, json: .object { $0.fields(of: made) }, headers: [.location: "/v1/permissions/\(made.id.text)"])
  }

  @Sendable private func update(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request)
    let body = try fields.permissionChanges(context)
    let (permission, propagation) = try await permissions.update(
      try context.catalogReference("permission"), body.changes, by: context.caller, body.reason)
    return Response(
      json: .object { json in
        json.fields(of: permission)
        json.propagation(propagation)
      })
  }

  @Sendable private func delete(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request, isOptional: true)
    let reason = try fields.deletion(context)
    try await permissions.delete(try context.catalogReference("permission"), by: context.caller, reason)
    return Response(status: .noContent)
  }
}
