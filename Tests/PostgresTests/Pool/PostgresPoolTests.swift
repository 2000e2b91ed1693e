import Foundation
import Postgres
import PostgresTesting
import Testing

@Suite("PostgresPool")
struct PostgresPoolTests {
  @Test("a pool opens connections only when needed, and no more than its maximum")
  func size() async throws {
    let name = "size-\(UUID())"
    try await withPool { observer in
      try await withPool({ configuration in
        configuration.poolSizeMax = 3
        configuration.applicationName = name
      }) { pool in
        #expect(try await observer.query(CountBackends(applicationName: name)) == [0])
        _ = try await pool.query(One())
        _ = try await pool.query(One())
        #expect(try await observer.query(CountBackends(applicationName: name)) == [1])
        await withDiscardingTaskGroup { group in
          for _ in 0..<50 { group.addTask { await holdUntilThreeAreOpen(pool) } }
        }
        #expect(try await observer.query(CountBackends(applicationName: name)) == [3])
        #expect(pool.gauges == (open: 3, leased: 0, waiting: 0))
      }
      try await eventually("the connections were closed") {
        try await observer.query(CountBackends(applicationName: name)) == [0]
      }
    }
  }

  @Test("when every connection is in use, a caller waits for the configured time and then gets an error")
  func exhausted() async throws {
    try await withPool({ configuration in
      configuration.poolSizeMax = 1
      // Opening the only connection has to be complete by then as well.
      configuration.leaseTimeout = .seconds(2)
    }) { pool in
      try await pool.withConnection { connection async throws in
        let start = ContinuousClock.now
        let error = await #expect(throws: PostgresError.self) { try await pool.query(One()) }
        #expect(error?.code == .poolTimeout)
        #expect(error?.isUnavailable == true)
        #expect(.now - start >= .seconds(2))
        #expect(.now - start < muchTooLong)
        #expect(try await connection.query(One()) == [1])
      }
      #expect(try await pool.query(One()) == [1])
    }
  }

  @Test("a caller that finds the queue full gets an error immediately")
  func queueFull() async throws {
    try await withPool({ configuration in
      configuration.poolSizeMax = 1
      configuration.waiterCountMax = 2
    }) { pool in
      try await pool.withConnection { _ in
        let waiting = (1...2).map { _ in Task { try await pool.query(One()) } }
        try await eventually("two waited") { pool.gauges.waiting == 2 }
        let error = await #expect(throws: PostgresError.self) { try await pool.query(One()) }
        #expect(error?.code == .poolQueueFull)
        for task in waiting { task.cancel() }
        for task in waiting { await #expect(throws: PostgresError.self) { try await task.value } }
      }
    }
  }

  @Test("callers are served in the order in which they arrived")
  func fairness() async throws {
    let served = Recorder<Int>()
    try await withPool({ $0.poolSizeMax = 1 }) { pool in
      try await withThrowingTaskGroup { group in
        try await pool.withConnection { _ in
          for number in 1...20 {
            group.addTask {
              // Recorded while the connection is held, so that the next cannot be quicker.
              try await pool.withConnection { _ in served.append(number) }
            }
            try await eventually("number \(number) waited") { pool.gauges.waiting == number }
          }
        }
        try await group.waitForAll()
      }
    }
    #expect(served.elements == Array(1...20))
  }

  @Test("a connection that is returned with a transaction open is not lent again")
  func openTransaction() async throws {
    try await withPool({ $0.poolSizeMax = 1 }) { pool in
      let first = try await pool.withConnection { connection in
        try await connection.execute(Begin())
        return try await connection.query(BackendPID())
      }
      let second = try await pool.query(BackendPID())
      #expect(first != second)
      try await pool.execute(Begin())
      let third = try await pool.query(BackendPID())
      #expect(second != third)
      #expect(try await pool.query(BackendPID()) == third)
      #expect(pool.gauges.open == 1)
    }
  }

  @Test("after an error in the body, the connection is returned and can be used again")
  func bodyThrows() async throws {
    struct Oops: Error {}
    try await withPool({ $0.poolSizeMax = 1 }) { pool in
      let pid = try await pool.query(BackendPID())
      await #expect(throws: Oops.self) { try await pool.withConnection { _ in throw Oops() } }
      await #expect(throws: PostgresError.self) { try await pool.query(DivideByZero()) }
      #expect(try await pool.query(BackendPID()) == pid)
    }
  }

  @Test(
    "a backslash in a string is a backslash, whatever the login's settings are", arguments: PostgresPreparing.allCases)
  func backslashes(preparing: PostgresPreparing) async throws {
    struct Backslashes: PostgresStatement {
      typealias Row = String
      static let sql = #"select '\\'"#
    }
    let url = try serverURL() + " options='-c standard_conforming_strings=off'"
    try await PostgresPool.with(testConfiguration(url) { $0.preparing = preparing }) { pool in
      let texts = try await pool.query(Backslashes())
      #expect(texts == [#"\\"#])
    }
  }

  @Test("connections have the configured name, time zone and time limit")
  func session() async throws {
    struct Settings: PostgresStatement {
      typealias Row = [String]
      static let sql = """
        select array[current_setting('application_name'), current_setting('timezone'),
          current_setting('statement_timeout'), current_setting('client_encoding')]
        """
    }
    try await withPool({ $0.statementTimeout = .milliseconds(1_500) }) { pool async throws in
      #expect(try await pool.query(Settings()) == [["latchkey", "UTC", "1500ms", "UTF8"]])
    }
    let url = try serverURL() + " application_name=other"
    try await PostgresPool.with(testConfiguration(url)) { pool async throws in
      #expect(try await pool.query(Settings()).first?.first == "other")
    }
  }
}

/// Returns a connection when the pool has opened another two for waiting callers.
private func holdUntilThreeAreOpen(_ pool: PostgresPool) async {
  do {
    try await pool.withConnection { connection in
      _ = try await connection.query(One())
      try await eventually("three are open") { pool.gauges.open == 3 }
    }
  } catch {
    Issue.record(error)
  }
}
