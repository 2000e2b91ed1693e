import Foundation
import JSON
import Testing

@testable import Portal

@Suite("UsageReport")
struct UsageReportTests {
  private func totals(_ successes: Int, _ errors: Int = 0, _ denied: Int = 0, latencies: [Double] = []) -> UsageTotals {
    var totals = UsageTotals()
    (totals.successes, totals.errors, totals.denied) = (successes, errors, denied)
    for latency in latencies {
      totals.latencies.add(milliseconds: latency)
      totals.latencySumMilliseconds += latency
      totals.latencyCount += 1
    }
    return totals
  }

  @Test("without requests there is no latency, and the error rate is zero")
  func nothing() {
    let totals = UsageTotals()
    #expect(totals.totalRequests == 0 && totals.errorRate == 0)
    #expect(totals.averageLatencyMilliseconds == nil && totals.latencyPercentile(0.5) == nil)
  }

  @Test("the error rate is the share of failures among admitted requests; denied requests do not count")
  func errorRate() {
    #expect(totals(3, 1, 96).errorRate == 0.25)
    #expect(totals(3, 1, 96).totalRequests == 100)
    #expect(totals(0, 2, 5).errorRate == 1)
    #expect(totals(0, 0, 5).errorRate == 0)
  }

  @Test("impossibly large counts add up without overflow")
  func typedCounts() {
    var most = totals(.max, .max, .max)
    #expect(most.totalRequests == .max && most.errorRate == 0.5)
    most.merge(totals(1, .max, .max))
    #expect(most.successes == .max && most.errors == .max && most.denied == .max)
    most.merge(totals(.min, .min, .min))
    #expect(most.totalRequests == -3)
    #expect(totals(.min, .min, .min).totalRequests == .min)
    let consumer = Consumer(accountID: .numbered(1))
    #expect(TopRow(consumer: consumer, successes: .max, errors: .max, denied: 1, share: 1).totalRequests == .max)
    let errors = ErrorRateRow(
      consumer: consumer, successes: .max, errors: .max, lowerBound: 0, overallErrorRate: 0)
    #expect(errors.errorRate == 0.5)
    for (requests, previous, expected) in [(Int.min, Int.max, Int.min), (.max, .min, .max), (5, 7, -2)] {
      let row = GrowthRow(consumer: consumer, requests: requests, previousRequests: previous, isOutlier: false)
      #expect(row.difference == expected)
    }
  }

  @Test("every day of the range has an entry, oldest first; days without usage are zero")
  func zeroFilled() {
    let first = Day(number: 20_000)
    let known = [(first.advanced(by: 3), totals(2)), (first, totals(1))]
    let report = UsageReport(from: first, to: first.advanced(by: 4), days: known, endpoints: [])
    #expect(report.daily.map(\.day) == (0...4).map { first.advanced(by: $0) })
    #expect(report.daily.map(\.totals.successes) == [1, 0, 0, 2, 0])
    #expect(report.daily[1].totals == UsageTotals())
    let single = UsageReport(from: first, to: first, days: [], endpoints: [])
    #expect(single.daily.count == 1 && single.summary == UsageTotals())
  }

  /// The mean of daily means would be 52.5, and percentiles cannot be computed from daily ones.
  @Test("the summary averages over requests, not over days, and its percentiles are those of all requests")
  func summary() throws {
    let first = Day(number: 20_000)
    let days = [
      (first, totals(9, 1, 2, latencies: Array(repeating: 5, count: 9))),
      (first.advanced(by: 1), totals(1, latencies: [100])),
    ]
    let summary = UsageReport(from: first, to: first.advanced(by: 1), days: days, endpoints: []).summary
    #expect(summary.successes == 10 && summary.errors == 1 && summary.denied == 2 && summary.totalRequests == 13)
    #expect(summary.averageLatencyMilliseconds == 14.5)
    #expect(abs(try #require(summary.latencyPercentile(0.5)) - 5) <= 0.26)
    #expect(abs(try #require(summary.latencyPercentile(0.99)) - 100) <= 5.1)
  }
}
