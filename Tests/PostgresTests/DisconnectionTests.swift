import Foundation
import Postgres
import PostgresTesting
import Testing

@Suite("Disconnection")
struct DisconnectionTests {
  @Test("a backend terminated mid-query fails that query, and the next one gets a new connection")
  func terminatedMidQuery() async throws {
    try await withPool { observer in
      try await withPool({ $0.poolSizeMax = 1 }) { pool in
        let pid = try #require(try await pool.query(BackendPID()).first)
        let victim = Task { try await pool.query(Sleep(seconds: 30)) }
        try await eventually("the statement was active") { try await observer.state(of: pid) == "active" }
        #expect(try await observer.query(TerminateBackend(pid: pid)) == [true])
        let error = await #expect(throws: PostgresError.self) { try await victim.value }
        #expect(error?.code == .connectionLost)
        #expect(error?.sqlState == "57P01")
        #expect(error?.statement == "Sleep")
        #expect(error?.isUnavailable == true)
        let next = try await pool.query(BackendPID())
        #expect(next != [pid])
      }
    }
  }

  @Test("an idle backend that is terminated is noticed without a query having to fail")
  func terminatedIdle() async throws {
    try await withPool { observer in
      try await withPool({ $0.poolSizeMax = 1 }) { pool in
        let pid = try #require(try await pool.query(BackendPID()).first)
        #expect(pool.gauges.open == 1)
        _ = try await observer.query(TerminateBackend(pid: pid))
        try await eventually("the pool dropped the connection") { pool.gauges.open == 0 }
        #expect(try await pool.query(One()) == [1])
      }
    }
  }

  @Test("a backend terminated in the middle of a transaction fails its next statement, and leaves nothing behind")
  func terminatedInTransaction() async throws {
    try await withDatabasePool(createCounters) { pool async throws in
      let error = await #expect(throws: PostgresError.self) {
        try await pool.withTransaction { connection in
          try await connection.execute(IncrementCounter(name: "a"))
          let pid = try #require(try await connection.query(BackendPID()).first)
          _ = try await pool.query(TerminateBackend(pid: pid))
          try await eventually("the connection noticed") { await connection.isClosed }
          try await connection.execute(IncrementCounter(name: "b"))
        }
      }
      #expect(error?.code == .connectionLost)
      #expect(try await pool.value(of: "a") == 0)
      #expect(pool.gauges.leased == 0)
    }
  }

  @Test("callers who wait for a connection that breaks get another")
  func waitersGetAnother() async throws {
    try await withPool { observer in
      try await withPool({ $0.poolSizeMax = 1 }) { pool in
        let pid = try #require(try await pool.query(BackendPID()).first)
        let victim = Task { try await pool.query(Sleep(seconds: 30)) }
        try await eventually("the statement was active") { try await observer.state(of: pid) == "active" }
        let waiting = Task { try await pool.query(One()) }
        try await eventually("the other waited") { pool.gauges.waiting == 1 }
        _ = try await observer.query(TerminateBackend(pid: pid))
        #expect(try await waiting.value == [1])
        await #expect(throws: PostgresError.self) { try await victim.value }
      }
    }
  }

  @Test("a server that stops makes queries fail as unavailable; once it is back, the same pool works again")
  func restart() async throws {
    try await OwnServer.with { server in
      let configuration = testConfiguration(try await server.url())
      try await PostgresPool.with(configuration) { pool in
        try await withThrowingTaskGroup { group in
          for _ in 0..<5 { group.addTask { _ = try await pool.query(Sleep(seconds: 0.05)) } }
          try await group.waitForAll()
        }
        try await server.stop()
        for _ in 1...3 {
          let error = await #expect(throws: PostgresError.self) { try await pool.query(One()) }
          #expect(error?.isUnavailable == true)
        }
        try await server.start()
        try await eventually("the pool worked again") { (try? await pool.query(One())) == [1] }
        try await server.restart()
        try await eventually("the pool worked again") { (try? await pool.query(One())) == [1] }
      }
    }
  }

  @Test("where nobody listens, the caller is told so, fast, and later callers without another attempt")
  func nobodyThere() async throws {
    let folder = "/tmp/latchkey-nobody-\(UUID().uuidString.prefix(8))"
    try await PostgresPool.with(testConfiguration("host=\(folder) user=postgres")) { pool in
      let start = ContinuousClock.now
      for _ in 1...100 {
        let error = await #expect(throws: PostgresError.self) { try await pool.query(One()) }
        #expect(error?.code == .connectFailed)
        #expect(error?.isUnavailable == true)
        #expect(error?.message.contains("No such file or directory") == true)
      }
      #expect(.now - start < muchTooLong)
      #expect(pool.gauges.open == 0)
    }
  }

  @Test("a hundred callers at once of a server that is away are all told, at once")
  func nobodyThereForMany() async throws {
    try await PostgresPool.with(testConfiguration("host=/nowhere user=postgres")) { pool in
      await withTaskGroup(of: PostgresError.Code?.self) { group in
        for _ in 0..<100 {
          group.addTask {
            do { _ = try await pool.query(One()) } catch { return (error as? PostgresError)?.code }
            return nil
          }
        }
        for await code in group { #expect(code == .connectFailed) }
      }
    }
  }

  @Test("a connection string that makes no sense, or a database that does not exist, is a clear failure")
  func wrongAddress() async throws {
    for (url, reason) in [("nonsense=1", "nonsense"), (try serverURL(database: "nobody_made_this"), "does not exist")] {
      try await PostgresPool.with(testConfiguration(url)) { pool in
        let error = await #expect(throws: PostgresError.self) { try await pool.query(One()) }
        #expect(error?.code == .connectFailed)
        #expect(error?.message.contains(reason) == true)
      }
    }
  }

  @Test("a host that swallows everything makes the caller wait no longer than for any connection")
  func blackHole() async throws {
    // A socket that is bound and listens, and that nobody ever accepts from.
    let path = "/tmp/latchkey-hole-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: path) }
    let listener = try unixListener(at: path + "/.s.PGSQL.5432")
    defer { close(listener) }
    let configuration = testConfiguration("host=\(path) user=postgres") { configuration in
      configuration.leaseTimeout = .milliseconds(200)
      configuration.drainTimeout = .zero
    }
    try await PostgresPool.with(configuration) { pool in
      let start = ContinuousClock.now
      let error = await #expect(throws: PostgresError.self) { try await pool.query(One()) }
      #expect(error?.code == .poolTimeout)
      #expect(.now - start < muchTooLong)
    }
  }
}
