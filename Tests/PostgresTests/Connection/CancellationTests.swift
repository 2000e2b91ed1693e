import Foundation
import Postgres
import PostgresTesting
import Testing

@Suite("Cancellation and time limits")
struct CancellationTests {
  /// Starts `Sleep` on the pool's only connection and waits until the server is at it.
  private func startSleep(_ pool: PostgresPool, observer: PostgresPool) async throws -> (Task<[Int], any Error>, Int) {
    let pid = try #require(try await pool.query(BackendPID()).first)
    let task = Task { try await pool.query(Sleep(seconds: 30)) }
    try await eventually("the statement was active") { try await observer.state(of: pid) == "active" }
    return (task, pid)
  }

  @Test("cancelling a task cancels its statement on the server, and the connection is used again")
  func cancelsOnServer() async throws {
    try await withPool { observer in
      try await withPool({ $0.poolSizeMax = 1 }) { pool in
        let (task, pid) = try await startSleep(pool, observer: observer)
        task.cancel()
        let error = await #expect(throws: PostgresError.self) { try await task.value }
        #expect(error?.code == .cancelled)
        #expect(error?.statement == "Sleep")
        #expect(try await observer.state(of: pid) == "idle")
        #expect(try await pool.query(BackendPID()) == [pid])
      }
    }
  }

  @Test("a task that is cancelled before it asks sends nothing")
  func cancelledBefore() async throws {
    try await withPool { pool in
      let task = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        return try await pool.query(One())
      }
      let error = await #expect(throws: PostgresError.self) { try await task.value }
      #expect(error?.code == .cancelled)
      #expect(pool.statistics.statementCount == 0)
    }
  }

  @Test("a task that is cancelled while it waits for a connection stops waiting at once")
  func cancelledWhileWaiting() async throws {
    try await withPool({ $0.poolSizeMax = 1 }) { pool in
      try await pool.withConnection { _ in
        let task = Task { try await pool.query(One()) }
        try await eventually("the task waited") { pool.gauges.waiting == 1 }
        task.cancel()
        let error = await #expect(throws: PostgresError.self) { try await task.value }
        #expect(error?.code == .cancelled)
        #expect(pool.gauges.waiting == 0)
        let cancelled = Task {
          withUnsafeCurrentTask { $0?.cancel() }
          return try await pool.query(One())
        }
        await #expect(throws: PostgresError.self) { try await cancelled.value }
        #expect(pool.gauges.waiting == 0)
      }
    }
  }

  @Test("a batch that is cancelled behind another on the same connection is never sent")
  func cancelledBehindAnother() async throws {
    try await withDatabasePool(createCounters) { pool in
      try await pool.withConnection { connection in
        let sleep = Task { try await connection.query(Sleep(number: 1, seconds: 0.3)) }
        try await eventually("the first was sent") { pool.statistics.batchCount == 2 }
        let increment = Task { try await connection.execute(IncrementCounter(name: "a")) }
        increment.cancel()
        let error = await #expect(throws: PostgresError.self) { try await increment.value }
        #expect(error?.code == .cancelled)
        #expect(try await sleep.value == [1])
      }
      #expect(try await pool.value(of: "a") == 0)
    }
  }

  @Test("the client's time limit cancels the statement on the server, and the connection is used again")
  func clientTimeout() async throws {
    try await withPool({ configuration in
      configuration.poolSizeMax = 1
      configuration.queryTimeout = .milliseconds(500)
    }) { pool in
      let pid = try await pool.query(BackendPID())
      let start = ContinuousClock.now
      let error = await #expect(throws: PostgresError.self) { try await pool.query(Sleep(seconds: 30)) }
      #expect(error?.code == .timeout)
      #expect(error?.isUnavailable == true)
      #expect(.now - start < muchTooLong)
      #expect(try await pool.query(BackendPID()) == pid)
      // The timer of a statement that was quick has not cancelled a later one.
      for _ in 1...4 { #expect(try await pool.query(Sleep(number: 4, seconds: 0.04)) == [4]) }
    }
  }

  @Test("the server's time limit is the server's error, and the connection is used again")
  func serverTimeout() async throws {
    try await withPool({ configuration in
      configuration.poolSizeMax = 1
      configuration.statementTimeout = .milliseconds(50)
    }) { pool in
      let pid = try await pool.query(BackendPID())
      let error = await #expect(throws: PostgresError.self) { try await pool.query(Sleep(seconds: 30)) }
      #expect(error?.code == .server)
      #expect(error?.sqlState == "57014")
      #expect(try await pool.query(BackendPID()) == pid)
    }
  }

  @Test("a storm of cancellations hits nobody else's statement, and costs no connection")
  func storm() async throws {
    let cancelled = Counter()
    try await withPool({ $0.poolSizeMax = 6 }) { pool in
      try await withThrowingTaskGroup { group in
        for number in 0..<400 {
          group.addTask {
            let victim = Task { try await pool.query(Sleep(number: number, seconds: Double.random(in: 0...0.004))) }
            if number.isMultiple(of: 2) {
              try await Task.sleep(for: .microseconds(Int.random(in: 0...300_000)))
              victim.cancel()
            }
            do {
              #expect(try await victim.value == [number])
            } catch let error as PostgresError {
              #expect(error.code == .cancelled)
              #expect(number.isMultiple(of: 2))
              cancelled.increment()
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(pool.gauges.open <= 6)
      #expect(pool.gauges.leased == 0)
    }
    #expect(cancelled.count > 0)
  }
}
