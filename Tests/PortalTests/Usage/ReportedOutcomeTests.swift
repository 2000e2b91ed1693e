import Foundation
import Testing

@testable import Portal

@Suite("ReportedOutcome")
struct ReportedOutcomeTests {
  private let now = Date(timeIntervalSince1970: 1_800_000_000)

  private func outcome(_ status: Int, _ latency: Double? = nil) -> ReportedOutcome {
    ReportedOutcome(keyID: .numbered(1), endpoint: "/", status: status, latencyMilliseconds: latency)
  }

  @Test("statuses of 400 and above are errors")
  func errors() {
    var counts = OutcomeCounts()
    for status in [100, 200, 204, 302, 399, 400, 404, 429, 500, 599] { counts.add(outcome(status), at: now) }
    #expect(counts.reported == 10 && counts.errors == 5)
    #expect(counts.latencyCount == 0)
  }

  @Test("only outcomes with a latency, even zero, count towards the average and the histogram")
  func latencies() {
    var counts = OutcomeCounts()
    for latency: Double? in [10, nil, 30, 0] { counts.add(outcome(200, latency), at: now) }
    #expect(counts.latencyCount == 3 && counts.latencySumMilliseconds == 40)
    #expect(counts.latencies.buckets.reduce(0, +) == 3)
  }

  @Test("the last use is the latest time, in any order of outcomes")
  func lastUsed() {
    let moments = [0, 60, -60].map { now.addingTimeInterval($0) }
    for order in moments.permutations {
      var counts = OutcomeCounts()
      for moment in order { counts.add(outcome(200), at: moment) }
      #expect(counts.lastAt == moments[1])
    }
    #expect(OutcomeCounts().lastAt == .distantPast)
  }
}
