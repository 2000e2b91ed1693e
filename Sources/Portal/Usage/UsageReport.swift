package import Foundation
import JSON

/// Counters as reports show them: a request that was both verified and reported counts as one request.
package struct UsageTotals: Sendable, Equatable {
  package var successes = 0
  package var errors = 0
  package var denied = 0
  var latencySumMilliseconds = 0.0
  var latencyCount = 0
  var latencies = LatencyHistogram()

  package init() {}

  package var totalRequests: Int { successes.addingBounded(errors).addingBounded(denied) }
  /// The share of failures among the requests that were let through; 0 if there are none.
  package var errorRate: Double {
    let answered = Double(successes) + Double(errors)
    return answered == 0 ? 0 : Double(errors) / answered
  }
  /// The average over all reported requests, not over days; nil if nothing was reported.
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

/// The usage of all keys of an account in one hour.
package struct UsageHour: Sendable, Equatable {
  /// The start of the hour.
  package var hour: Date
  package var successes: Int
  package var errors: Int
  package var denied: Int
}

/// The usage of one key or of a whole account over some days.
package struct UsageReport: Sendable {
  package static let daysDefault = 30
  package static let daysMax = 366
  /// How many endpoints a report lists: those with the most requests.
  static let endpointCountMax = 10
  /// How many keys a report lists: those with the most requests.
  static let keyCountMax = 100
  /// The number of hours in the report of an account, including the current one.
  static let hourCount = 48

  package var from: Day
  package var to: Day
  /// One entry per day of the range, oldest first.
  package var daily: [(day: Day, totals: UsageTotals)]
  package var endpoints: [(endpoint: String, totals: UsageTotals)]
  /// Only in the report of an account.
  package var keys: [(keyID: UUID, totals: UsageTotals)]
  /// One entry per hour, oldest first. Only in the report of an account.
  package var hourly: [UsageHour]
  /// The time up to which the numbers are final, see ``ReadCompleteThrough``.
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
