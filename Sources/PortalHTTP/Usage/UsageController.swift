import Foundation
import Hummingbird
import Portal

/// `GET /v1/keys/{id}/usage` and `GET /v1/usage` for customers, `GET /v1/accounts/{id}/keys/{keyId}/usage` and
/// `POST /v1/usage` for service tokens.
struct UsageController {
  let usages: Usages

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/keys/{id}/usage", .readUsage, query: ["days"]) { try await ofKey($1.pathID, $0, of: $1.keyHolder) }
    routes.get("v1/usage", .readUsage, query: ["days"], use: ofAccount)
  }

  func addRoutes(to routes: TokenRoutes) {
    routes.get("v1/accounts/{id}/keys/{keyId}/usage", .readKeys, query: ["days"]) {
      try await ofKey($1.keyID, $0, of: $1.keyHolder)
    }
    routes.post("v1/usage", .writeUsage, use: take)
  }

  private func ofKey(_ id: UUID, _ request: Request, of holder: KeyHolder) async throws -> Response {
    let report = try await usages.report(
      onKey: id, of: holder.accountID, in: holder.caller.environment, days: try request.days)
    return Response(
      json: .object { json in
        json.field("keyId", id)
        json.fields(of: report)
      })
  }

  @Sendable private func ofAccount(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let report = try await usages.report(onAccount: context.accountID, days: try request.days)
    return Response(
      json: .object { json in
        json.fields(of: report)
        json.array("keys", report.keys) { json, entry in
          json.object {
            $0.field("keyId", entry.keyID)
            $0.counts(of: entry.totals)
            $0.averageLatency(of: entry.totals)
          }
        }
        json.array("hourly", report.hourly) { json, entry in
          json.object {
            $0.field("hour", entry.hour)
            $0.field("successes", entry.successes)
            $0.field("errors", entry.errors)
            $0.field("denied", entry.denied)
          }
        }
      })
  }

  @Sendable private func take(_ request: Request, _ context: GatewayContext) async throws -> Response {
    let body = try await UsageBody(request)
    let events = body.events
    var rejected = events.enumerated().compactMap { index, event in
      event.problem.map { RejectedEvent(index: index, code: "invalid_request", message: $0) }
    }
    let places = events.indices.filter { events[$0].outcome != nil }
    var (accepted, duplicates) = (0, 0)
    // A batch of which nothing can be read is not remembered: it may come again when it is mended.
    if !places.isEmpty || events.isEmpty {
      let receipt = try await usages.take(events.compactMap(\.outcome), batchID: body.batchID, from: context.token)
      (accepted, duplicates) = (receipt.accepted, receipt.duplicates)
      rejected += receipt.rejected.map { RejectedEvent(index: places[$0.index], code: $0.code) }
      rejected.sort { $0.index < $1.index }
    }
    return Response(
      status: .accepted,
      json: .object { json in
        json.field("accepted", accepted)
        json.field("duplicates", duplicates)
        json.array("rejected", rejected) { json, rejected in
          json.object {
            $0.field("index", rejected.index)
            $0.field("code", rejected.code)
            $0.field("message", rejected.message)
          }
        }
      })
  }
}

/// An event of a batch that is not counted.
private struct RejectedEvent {
  var index: Int
  var code: String
  var message: String

  init(index: Int, code: String, message: String) {
    self.index = index
    self.code = code
    self.message = message
  }

  /// One that was understood.
  init(index: Int, code: String) {
    let message =
      switch code {
      case "not_found": "keyId is the id of no key"
      case "out_of_range": "at lies more than 48 hours back, or more than 5 minutes ahead"
      default: "cannot be counted"
      }
    self.init(index: index, code: code, message: "body.events[\(index)].\(message)")
  }
}

extension Request {
  fileprivate var days: Int {
    get throws(InvalidRequest) {
      try queryInteger("days", 1...UsageReport.daysMax, default: UsageReport.daysDefault)
    }
  }
}

extension JSONWriter {
  fileprivate mutating func fields(of report: UsageReport) {
    field("from", report.from.description)
    field("to", report.to.description)
    array("daily", report.daily) { json, entry in
      json.object {
        $0.field("date", entry.day.description)
        $0.counts(of: entry.totals)
        $0.latencies(of: entry.totals)
      }
    }
    array("endpoints", report.endpoints) { json, entry in
      json.object {
        $0.field("endpoint", entry.endpoint)
        $0.counts(of: entry.totals)
        $0.averageLatency(of: entry.totals)
      }
    }
    object("summary") { json in
      json.field("totalRequests", report.summary.totalRequests)
      json.counts(of: report.summary)
      json.field("errorRate", report.summary.errorRate)
      json.latencies(of: report.summary)
    }
    field("completeThrough", report.completeThrough)
  }

  fileprivate mutating func counts(of totals: UsageTotals) {
    field("successes", totals.successes)
    field("errors", totals.errors)
    field("denied", totals.denied)
  }

  fileprivate mutating func averageLatency(of totals: UsageTotals) {
    field("averageLatencyMs", totals.averageLatencyMilliseconds)
  }

  fileprivate mutating func latencies(of totals: UsageTotals) {
    averageLatency(of: totals)
    field("p50LatencyMs", totals.latencyPercentile(0.5))
    field("p95LatencyMs", totals.latencyPercentile(0.95))
    field("p99LatencyMs", totals.latencyPercentile(0.99))
  }
}
