import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/support/plans`, and the plans of accounts. All staff can read plans; only admins can change or assign them.
struct PlansController {
  let plans: Plans

  func addRoutes(to routes: StaffRoutes) {
    routes.get("v1/support/plans", .readCustomers, use: list)
    routes.put("v1/support/plans/{name}", .changePlans, use: set)
    routes.post("v1/support/accounts/{id}/plan", .changePlans, use: assign)
  }

  @Sendable private func list(_ request: Request, _ context: StaffContext) async throws -> Response {
    let found = try await plans.list()
    return Response(json: .object { json in json.objects("plans", found) { $0.fields(of: $1) } })
  }

  @Sendable private func set(_ request: Request, _ context: StaffContext) async throws -> Response {
    guard let name = context.parameters.get("name"), Plan.isValid(name: name) else {
      throw InvalidRequest("path.name", "must match \(Plan.namePattern)")
    }
    var fields = try await RequestFields(request)
    let body = try PlanBody(name: name, &fields)
    let (plan, propagation) = try await plans.set(
      body.plan, apis: body.apis, roles: body.roles, by: context.caller)
    return Response(json: .object { $0.fields(of: plan, propagation) })
  }

  @Sendable private func assign(_ request: Request, _ context: StaffContext) async throws -> Response {
    let body = try await PlanAssignmentBody(request)
    let (account, propagation) = try await plans.assign(
      body.plan, to: try context.pathID, by: context.caller, body.reason)
    return Response(json: .object { $0.fields(ofPlanOf: account, propagation) })
  }
}
