import Hummingbird
package import Portal

/// `/v1/support/plans`, and which account has which: staff look, admins change.
struct PlansController {
  let plans: Plans

  func addRoutes(to routes: StaffRoutes) {
    routes.get("v1/support/plans", .readCustomers, use: list)
    routes.put("v1/support/plans/{name}", .changePlans, use: set)
    routes.post("v1/support/accounts/{id}/plan", .changePlans, use: assign)
  }

  @Sendable private func list(_ request: Request, _ context: StaffContext) async throws -> Response {
    let found = try await plans.list()
    return Response(
      json: .object { json in
        json.array("plans", found) { json, plan in json.object { $0.fields(of: plan) } }
      })
  }

  @Sendable private func set(_ request: Request, _ context: StaffContext) async throws -> Response {
    guard let name = context.parameters.get("name"), Plan.isValid(name: name) else {
      throw InvalidRequest("path.name", "must match \(Plan.namePattern)")
    }
    var fields = try await RequestFields(request)
    let plan = try Plan(name: name, &fields)
    let propagation = try await plans.set(plan, by: context.caller)
    return Response(
      json: .object { json in
        json.fields(of: plan)
        json.propagation(propagation)
      })
  }

  @Sendable private func assign(_ request: Request, _ context: StaffContext) async throws -> Response {
    let body = try await PlanAssignmentBody(request)
    let (account, propagation) = try await plans.assign(
      body.plan, to: try context.pathID, by: context.caller, body.reason)
    return Response(
      json: .object { json in
        json.field("id", account.id)
        json.field("name", account.name)
        json.object("plan") { $0.fields(of: account.plan) }
        json.propagation(propagation)
      })
  }
}

extension JSONWriter {
  package mutating func fields(of plan: Plan) {
    field("name", plan.name)
    field("keyCap", plan.keyCap)
    field("scopes", plan.scopes)
    field("rateLimitPerMinuteMax", plan.rateLimitPerMinuteMax)
    field("maxKeyLifetimeDays", plan.maxKeyLifetimeDays)
  }
}
