import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Usage completeness")
struct UsageProgressStatementsTests {
  private static let start = Date(timeIntervalSince1970: 1_780_000_000)

  /// Adds an instance that started `seconds` after `start` and sent its last heartbeat `minutesAgo`.
  private func start(_ id: UUID, after seconds: Double, heard minutesAgo: Int = 0, _ pool: PostgresPool) async throws {
    try await pool.script(
      """
      insert into instances (id, name, lease_milliseconds, applied_seq, started_at, heartbeat_at)
      values ('\(id)', 'test', 2000, 0, to_timestamp(\(Self.start.timeIntervalSince1970 + seconds)),
        now() - interval '\(minutesAgo) minutes')
      """)
  }

  private func note(_ id: UUID, _ seconds: Double, _ pool: PostgresPool) async throws {
    try await pool.execute(NoteUsageProgress(instanceID: id, through: Self.start.addingTimeInterval(seconds)))
  }

  /// The time up to which usage is complete, in seconds after `start`.
  private func complete(_ pool: PostgresPool) async throws -> Double {
    try #require(try await pool.query(ReadCompleteThrough()).first).timeIntervalSince(Self.start)
  }

  @Test("usage is complete up to the slowest instance; one that has not reported counts from its start")
  func instances() async throws {
    try await withPool { pool in
      let (one, other) = (UUID.numbered(1), UUID.numbered(2))
      try await start(one, after: 0, pool)
      #expect(try await complete(pool) == 0)
      try await note(one, 100, pool)
      #expect(try await complete(pool) == 100)
      try await start(other, after: 90, pool)
      #expect(try await complete(pool) == 90)
      try await note(other, 130, pool)
      #expect(try await complete(pool) == 100)
      try await note(one, 140, pool)
      #expect(try await complete(pool) == 130)
    }
  }

  @Test("the time never goes back, whatever an instance's clock does")
  func monotone() async throws {
    try await withPool { pool in
      try await start(.numbered(1), after: 0, pool)
      try await note(.numbered(1), 50, pool)
      try await note(.numbered(1), 20, pool)
      #expect(try await complete(pool) == 50)
      try await note(.numbered(2), 10, pool)
      #expect(try await complete(pool) == 50, "a report of an unknown instance changes nothing")
    }
  }

  @Test("an instance that stops reporting is waited for an hour; one that shut down properly is not")
  func away() async throws {
    try await withPool { pool in
      try await start(.numbered(1), after: 0, pool)
      try await note(.numbered(1), 500, pool)
      try await start(.numbered(2), after: 0, heard: 59, pool)
      try await note(.numbered(2), 200, pool)
      #expect(try await complete(pool) == 200)
      try await pool.script(
        "update instances set heartbeat_at = now() - interval '61 minutes' where id = '\(UUID.numbered(2))'")
      #expect(try await complete(pool) == 500)
      try await pool.execute(DeleteInstance(id: .numbered(1)))
      let now = try #require(try await pool.query(ReadCompleteThrough()).first)
      #expect(abs(now.timeIntervalSinceNow) < 60, "no instance is waited for")
    }
  }

  @Test("the time is never in the future")
  func future() async throws {
    try await withPool { pool in
      try await start(.numbered(1), after: 0, pool)
      try await pool.execute(NoteUsageProgress(instanceID: .numbered(1), through: .now.addingTimeInterval(3_600)))
      let complete = try #require(try await pool.query(ReadCompleteThrough()).first)
      #expect(abs(complete.timeIntervalSinceNow) < 60)
    }
  }
}
