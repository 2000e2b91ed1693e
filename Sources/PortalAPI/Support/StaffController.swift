import Hummingbird
import Portal

/// `/v1/support/staff`: the members of staff, for staff with the role admin.
struct StaffController {
  let staff: StaffMembers

  func addRoutes(to routes: StaffRoutes) {
    routes.get("v1/support/staff", .changeStaff, query: .page, use: list)
    routes.get("v1/support/staff/{id}", .changeStaff, use: get)
    routes.patch("v1/support/staff/{id}", .changeStaff, use: update)
    routes.delete("v1/support/staff/{id}", .changeStaff, use: remove)
    routes.delete("v1/support/staff/{id}/second-factor", .changeStaff, use: resetSecondFactor)
  }

  @Sendable private func list(_ request: Request, _ context: StaffContext) async throws -> Response {
    let found = try await staff.list(page: try request.query().page())
    return Response(json: .object { json in json.page("staff", found) { $0.fields(of: $1) } })
  }

  @Sendable private func get(_ request: Request, _ context: StaffContext) async throws -> Response {
    response(try await staff.find(try context.pathID))
  }

  @Sendable private func update(_ request: Request, _ context: StaffContext) async throws -> Response {
    let changes = try await StaffChanges(request)
    let revisions = try request.ifMatch()
    return response(
      try await staff.update(try context.pathID, changes, ifRevision: revisions, by: context.caller))
  }

  @Sendable private func remove(_ request: Request, _ context: StaffContext) async throws -> Response {
    try await staff.remove(try context.pathID, by: context.caller)
    return Response(status: .noContent)
  }

  @Sendable private func resetSecondFactor(_ request: Request, _ context: StaffContext) async throws -> Response {
    try await staff.resetSecondFactor(try context.pathID, by: context.caller)
    return Response(status: .noContent)
  }

  private func response(_ member: StaffDetails) -> Response {
    Response(json: .object { $0.fields(of: member) }, headers: [.eTag: EntityTag.text(of: member.revision)])
  }
}
