import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/self`: what the holder of a key may do, with the key itself: view it and revoke it.
struct SelfController {
  let held: HeldKeys

  func addRoutes(to routes: HolderRoutes) {
    routes.get("v1/self", .holder, use: view)
    routes.delete("v1/self", .holder, use: revoke)
  }

  @Sendable private func view(_ request: Request, _ context: HeldKeyContext) async throws -> Response {
    let view = try await held.view(context.held, by: context.caller)
    return Response(json: .object { $0.fields(of: view) })
  }

  @Sendable private func revoke(_ request: Request, _ context: HeldKeyContext) async throws -> Response {
    let revoked = try await held.revoke(context.held, by: context.caller)
    return Response(json: .object { $0.fields(of: revoked) })
  }
}
