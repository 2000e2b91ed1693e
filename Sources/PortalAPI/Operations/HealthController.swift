import Hummingbird
import Portal

/// `/healthz` for a supervisor that restarts dead processes, `/readyz` for a load balancer.
struct HealthController {
  let readiness: Readiness

  func addRoutes(to routes: PublicRoutes) {
    routes.get("healthz", .anybody) { _, _ in Response(json: .object { $0.field("status", "ok") }) }
    routes.get("readyz", .anybody, use: ready)
  }

  @Sendable private func ready(_ request: Request, _ context: AppRequestContext) async throws -> Response {
    let reasons = await readiness.check()
    return Response(
      status: reasons.isEmpty ? .ok : .serviceUnavailable,
      json: .object { json in
        json.field("status", reasons.isEmpty ? "ready" : readiness.isDraining() ? "draining" : "unavailable")
        json.field("reasons", reasons)
        json.field("warnings", readiness.warnings())
      })
  }
}
