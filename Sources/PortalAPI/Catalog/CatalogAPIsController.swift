import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/apis`: the apis that keys give access to, for the company's backend and for staff with the role admin.
struct CatalogAPIsController {
  /// For the limits of many endpoints.
  private static let bodySizeMax = 128 << 10

  let apis: CatalogAPIs

  func addRoutes(to routes: CompanyRoutes) {
    routes.get("v1/apis", .readCatalog, query: .page, use: list)
    routes.post("v1/apis", .changeCatalog, use: create)
    routes.get("v1/apis/{api}", .readCatalog, use: get)
    routes.patch("v1/apis/{api}", .changeCatalog, use: update)
    routes.delete("v1/apis/{api}", .changeCatalog, use: delete)
  }

  @Sendable private func list(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let found = try await apis.list(page: try request.query().page())
    return Response(json: .object { json in json.page("apis", found) { $0.fields(of: $1) } })
  }

  @Sendable private func get(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let found = try await apis.find(try context.catalogReference("api"))
    return Response(json: .object { $0.fields(of: found) })
  }

  @Sendable private func create(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let body = try fields.newAPI(context)
    let made = try await apis.create(body.settings, by: context.caller, body.reason)
    return Response(
      status: .created, json: .object { $0.fields(of: made) }, headers: [.location: "/v1/apis/\(made.id.text)"])
  }

  @Sendable private func update(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let body = try fields.apiChanges(context)
    let (api, propagation) = try await apis.update(
      try context.catalogReference("api"), body.changes, by: context.caller, body.reason)
    return Response(
      json: .object { json in
        json.fields(of: api)
        json.propagation(propagation)
      })
  }

  @Sendable private func delete(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request, isOptional: true)
    let reason = try fields.deletion(context)
    try await apis.delete(try context.catalogReference("api"), by: context.caller, reason)
    return Response(status: .noContent)
  }
}
