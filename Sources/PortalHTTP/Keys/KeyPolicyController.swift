import Hummingbird
import Portal

/// `/v1/account/policy`: what an account asks of its own keys.
struct KeyPolicyController {
  static let bodySizeMax = 16 << 10

  let policies: KeyPolicies

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/account/policy", .readKeys, use: get)
    routes.put("v1/account/policy", .changePolicy, use: set)
  }

  @Sendable private func get(_ request: Request, _ context: CustomerContext) async throws -> Response {
    response(try await policies.find(of: context.accountID))
  }

  /// The whole policy: a rule that is left out is none.
  @Sendable private func set(_ request: Request, _ context: CustomerContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let policy = KeyPolicy(
      isExpiryRequired: fields.optionalBool("expiryRequired") ?? false,
      maxLifetimeDays: fields.optionalInteger("maxLifetimeDays", 1...KeyPolicy.lifetimeDaysMax),
      isAllowlistRequired: fields.optionalBool("allowlistRequired") ?? false,
      allowedScopes: fields.optionalScopePatterns("allowedScopes"),
      disableAfterIdleDays: fields.optionalInteger("disableAfterIdleDays", 1...KeyPolicy.idleDaysMax))
    try fields.finish()
    try await policies.set(policy, of: context.accountID, by: context.caller)
    return response(policy)
  }

  private func response(_ policy: KeyPolicy) -> Response {
    Response(
      json: .object { json in
        json.field("expiryRequired", policy.isExpiryRequired)
        json.field("maxLifetimeDays", policy.maxLifetimeDays)
        json.field("allowlistRequired", policy.isAllowlistRequired)
        json.field("allowedScopes", policy.allowedScopes)
        json.field("disableAfterIdleDays", policy.disableAfterIdleDays)
      })
  }
}
