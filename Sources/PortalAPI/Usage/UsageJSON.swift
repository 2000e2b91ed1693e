import Foundation
import JSON
import Portal

/// The response to a report.
struct TakenUsage {
  var acceptedCount = 0
  var duplicateCount = 0
  var rejected: [RejectedEvent]
}

/// An event of a batch that was not counted.
struct RejectedEvent {
  var index: Int
  var code: String
  var message: String

  init(index: Int, code: String, message: String) {
    self.index = index
    self.code = code
    self.message = message
  }

  /// An event that was valid, but was not counted.
  init(index: Int, code: String) {
    let message =
      switch code {
      case "not_found": "keyId is not the id of a key"
      case "out_of_range": "at is more than 48 hours in the past or more than 5 minutes in the future"
      default: "cannot be counted"
      }
    self.init(index: index, code: code, message: "body.events[\(index)].\(message)")
  }
}

extension JSONWriter {
  mutating func fields(of taken: TakenUsage) {
    field("accepted", taken.acceptedCount)
    field("duplicates", taken.duplicateCount)
    objects("rejected", taken.rejected) { json, event in
      json.field("index", event.index)
      json.field("code", event.code)
      json.field("message", event.message)
    }
  }

  mutating func fields(of report: UsageReport, onKey id: UUID) {
    field("keyId", id)
    fields(of: report)
  }

  mutating func fields(ofAccount report: UsageReport) {
    fields(of: report)
    objects("keys", report.keys) { json, entry in
      json.field("keyId", entry.keyID)
      json.counts(of: entry.totals)
      json.averageLatency(of: entry.totals)
    }
    objects("hourly", report.hourly) { json, entry in
      json.field("hour", entry.hour)
      json.field("successes", entry.successes)
      json.field("errors", entry.errors)
      json.field("denied", entry.denied)
    }
  }

  private mutating func fields(of report: UsageReport) {
    field("from", report.from.description)
    field("to", report.to.description)
    objects("daily", report.daily) { json, entry in
      json.field("date", entry.day.description)
      json.counts(of: entry.totals)
      json.latencies(of: entry.totals)
    }
    objects("endpoints", report.endpoints) { json, entry in
      json.field("endpoint", entry.endpoint)
      json.counts(of: entry.totals)
      json.averageLatency(of: entry.totals)
    }
    object("summary") { json in
      json.field("totalRequests", report.summary.totalRequests)
      json.counts(of: report.summary)
      json.field("errorRate", report.summary.errorRate)
      json.latencies(of: report.summary)
    }
    field("completeThrough", report.completeThrough)
  }

  private mutating func counts(of totals: UsageTotals) {
    field("successes", totals.successes)
    field("errors", totals.errors)
    field("denied", totals.denied)
  }

  private mutating func averageLatency(of totals: UsageTotals) {
    field("averageLatencyMs", totals.averageLatencyMilliseconds)
  }

  private mutating func latencies(of totals: UsageTotals) {
    averageLatency(of: totals)
    field("p50LatencyMs", totals.latencyPercentile(0.5))
    field("p95LatencyMs", totals.latencyPercentile(0.95))
    field("p99LatencyMs", totals.latencyPercentile(0.99))
  }
}
