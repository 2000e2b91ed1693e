import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `GET /v1/keys/{id}/usage` and `GET /v1/usage` for customers, `GET /v1/accounts/{id}/keys/{keyId}/usage` and
/// `POST /v1/usage` for service tokens.
struct UsageController {
  let usages: Usages

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/keys/{id}/usage", .readUsage, query: ["days"]) { try await ofKey($1.pathID, $0, of: $1.keyAccess) }
    routes.get("v1/usage", .readUsage, query: ["days"], use: ofAccount)
  }

  func addRoutes(to routes: ServiceTokenRoutes) {
    routes.get("v1/accounts/{id}/keys/{keyId}/usage", .readKeys, query: ["days"]) {
      try await ofKey($1.keyID, $0, of: $1.keyAccess)
    }
    routes.post("v1/usage", .writeUsage, use: take)
  }

  private func ofKey(_ id: UUID, _ request: Request, of access: KeyAccess) async throws -> Response {
    let report = try await usages.report(
      onKey: id, of: access.accountID, by: access.caller, days: try request.query().days)
    return Response(json: .object { $0.fields(of: report, onKey: id) })
  }

  @Sendable private func ofAccount(_ request: Request, _ context: MemberContext) async throws -> Response {
    let report = try await usages.report(onAccount: context.accountID, days: try request.query().days)
    return Response(json: .object { $0.fields(ofAccount: report) })
  }

  @Sendable private func take(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    let body = try await UsageBody(request)
    let events = body.events
    var taken = TakenUsage(
      rejected: events.enumerated().compactMap { index, event in
        event.problem.map { RejectedEvent(index: index, code: "invalid_request", message: $0) }
      })
    let places = events.indices.filter { events[$0].outcome != nil }
    // A batch without a single valid event is not recorded, so that it can be sent again once it is corrected.
    if !places.isEmpty || events.isEmpty {
      let receipt = try await usages.take(events.compactMap(\.outcome), batchID: body.batchID, from: context.token)
      (taken.acceptedCount, taken.duplicateCount) = (receipt.accepted, receipt.duplicates)
      taken.rejected += receipt.rejected.map { RejectedEvent(index: places[$0.index], code: $0.code) }
      taken.rejected.sort { $0.index < $1.index }
    }
    return Response(status: .accepted, json: .object { $0.fields(of: taken) })
  }
}

extension Query {
  fileprivate var days: Int {
    get throws(InvalidRequest) {
      try integer("days", 1...UsageReport.daysMax, default: UsageReport.daysDefault)
    }
  }
}
