import Hummingbird
import JSON
import NIOCore
import Portal
import PortalHTTP

/// `/v1/audit`: the account's audit trail, for its members, and all trails, for collectors with a service token. A page
/// is JSON; an export, requested with `Accept: application/x-ndjson`, is JSON Lines with all events.
struct AuditController {
  private static let query: [QueryParameter] = .page + ["action", "actor", "target", "from", "to"]
  private static let linesMediaType = "application/x-ndjson"

  let events: AuditEvents

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/audit", .readAudit, query: Self.query, use: list)
    routes.get("v1/audit/summary", .readAudit, query: ["action", "from", "to"], use: summary)
  }

  func addRoutes(to routes: ServiceTokenRoutes) {
    routes.get("v1/audit/trails", .readAudit, query: .page, use: heads)
    routes.get("v1/audit/trails/{id}", .readAudit, query: ["after", "limit"], use: events)
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

  @Sendable private func summary(_ request: Request, _ context: MemberContext) async throws -> Response {
    let found = try await events.summary(
      of: .account(context.accountID), try AuditFilter(try request.query()))
    return Response(json: .object { $0.fields(of: found) })
  }

  @Sendable private func heads(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    let query = try request.query()
    let page = PageRequest(limit: try query.collectedCount, before: try query.cursor())
    let found = try await events.heads(page: page)
    return Response(json: .object { json in json.page("trails", found) { $0.fields(of: $1) } })
  }

  @Sendable private func events(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    guard let trail = context.parameters.get("id").flatMap({ AuditTrail(text: $0) }) else { throw PortalError.notFound }
    let query = try request.query()
    let after = try query.integer("after", 0...Int.max, default: 0)
    let (found, head) = try await events.events(of: trail, after: after, limit: try query.collectedCount)
    return Response(
      json: .object { json in
        json.objects("events", found) { $0.fields(of: $1) }
        json.object("head") { $0.fields(of: head) }
      })
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

extension Query {
  fileprivate var collectedCount: Int {
    get throws(InvalidRequest) {
      try integer("limit", 1...AuditEvents.collectedCountMax, default: AuditEvents.collectedCountDefault)
    }
  }
}
