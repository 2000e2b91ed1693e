import Hummingbird
import JSON
import NIOCore
import Portal

/// `GET /v1/audit`: the account's audit trail. A page is JSON; an export, requested with
/// `Accept: application/x-ndjson`, is JSON Lines with all events.
struct AuditController {
  private static let query: [QueryParameter] = .page + ["action", "actor", "target", "from", "to"]
  private static let linesMediaType = "application/x-ndjson"

  let events: AuditEvents

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/audit", .readAudit, query: Self.query, use: list)
  }

  @Sendable private func list(_ request: Request, _ context: MemberContext) async throws -> Response {
    let query = try request.query()
    let filter = try AuditFilter(query)
    if request.prefers(Self.linesMediaType) {
      for name in ["limit", "cursor"] where query.text(name) != nil {
        throw InvalidRequest("query." + name, "is not allowed in an export, which has all events")
      }
      return response(try await events.export(.account(context.accountID), filter))
    }
    let found = try await events.list(of: context.accountID, filter, page: try query.page())
    return Response(json: .object { json in json.page("events", found) { $0.fields(of: $1) } })
  }

  /// Streams an export: at most a thousand events are in memory at a time.
  private func response(_ export: AuditEvents.Export) -> Response {
    Response(
      status: .ok,
      headers: [
        .contentType: Self.linesMediaType, .cacheControl: "no-store",
        .contentDisposition: "attachment; filename=\"audit.jsonl\"",
      ],
      body: .streamed { write in
        var json = JSONWriter()
        try await export.read { events in
          json.clear()
          json.lines(of: events)
          try await write(json.bytes)
        }
      })
  }
}
