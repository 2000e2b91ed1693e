import Foundation
import PostgresTesting
import Testing

@testable import Portal

@Suite("UsageCounts")
struct UsageCountsTests {
  private let now = Date(timeIntervalSince1970: 1_800_000_000)

  private func outcome(_ status: Int, _ latency: Double? = nil) -> ReportedOutcome {
    ReportedOutcome(keyID: .numbered(1), endpoint: "/", status: status, latencyMilliseconds: latency)
  }

  @Test("an outcome is an error from status 400 on")
  func errors() {
    var counts = UsageCounts()
    for status in [100, 200, 204, 302, 399, 400, 404, 429, 500, 599] { counts.addOutcome(outcome(status), at: now) }
    #expect(counts.reported == 10 && counts.errors == 5)
    #expect(counts.verified == 0 && counts.denied == 0 && counts.latencyCount == 0)
  }

  @Test("only outcomes with a latency count towards the average and the histogram, also one of zero")
  func latencies() {
    var counts = UsageCounts()
    for latency: Double? in [10, nil, 30, 0] { counts.addOutcome(outcome(200, latency), at: now) }
    #expect(counts.latencyCount == 3 && counts.latencySumMilliseconds == 40)
    #expect(counts.latencies.buckets.reduce(0, +) == 3)
  }

  @Test("last used is the latest moment, in whatever order they come")
  func lastUsed() {
    let moments = [0, 60, -60].map { now.addingTimeInterval($0) }
    for order in moments.permutations {
      var counts = UsageCounts()
      for moment in order { counts.addOutcome(outcome(200), at: moment) }
      #expect(counts.lastUsedAt == moments[1])
    }
    #expect(UsageCounts().lastUsedAt == .distantPast)
  }

  @Test("counters taken in parts and merged are those of the whole")
  func merging() {
    var random = SeededGenerator(seed: 3)
    var (whole, parts) = (UsageCounts(), Array(repeating: UsageCounts(), count: 4))
    for number in 0..<400 {
      // Quarters of a millisecond add up without rounding.
      let outcome = outcome(
        Int.random(in: 200...599, using: &random), Double(Int.random(in: 0...4_000, using: &random)) / 4)
      whole.addOutcome(outcome, at: now.addingTimeInterval(Double(number)))
      parts[number % 4].addOutcome(outcome, at: now.addingTimeInterval(Double(number)))
    }
    (whole.verified, whole.denied) = (6, 4)
    for index in parts.indices { (parts[index].verified, parts[index].denied) = (index, 1) }
    for order in parts.permutations {
      var merged = UsageCounts()
      for part in order { merged.merge(part) }
      #expect(merged == whole)
    }
  }

  @Test("counters are written by account, key, day and endpoint, whatever order they came in")
  func order() {
    let day = Day(number: 20_000)
    let keys = [
      (1, 9, day, "z"), (2, 1, day, "b"), (2, 1, day, "c"), (2, 1, day.advanced(by: 1), "a"), (2, 2, day, "a"),
    ].map { UsageKey(accountID: .numbered($0), keyID: .numbered($1), day: $2, endpoint: $3) }
    for order in keys.permutations {
      let segment = UsageSegment(counters: Dictionary(uniqueKeysWithValues: order.map { ($0, UsageCounts()) }))
      #expect(segment.sorted.map(\.key) == keys)
    }
  }
}
