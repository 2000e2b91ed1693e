import Foundation
import JSON
import PortalTesting
import Postgres
import Testing

@testable import Portal

private struct ExplainUsageOfKey: PostgresStatement {
  typealias Row = String
  static let sql = """
    explain execute by_day ('00000000-0000-7000-8000-000000000100', current_date - 29, current_date,
      '00000000-0000-7000-8000-000000000007')
    """
}

extension OutcomeKey {
  fileprivate static func numbered(_ key: Int, at: Date) -> OutcomeKey {
    OutcomeKey(
      accountID: .numbered(100), keyID: .numbered(key), hour: UsageCounter.hour(ofMilliseconds: at.milliseconds),
      endpoint: ByteText("/"))
  }
}

@Suite("Usage statements")
struct UsageStatementsTests {
  @Test("a key's month is read through the primary key, from the partitions of that month only")
  func plan() async throws {
    try await withPool { pool in
      try await pool.withConnection { connection in
        try await connection.executeScript(
          """
          insert into key_usage (account_id, key_id, day, endpoint, verified_count)
            select '00000000-0000-7000-8000-000000000100',
              ('00000000-0000-7000-8000-' || lpad(key::text, 12, '0'))::uuid, current_date - day, '/' || endpoint, 1
            from generate_series(1, 100) key, generate_series(0, 29) day, generate_series(1, 5) endpoint;
          analyze;
          prepare by_day (uuid, date, date, uuid) as \(SumKeyUsageByDay.sql);
          """)
        let plan = try await connection.query(ExplainUsageOfKey()).joined(separator: "\n")
        #expect(plan.contains("_pkey"), "\(plan)")
        #expect(!plan.contains("Seq Scan on key_usage_2"), "\(plan)")
        let next = try await connection.text("select to_char(current_date + interval '2 months', 'YYYY_MM')")
        #expect(!plan.contains("key_usage_\(try #require(next))"), "\(plan)")
      }
    }
  }

  @Test("SQL adds up histograms of different lengths as Swift does")
  func histograms() async throws {
    let latencies: [[Double]] = [[], [0.1], [3, 3, 50], [60_000], [0.1, 900]]
    let day = Day(containing: Date())
    try await withPool { pool in
      var expected = LatencyHistogram()
      for part in latencies.shuffled() {
        var counts = OutcomeCounts()
        for latency in part + [nil] {
          counts.add(
            ReportedOutcome(keyID: .numbered(1), endpoint: "/", status: 200, latencyMilliseconds: latency), at: Date())
          if let latency { expected.add(milliseconds: latency) }
        }
        try await pool.execute(CountOutcomes(outcomes: [(.numbered(1, at: Date()), counts)]))
      }
      let range = UsageRange(accountID: .numbered(100), from: day.advanced(by: -1), to: day.advanced(by: 1))
      var found = UsageTotals()
      for (_, totals) in try await pool.query(SumUsageByDay(range: range)) { found.merge(totals) }
      #expect(found.latencies == expected)
      #expect(found.latencyCount == 7 && found.successes == 12)
    }
  }

  @Test(
    "a request that was both verified and reported counts once, whichever count is greater",
    arguments: [(0, 0, 0, 0), (5, 0, 0, 5), (5, 5, 2, 3), (5, 3, 1, 4), (3, 5, 5, 0), (0, 4, 1, 3)])
  func successes(_ verified: Int, _ reported: Int, _ errors: Int, _ successes: Int) async throws {
    try await withPool { pool in
      let now = Date()
      let verdicts = UsageCounter(
        accountID: .numbered(100), keyID: .numbered(1), hour: UsageCounter.hour(ofMilliseconds: now.milliseconds),
        endpoint: "/", verified: verified, denied: 9, lastUsedAt: now.milliseconds)
      let flush = FlushVerdicts(sourceID: .version7(), previous: 0, number: 1, counters: [verdicts])
      #expect(try await pool.query(flush) == [nil])
      var counts = OutcomeCounts()
      (counts.reported, counts.errors, counts.lastAt) = (reported, errors, now)
      try await pool.execute(CountOutcomes(outcomes: [(.numbered(1, at: now), counts)]))
      #expect(try await pool.number("select success_count from key_usage") == successes)
      #expect(try await pool.number("select total_requests from key_activity") == successes + errors + 9)
    }
  }

  @Test("each number of a source is added once, and none below the last; gaps are allowed")
  func sources() async throws {
    try await withPool { pool async throws in
      let id = UUID.version7()
      let now = Date().milliseconds
      let counter = UsageCounter(
        accountID: .numbered(100), keyID: .numbered(1), hour: UsageCounter.hour(ofMilliseconds: now), endpoint: "/",
        verified: 1, denied: 0, lastUsedAt: now)
      for (number, standing) in [(1, nil), (1, 1), (2, nil), (1, 2), (4, nil), (3, 4), (5, nil)] {
        let flush = FlushVerdicts(sourceID: id, previous: 0, number: number, counters: [counter])
        #expect(try await pool.query(flush) == [standing], "\(number)")
      }
      let other = FlushVerdicts(sourceID: .version7(), previous: 0, number: 1, counters: [counter])
      #expect(try await pool.query(other) == [nil])
      #expect(try await pool.number("select verified_count from key_usage") == 5)
    }
  }

  @Test("nothing is added if the database has a lower number than required, and it returns that number")
  func previous() async throws {
    try await withPool { pool async throws in
      let id = UUID.version7()
      let counter = UsageCounter(
        accountID: .numbered(100), keyID: .numbered(1), hour: 480_000, endpoint: "/", verified: 1, denied: 0,
        lastUsedAt: 0)
      for (previous, number, standing) in [
        (7, 8, 0), (0, 5, nil), (7, 8, 5), (5, 8, nil), (5, 8, 8), (7, 9, nil), (12, 13, 9), (9, 10, nil),
      ] {
        let flush = FlushVerdicts(sourceID: id, previous: previous, number: number, counters: [counter])
        #expect(try await pool.query(flush) == [standing], "\(previous) \(number)")
      }
      #expect(try await pool.number("select verified_count from key_usage") == 4)
    }
  }

  @Test("counters with the same key, day and endpoint in one statement are added up, also by hour")
  func hours() async throws {
    try await withPool { pool async throws in
      let noon = 20_000 * 24 + 12
      let counters = [(noon, "/", 1), (noon + 1, "/", 2), (noon, "/", 4), (noon, "/b", 8), (noon + 24, "/", 16)].map {
        UsageCounter(
          accountID: .numbered(100), keyID: .numbered(1), hour: $0, endpoint: $1, verified: $2, denied: 1,
          lastUsedAt: $0 * UsageCounter.millisecondsPerHour + $2)
      }
      for number in 1...2 {
        _ = try await pool.query(
          FlushVerdicts(sourceID: .numbered(9), previous: 0, number: number, counters: counters[...]))
      }
      #expect(
        try await pool.lines(
          "select concat_ws(' ', day, endpoint, verified_count, denied_count) from key_usage order by 1")
          == ["2024-10-04 / 14 6", "2024-10-04 /b 16 2", "2024-10-05 / 32 2"])
      #expect(
        try await pool.lines(
          "select concat_ws(' ', hour at time zone 'UTC', verified_count) from account_usage_hours order by 1")
          == ["2024-10-04 12:00:00 26", "2024-10-04 13:00:00 4", "2024-10-05 12:00:00 32"])
      #expect(
        try await pool.lines("select concat_ws(' ', last_used_at at time zone 'UTC', verified_count) from key_activity")
          == ["2024-10-05 12:00:00.016 62"])
    }
  }

  @Test("an account has five hundred endpoint names across concurrent instances")
  func endpointNames() async throws {
    try await withPool { pool async throws in
      let outcomes = await concurrently(8) { instance in
        let counters = (0..<100).map {
          UsageCounter(
            accountID: .numbered(100), keyID: .numbered(instance), hour: 480_000, endpoint: "/\(instance)/\($0)",
            verified: 1, denied: 0, lastUsedAt: 0)
        }
        let flush = FlushVerdicts(sourceID: .version7(), previous: 0, number: 1, counters: counters[...])
        _ = try await pool.query(flush)
      }
      #expect(outcomes.errors.isEmpty, "\(outcomes.errors)")
      #expect(try await pool.number("select count(distinct endpoint) from key_usage") == 501)
      #expect(try await pool.number("select sum(verified_count) from key_usage where endpoint = 'other'") == 300)
      #expect(try await pool.number("select sum(verified_count) from key_usage") == 800)
    }
  }

  @Test("past, present and future days can be stored, distant ones in the default partition")
  func partitions() async throws {
    try await withPool { pool in
      let outcomes = [-400.0, -31, 0, 31, 3_000].map { offset in
        var counts = OutcomeCounts()
        let at = Date().addingTimeInterval(offset * 86_400)
        counts.add(ReportedOutcome(keyID: .numbered(1), endpoint: "/", status: 200, latencyMilliseconds: nil), at: at)
        return (OutcomeKey.numbered(1, at: at), counts)
      }
      try await pool.execute(CountOutcomes(outcomes: outcomes))
      #expect(try await pool.number("select count(*) from key_usage") == 5)
      #expect(try await pool.number("select count(*) from key_usage_default") == 2)
    }
  }
}
