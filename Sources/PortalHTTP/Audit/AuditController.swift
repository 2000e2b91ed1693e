import Hummingbird
import Portal

/// `GET /v1/audit`: who did what to the account, and why.
struct AuditController {
  let events: AuditEvents

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/audit", .readAudit, use: list)
  }

  @Sendable private func list(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let found = try await events.list(of: context.accountID, page: try request.page())
    return Response(
      json: .object { json in
        json.array("events", found.items) { json, event in json.object { $0.fields(of: event) } }
        json.field("nextCursor", found.next.map { Cursor.text(of: $0) })
      })
  }
}

extension JSONWriter {
  fileprivate mutating func fields(of event: AuditEvent) {
    field("id", event.id)
    field("at", event.at)
    object("actor") { json in
      json.field("kind", event.actorKind)
      json.field("id", event.actorID)
      json.field("name", event.actorName)
    }
    field("action", event.action)
    object("target") { json in
      json.field("kind", event.targetKind)
      json.field("id", event.targetID)
    }
    field("reason", event.reason)
    field("ticket", event.ticket)
    field("ip", event.ip)
  }
}
