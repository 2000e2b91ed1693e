import Foundation
import Hummingbird
import Portal

/// `GET /v1/keys/{id}/usage` and `GET /v1/usage` for customers, `GET /v1/accounts/{id}/keys/{keyId}/usage` and
/// `POST /v1/usage` for service tokens.
struct UsageController {
  /// Room for 10,000 events.
  static let bodySizeMax = 4 << 20

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
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let batchID = fields.optionalString("batchId", 1...ReportedOutcome.batchIDLengthMax)
    let outcomes = fields.outcomes()
    try fields.finish()
    let receipt = try await usages.take(outcomes, batchID: batchID, from: context.token)
    return Response(
      status: .accepted,
      json: .object { json in
        json.field("accepted", receipt.accepted)
        json.field("duplicates", receipt.duplicates)
        json.array("rejected", receipt.rejected) { json, rejected in
          json.object {
            $0.field("index", rejected.index)
            $0.field("code", rejected.code)
          }
        }
      })
  }
}

extension Request {
  fileprivate var days: Int {
    get throws(PortalError) {
      try queryInteger("days", 1...UsageReport.daysMax, default: UsageReport.daysDefault)
    }
  }
}

extension RequestFields {
  fileprivate mutating func outcomes() -> [ReportedOutcome] {
    objects("events", 0...ReportedOutcome.countPerBatchMax) { $0.outcome() }
  }

  private mutating func outcome() -> ReportedOutcome? {
    let id = uuid("keyId")
    let endpoint = string("endpoint", 1...VerificationRequest.endpointLengthMax)
    let status = optionalInteger("status", 100...599)
    if status == nil, problems.last?.location.hasSuffix(".status") != true { refuse("status", "is required") }
    let latency = optionalNumber("latencyMs", 0...ReportedOutcome.latencyMillisecondsMax)
    let at = optionalDate("at")
    guard problems.isEmpty, let id, let status else { return nil }
    return ReportedOutcome(keyID: id, endpoint: endpoint, status: status, latencyMilliseconds: latency, at: at)
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
