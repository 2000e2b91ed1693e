import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/limits`: the namespaces of standalone limits and their overrides, for the company's backend and for staff with
/// the role admin.
struct LimitNamespacesController {
  let namespaces: LimitNamespaces
  let overrides: NamespaceOverrides

  func addRoutes(to routes: CompanyRoutes) {
    routes.get("v1/limits", .readLimits, query: .page, use: list)
    routes.delete("v1/limits/{namespace}", .changeLimits, use: delete)
    routes.get("v1/limits/{namespace}/overrides", .readLimits, query: .page + ["identifier"], use: listOverrides)
    routes.put("v1/limits/{namespace}/overrides", .changeLimits, use: setOverride)
    routes.get("v1/limits/{namespace}/overrides/{override}", .readLimits, use: getOverride)
    routes.delete("v1/limits/{namespace}/overrides/{override}", .changeLimits, use: deleteOverride)
  }

  @Sendable private func list(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let found = try await namespaces.list(page: try request.query().page())
    return Response(json: .object { json in json.page("namespaces", found) { $0.fields(of: $1) } })
  }

  @Sendable private func delete(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request, isOptional: true)
    let reason = try fields.limitDeletion(context)
    let propagation = try await namespaces.delete(try context.limitNamespace, by: context.caller, reason)
    return Response(json: .object { $0.propagation(propagation) })
  }

  @Sendable private func listOverrides(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let query = try request.query()
    let found = try await overrides.list(
      in: try context.limitNamespace, identifier: try query.text("identifier", 1...LimitText.lengthMax),
      page: try query.page())
    return Response(json: .object { json in json.page("overrides", found) { $0.fields(of: $1) } })
  }

  @Sendable private func setOverride(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let namespace = try context.usedNamespace
    var fields = try await RequestFields(request)
    let body = try fields.limitOverride(context)
    let outcome = try await overrides.set(
      body.limit, for: body.identifier, in: namespace, by: context.caller, body.reason)
    return Response(
      status: outcome.isNew ? .created : .ok,
      json: .object { json in
        json.fields(of: outcome.override)
        json.propagation(outcome.propagation)
      })
  }

  @Sendable private func getOverride(_ request: Request, _ context: CompanyContext) async throws -> Response {
    let found = try await overrides.find(try context.pathUUID("override"), in: try context.limitNamespace)
    return Response(json: .object { $0.fields(of: found) })
  }

  @Sendable private func deleteOverride(_ request: Request, _ context: CompanyContext) async throws -> Response {
    var fields = try await RequestFields(request, isOptional: true)
    let reason = try fields.limitDeletion(context)
    let propagation = try await overrides.delete(
      try context.pathUUID("override"), in: try context.limitNamespace, by: context.caller, reason)
    return Response(json: .object { $0.propagation(propagation) })
  }
}
