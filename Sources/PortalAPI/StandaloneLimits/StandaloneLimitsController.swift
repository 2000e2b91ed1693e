import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `POST /v1/limits…`: limits that belong to no key, for the company's backends and gateways.
struct StandaloneLimitsController {
  /// For a hundred requests with long texts.
  private static let listBodySizeMax = 1 << 20

  let limits: StandaloneLimits

  func addRoutes(to routes: ServiceTokenRoutes) {
    routes.post("v1/limits", .useLimits, use: takeAll)
    routes.post("v1/limits/{namespace}", .useLimits, use: take)
  }

  @Sendable private func take(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    let namespace = try context.usedNamespace
    var fields = try await RequestFields(request)
    let body = try fields.limitRequest(in: namespace)
    let answer = try await limits.take(body.request, mode: body.mode, by: context.caller)
    return Response(
      json: .object { $0.fields(of: answer) }, headers: HTTPFields(RateLimitDecision(answer.standing)))
  }

  @Sendable private func takeAll(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.listBodySizeMax)
    let requests = try fields.limitRequests()
    let answers = try await limits.takeAll(requests, by: context.caller)
    return Response(
      json: .object { json in
        json.field("allowed", answers.allSatisfy(\.isAllowed))
        json.objects("results", zip(requests, answers)) { json, result in
          json.field("namespace", result.0.namespace)
          json.field("identifier", result.0.identifier)
          json.fields(of: result.1)
        }
      })
  }
}
