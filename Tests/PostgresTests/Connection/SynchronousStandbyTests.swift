import Foundation
import PostgresTesting
import Testing

@testable import Postgres

/// With a real standby that the primary waits for, and that is then down.
@Suite("A synchronous standby that is down", .serialized)
struct SynchronousStandbyTests {
  private struct CancelWaits: PostgresStatement {
    typealias Row = Int
    static let sql = "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'"
    static let isRead = false
  }

  /// Waits for commits without making one.
  private struct CountWaits: PostgresStatement {
    typealias Row = Int
    static let sql = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
  }

  /// Runs `body` with a primary whose commits wait for a standby, and that standby.
  private func withStandby(
    _ events: Recorder<PostgresEvent>, _ body: (PostgresPool, OwnServer) async throws -> Void
  ) async throws {
    try await OwnServer.with { primary in
      let url = try await primary.url()
      try await primary.withStandby { standby in
        let configuration = testConfiguration(url) { configuration in
          configuration.poolSizeMax = 3
          configuration.observe = { events.append($0) }
        }
        try await PostgresPool.with(testConfiguration(url)) { setUp in
          try await setUp.withConnection { connection in
            try await connection.executeScript(createCounters)
            try await connection.executeScript("alter system set synchronous_standby_names = '*'")
            try await connection.executeScript("select pg_reload_conf()")
          }
          try await eventually("the standby was synchronous") {
            try await setUp.query(CountSynchronous()) == [1]
          }
        }
        try await PostgresPool.with(configuration) { pool in
          try await pool.execute(IncrementCounter(name: "a"))
          #expect(try await pool.value(of: "a") == 1)
        }
        var impatient = configuration
        impatient.queryTimeout = .milliseconds(500)
        impatient.drainTimeout = .zero
        try await PostgresPool.with(impatient) { pool in try await body(pool, standby) }
      }
    }
  }

  private struct CountSynchronous: PostgresStatement {
    typealias Row = Int
    static let sql = "select count(*) from pg_stat_replication where sync_state = 'sync'"
  }

  private func missingStandbyCount(_ events: Recorder<PostgresEvent>) -> Int {
    events.elements.count { if case .notice(let notice) = $0 { notice.tellsOfMissingStandby } else { false } }
  }

  @Test(
    """
    a change is neither acknowledged nor cancelled: its caller gets an error, it is invisible until the standby is \
    back, no more changes start than there is room for, reads continue, and all changes are committed in the end
    """)
  func away() async throws {
    let events = Recorder<PostgresEvent>()
    try await withStandby(events) { pool, standby in
      try await standby.stop()
      for number in 1...3 {
        let error = await #expect(throws: PostgresError.self) {
          switch number {
          case 1: try await pool.execute(InsertCounter(name: "by itself"))
          case 2: _ = try await pool.withTransaction { try await $0.execute(InsertCounter(name: "by commit")) }
          default: _ = try await pool.pipeline(One(), InsertCounter(name: "in a pipeline"), One())
          }
        }
        #expect(error?.code == .commitUnknown)
        #expect(pool.pendingCommitCount == number)
        #expect(try await pool.query(CountWaits()) == [number])
      }
      let refused = await #expect(throws: PostgresError.self) { try await pool.execute(IncrementCounter(name: "a")) }
      #expect(refused?.code == .commitsPending)
      #expect(refused?.isUnavailable == true)
      for name in ["by itself", "by commit", "in a pipeline"] { #expect(try await pool.value(of: name) == nil) }
      #expect(try await pool.value(of: "a") == 1)
      #expect(pool.gauges.leased == 0)

      try await standby.start()
      try await eventually("the commits ended") { pool.pendingCommitCount == 0 }
      for name in ["by itself", "by commit", "in a pipeline"] { #expect(try await pool.value(of: name) == 0) }
      try await pool.execute(IncrementCounter(name: "a"))
      #expect(try await pool.value(of: "a") == 2)
      #expect(events.elements.filter { $0 == .commitLeft }.count == 3)
      #expect(events.elements.filter { $0 == .commitSettled(isCommitted: true) }.count == 3)
      #expect(missingStandbyCount(events) == 0)
    }
  }

  @Test("a change whose wait for the standby is cancelled from outside has an unknown outcome, and there is a warning")
  func cancelledByHand() async throws {
    let events = Recorder<PostgresEvent>()
    try await withStandby(events) { pool, standby in
      try await standby.stop()
      var patient = pool.configuration
      patient.queryTimeout = .seconds(30)
      try await PostgresPool.with(patient) { patient in
        for isTransaction in [false, true] {
          let change = Task {
            if isTransaction {
              try await patient.withTransaction { try await $0.execute(IncrementCounter(name: "a")) }
            } else {
              try await patient.execute(IncrementCounter(name: "b"))
            }
          }
          try await eventually("the commit waited") { try await pool.query(CountWaits()) == [1] }
          #expect(try await pool.query(CancelWaits()) == [1])
          let error = await #expect(throws: PostgresError.self) { try await change.value }
          #expect(error?.code == .commitUnknown)
          #expect(error?.message.contains("canceling wait") == true)
        }
      }
      #expect(missingStandbyCount(events) == 2)
      // It is committed on the primary, so no caller may be told that it is not.
      #expect(try await pool.value(of: "b") == 1)
    }
  }

  @Test("a caller that is cancelled while its change waits for the standby cancels nothing on the server")
  func cancelledCaller() async throws {
    let events = Recorder<PostgresEvent>()
    try await withStandby(events) { pool, standby in
      try await standby.stop()
      let change = Task { try await pool.execute(IncrementCounter(name: "b")) }
      try await eventually("the commit waited") { try await pool.query(CountWaits()) == [1] }
      change.cancel()
      let error = await #expect(throws: PostgresError.self) { try await change.value }
      #expect(error?.code == .commitUnknown)
      #expect(try await pool.query(CountWaits()) == [1])
      #expect(try await pool.value(of: "b") == 0)
      try await standby.start()
      try await eventually("the commit ended") { try await pool.value(of: "b") == 1 }
    }
  }
}
