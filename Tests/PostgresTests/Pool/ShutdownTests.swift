import Postgres
import PostgresTesting
import ServiceLifecycle
import ServiceLifecycleTestKit
import Testing

@Suite("Shutdown")
struct ShutdownTests {
  @Test("graceful shutdown waits for the connections in use, and refuses whoever comes later")
  func graceful() async throws {
    try await withPool { pool in
      try await testGracefulShutdown { trigger in
        let service = Task { try await pool.run() }
        let query = Task { try await pool.query(Sleep(number: 7, seconds: 0.3)) }
        try await eventually("the query was under way") { pool.statistics.batchCount == 1 }
        trigger.triggerGracefulShutdown()
        try await eventually("callers were refused") {
          do { _ = try await pool.query(One()) } catch { return (error as? PostgresError)?.code == .shutdown }
          return false
        }
        try await service.value
        #expect(pool.gauges.open == 0)
        #expect(try await query.value == [7])
      }
    }
  }

  @Test("a shutdown waits no longer than allowed, and then closes under the user's feet")
  func bounded() async throws {
    try await withPool({ $0.drainTimeout = .milliseconds(100) }) { pool in
      let query = Task { try await pool.query(Sleep(seconds: 30)) }
      try await eventually("the query was under way") { pool.statistics.batchCount == 1 }
      let start = ContinuousClock.now
      await pool.shutDown()
      #expect(.now - start >= .milliseconds(100))
      #expect(.now - start < muchTooLong)
      let error = await #expect(throws: PostgresError.self) { try await query.value }
      #expect(error?.code == .shutdown)
    }
  }

  @Test("those who wait for a connection are dismissed by a shutdown, and those who hold one are not")
  func waiters() async throws {
    try await withPool({ $0.poolSizeMax = 1 }) { pool in
      let (waiting, shutDown) = try await pool.withConnection { connection in
        let waiting = Task { try await pool.query(One()) }
        try await eventually("the caller waited") { pool.gauges.waiting == 1 }
        let shutDown = Task { await pool.shutDown() }
        let error = await #expect(throws: PostgresError.self) { try await waiting.value }
        #expect(try await connection.query(One()) == [1])
        return (error, shutDown)
      }
      await shutDown.value
      #expect(waiting?.code == .shutdown)
    }
  }

  @Test("a service that is cancelled outright still waits for the connections in use")
  func cancelled() async throws {
    try await withPool { pool in
      let service = Task { try await pool.run() }
      let query = Task { try await pool.query(Sleep(number: 7, seconds: 0.2)) }
      try await eventually("the query was under way") { pool.statistics.batchCount == 1 }
      service.cancel()
      try? await service.value
      #expect(try await query.value == [7])
      #expect(pool.gauges.open == 0)
    }
  }

  @Test("connections that were idle for too long are closed by the service")
  func idle() async throws {
    try await withPool({ $0.idleTimeout = .zero }) { pool in
      try await withThrowingTaskGroup { group in
        group.addTask { try await pool.run() }
        _ = try await pool.query(One())
        #expect(pool.gauges.open == 1)
        try await eventually("the idle connection was closed") { pool.gauges.open == 0 }
        group.cancelAll()
      }
    }
  }
}
