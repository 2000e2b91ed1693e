package import Foundation
import JSON

/// Counters as people see them: a request that was both verified and reported is one request.
package struct UsageTotals: Sendable, Equatable {
  package var successes = 0
  package var errors = 0
  package var denied = 0
  var latencySumMilliseconds = 0.0
  var latencyCount = 0
  var latencies = LatencyHistogram()

  package init() {}

  package var totalRequests: Int { successes.addingBounded(errors).addingBounded(denied) }
  /// The share of the requests that were let through which failed; 0 without any.
  package var errorRate: Double {
    let answered = Double(successes) + Double(errors)
    return answered == 0 ? 0 : Double(errors) / answered
  }
  /// Over all reported requests, not over days; nil where nothing was reported.
  package var averageLatencyMilliseconds: Double? {
    latencyCount == 0 ? nil : latencySumMilliseconds / Double(latencyCount)
  }
  package func latencyPercentile(_ quantile: Double) -> Double? { latencies.percentile(quantile) }

  package mutating func merge(_ other: UsageTotals) {
    successes = successes.addingBounded(other.successes)
    errors = errors.addingBounded(other.errors)
    denied = denied.addingBounded(other.denied)
    latencySumMilliseconds += other.latencySumMilliseconds
    latencyCount = latencyCount.addingBounded(other.latencyCount)
    latencies.merge(other.latencies)
  }
}

/// What an account's keys were used for in one hour.
package struct UsageHour: Sendable, Equatable {
  /// Its beginning.
  package var hour: Date
  package var successes: Int
  package var errors: Int
  package var denied: Int
}

/// The usage of one key or of a whole account over some days.
package struct UsageReport: Sendable {
  package static let daysDefault = 30
  package static let daysMax = 366
  /// Endpoints, and keys, that are listed: those with most requests.
  static let endpointCountMax = 10
  static let keyCountMax = 100
  /// The hours that an account's report has one by one, the present one included.
  static let hourCount = 48

  package var from: Day
  package var to: Day
  /// One entry for every day of the range, oldest first.
  package var daily: [(day: Day, totals: UsageTotals)]
  package var endpoints: [(endpoint: String, totals: UsageTotals)]
  /// Only in the report of an account.
  package var keys: [(keyID: UUID, totals: UsageTotals)]
  /// One entry for every one of the last hours, oldest first. Only in the report of an account.
  package var hourly: [UsageHour]
  /// Until when the numbers are final; ``ReadCompleteThrough`` says what that means.
  package var completeThrough: Date
  package var summary: UsageTotals

  init(
    from: Day, to: Day, days: [(Day, UsageTotals)], endpoints: [(String, UsageTotals)],
    keys: [(UUID, UsageTotals)] = [], hourly: [UsageHour] = [], completeThrough: Date = .distantPast
  ) {
    self.from = from
    self.to = to
    let known = Dictionary(days) { one, _ in one }
    daily = (from.number...to.number).map { number in
      (Day(number: number), known[Day(number: number)] ?? UsageTotals())
    }
    self.endpoints = endpoints
    self.keys = keys
    self.hourly = hourly
    self.completeThrough = completeThrough
    summary = days.reduce(into: UsageTotals()) { $0.merge($1.1) }
  }
}
