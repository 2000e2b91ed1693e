import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

private struct ExplainUsageOfKey: PostgresStatement {
  static let sql = """
    explain execute by_day ('00000000-0000-7000-8000-000000000100', '00000000-0000-7000-8000-000000000007',
      current_date - 29, current_date)
    """
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> String { try row.next() }
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
          prepare by_day (uuid, uuid, date, date) as \(SumUsageByDay.sql);
          """)
        let plan = try await connection.query(ExplainUsageOfKey()).joined(separator: "\n")
        #expect(plan.contains("_pkey"), "\(plan)")
        #expect(!plan.contains("Seq Scan on key_usage_2"), "\(plan)")
        let next = try await connection.text("select to_char(current_date + interval '2 months', 'YYYY_MM')")
        #expect(!plan.contains("key_usage_\(try #require(next))"), "\(plan)")
      }
    }
  }

  @Test("histograms of different lengths are added up in SQL as in Swift")
  func histograms() async throws {
    let latencies: [[Double]] = [[], [0.1], [3, 3, 50], [60_000], [0.1, 900]]
    let day = Day(containing: Date())
    try await withPool { pool in
      var expected = LatencyHistogram()
      for part in latencies.shuffled() {
        let recorder = UsageRecorder()
        for latency in part + [nil] {
          let outcome = ReportedOutcome(
            keyID: .numbered(1), endpoint: "/", status: 200, latencyMilliseconds: latency)
          recorder.reported(outcome, of: .numbered(100), at: Date())
          if let latency { expected.add(milliseconds: latency) }
        }
        let segment = recorder.seal()
        _ = try await pool.pipeline(AddUsage(counters: segment.sorted), AddKeyActivity(counters: segment.sorted))
      }
      let range = UsageRange(
        accountID: .numbered(100), keyID: nil, from: day.advanced(by: -1), to: day.advanced(by: 1))
      var found = UsageTotals()
      for (_, totals) in try await pool.query(SumUsageByDay(range: range)) { found.merge(totals) }
      #expect(found.latencies == expected)
      #expect(found.latencyCount == 7 && found.successes == 12)
    }
  }

  @Test(
    "a request that was both verified and reported is one, whichever there are more of",
    arguments: [(0, 0, 0, 0), (5, 0, 0, 5), (5, 5, 2, 3), (5, 3, 1, 4), (3, 5, 5, 0), (0, 4, 1, 3)])
  func successes(_ verified: Int, _ reported: Int, _ errors: Int, _ successes: Int) async throws {
    try await withPool { pool in
      var counts = UsageCounts()
      (counts.verified, counts.reported, counts.errors, counts.denied) = (verified, reported, errors, 9)
      counts.lastUsedAt = Date()
      let key = UsageKey(accountID: .numbered(1), keyID: .numbered(2), day: Day(containing: Date()), endpoint: "/")
      let segment = UsageSegment(counters: [key: counts])
      _ = try await pool.pipeline(AddUsage(counters: segment.sorted), AddKeyActivity(counters: segment.sorted))
      #expect(try await pool.number("select success_count from key_usage") == successes)
      #expect(try await pool.number("select total_requests from key_activity") == successes + errors + 9)
    }
  }

  @Test("a source advances by one; a number it has, or one beyond the next, changes nothing")
  func advance() async throws {
    try await withPool { pool async throws in
      let id = UUID.version7()
      for (number, isNew) in [(1, true), (1, false), (2, true), (1, false), (4, false), (3, true)] {
        #expect(try await pool.query(AdvanceUsageSource(id: id, number: number)) == (isNew ? [number] : []))
      }
      #expect(try await pool.query(AdvanceUsageSource(id: .version7(), number: 1)) == [1])
    }
  }

  @Test("days in past, present and far future have a partition, the far ones the default one")
  func partitions() async throws {
    try await withPool { pool in
      let recorder = UsageRecorder()
      for offset in [-400.0, -31, 0, 31, 3_000] {
        let outcome = ReportedOutcome(keyID: .numbered(1), endpoint: "/", status: 200, latencyMilliseconds: nil)
        recorder.reported(outcome, of: .numbered(100), at: Date().addingTimeInterval(offset * 86_400))
      }
      let segment = recorder.seal()
      _ = try await pool.pipeline(AddUsage(counters: segment.sorted), AddKeyActivity(counters: segment.sorted))
      #expect(try await pool.number("select count(*) from key_usage") == 5)
      #expect(try await pool.number("select count(*) from key_usage_default") == 2)
    }
  }
}
