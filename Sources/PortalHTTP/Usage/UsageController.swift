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
    let events = fields.events()
    try fields.finish()
    var rejected = events.enumerated().compactMap { index, event in
      event.problem.map { RejectedEvent(index: index, code: "invalid_request", message: $0) }
    }
    let places = events.indices.filter { events[$0].outcome != nil }
    var (accepted, duplicates) = (0, 0)
    // A batch of which nothing can be read is not remembered: it may come again when it is mended.
    if !places.isEmpty || events.isEmpty {
      let receipt = try await usages.take(events.compactMap(\.outcome), batchID: batchID, from: context.token)
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

/// One event of a batch: what it tells, or what is wrong with it, which refuses no other.
private struct ReportedEvent {
  private static let problemLengthMax = 200

  var outcome: ReportedOutcome?
  var problem: String?

  init(_ outcome: ReportedOutcome) { self.outcome = outcome }

  init(_ problem: RequestProblem) {
    let text = "\(problem.location) \(problem.message)"
    self.problem = String(String.UnicodeScalarView(text.unicodeScalars.prefix(Self.problemLengthMax)))
  }
}

extension RequestFields {
  private static let statuses = 100...599
  /// An error: what nginx has for a client that closed the connection.
  private static let clientClosedRequest = 499

  fileprivate mutating func events() -> [ReportedEvent] {
    let count = 0...ReportedOutcome.countPerBatchMax
    guard case .array(let values)? = value("events"), count.contains(values.count) else {
      refuse("events", "must be a list of \(count.lowerBound) to \(count.upperBound) objects")
      return []
    }
    return values.enumerated().map { index, value in
      let location = "body.events[\(index)]"
      guard case .object(let members) = value else {
        return ReportedEvent(RequestProblem(location: location, message: "must be an object"))
      }
      var fields = RequestFields(members, location: location)
      let outcome = fields.outcome()
      if let outcome, fields.finalProblems.isEmpty { return ReportedEvent(outcome) }
      return ReportedEvent(
        fields.finalProblems.first ?? RequestProblem(location: location, message: "cannot be read"))
    }
  }

  /// Nil after a problem.
  private mutating func outcome() -> ReportedOutcome? {
    let id = uuid("keyId")
    let endpoint = string("endpoint", 1...VerificationRequest.endpointLengthMax)
    let status = status()
    let latency = optionalNumber("latencyMs", 0...ReportedOutcome.latencyMillisecondsMax)
    let at = optionalDate("at")
    guard let id, let status else { return nil }
    return ReportedOutcome(keyID: id, endpoint: endpoint, status: status, latencyMilliseconds: latency, at: at)
  }

  /// Of a client that went away before there was one, nginx logs 000, and Envoy 0.
  private mutating func status() -> Int? {
    guard let value = value("status") else {
      refuse("status", "is required")
      return nil
    }
    guard let number = value.statusNumber, number == 0 || Self.statuses.contains(number) else {
      refuse("status", "must be a whole number from \(Self.statuses.lowerBound) to \(Self.statuses.upperBound), or 0")
      return nil
    }
    return number == 0 ? Self.clientClosedRequest : number
  }
}

extension JSONValue {
  /// A whole number, or up to three digits in quotes, as logs have them.
  fileprivate var statusNumber: Int? {
    guard case .string(let digits) = self else { return integer }
    let isNumber = (1...3).contains(digits.utf8.count) && digits.utf8.allSatisfy { (0x30...0x39).contains($0) }
    return isNumber ? Int(digits) : nil
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
