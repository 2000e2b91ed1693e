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
    var fields = try await RequestFields(request, sizeMax: SupportController.bodySizeMax)
    let scopes = fields.optionalScopePatterns("scopes")
    if scopes == nil, !fields.problems.contains(where: { $0.location.hasPrefix("body.scopes") }) {
      fields.refuse("scopes", "is required")
    }
    let plan = Plan(
      name: name, keyCap: fields.integer("keyCap", 1...Plan.keyCapMax), scopes: scopes ?? [],
      rateLimitPerMinuteMax: fields.integer("rateLimitPerMinuteMax", 1...Key.rateLimitPerMinuteMax),
      maxKeyLifetimeDays: fields.optionalInteger("maxKeyLifetimeDays", 1...KeyPolicy.lifetimeDaysMax))
    try fields.finish()
    let propagation = try await plans.set(plan, by: context.caller)
    return Response(
      json: .object { json in
        json.fields(of: plan)
        json.propagation(propagation)
      })
  }

  @Sendable private func assign(_ request: Request, _ context: StaffContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: SupportController.bodySizeMax)
    let name = fields.string("plan", 1...Plan.nameLengthMax)
    let reason = fields.supportReason()
    try fields.finish()
    let (account, propagation) = try await plans.assign(
      name, to: try context.pathID, by: context.caller, reason)
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
