import Hummingbird
import Portal

/// `/v1/support/confirmations`: requests of one member of staff that another member has to confirm.
struct ConfirmationsController {
  let desk: SupportDesk

  func addRoutes(to routes: StaffRoutes) {
    routes.get("v1/support/confirmations", .readCustomers, use: list)
    routes.post("v1/support/confirmations/{id}/confirm", .revokeKeys, use: confirm)
    routes.delete("v1/support/confirmations/{id}", .revokeKeys, use: withdraw)
  }

  @Sendable private func list(_ request: Request, _ context: StaffContext) async throws -> Response {
    let found = try await desk.confirmations()
    return Response(json: .object { json in json.objects("confirmations", found) { $0.fields(of: $1) } })
  }

  @Sendable private func confirm(_ request: Request, _ context: StaffContext) async throws -> Response {
    _ = try await EmptyBody(request)
    let (count, propagation) = try await desk.confirm(try context.pathID, by: context.caller)
    return Response(json: .object { $0.revocation(ofKeys: count, propagation) })
  }

  @Sendable private func withdraw(_ request: Request, _ context: StaffContext) async throws -> Response {
    try await desk.withdraw(try context.pathID, by: context.caller)
    return Response(status: .noContent)
  }
}
