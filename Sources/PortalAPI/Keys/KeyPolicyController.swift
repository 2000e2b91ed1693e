import Hummingbird
import Portal

/// `/v1/account/policy`: the rules that an account sets for its own keys.
struct KeyPolicyController {
  let policies: KeyPolicies

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/account/policy", .readKeys, use: get)
    routes.put("v1/account/policy", .changePolicy, use: set)
  }

  @Sendable private func get(_ request: Request, _ context: MemberContext) async throws -> Response {
    response(try await policies.find(of: context.accountID))
  }

  @Sendable private func set(_ request: Request, _ context: MemberContext) async throws -> Response {
    let policy = try await KeyPolicy(request)
    try await policies.set(policy, of: context.accountID, by: context.caller)
    return response(policy)
  }

  private func response(_ policy: KeyPolicy) -> Response { Response(json: .object { $0.fields(of: policy) }) }
}
