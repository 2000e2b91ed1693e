import Foundation
import Postgres
import PostgresTesting
import Testing

@Suite("Disconnection")
struct DisconnectionTests {
  @Test("a backend terminated under a query that runs for long fails that query; the next one gets a new connection")
  func terminatedMidQuery() async throws {
    try await withPool { observer in
      try await withPool({ $0.poolSizeMax = 1 }) { pool in
        let pid = try #require(try await pool.query(BackendPID()).first)
        let victim = Task { try await pool.query(Sleep(seconds: 30)) }
        try await eventually("the statement ran for long") { try await observer.query(RunsLong(pid: pid)) == [true] }
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

  @Test("a transaction whose backend is terminated in its middle is run again, and nothing of the first time stands")
  func terminatedInTransaction() async throws {
    try await withDatabasePool(createCounters) { pool async throws in
      let attempts = Counter()
      try await pool.withTransaction { connection in
        try await connection.execute(IncrementCounter(name: "a"))
        if attempts.increment() == 1 {
          let pid = try #require(try await connection.query(BackendPID()).first)
          _ = try await pool.query(TerminateBackend(pid: pid))
          try await eventually("the connection noticed") { await connection.isClosed }
        }
        try await connection.execute(IncrementCounter(name: "b"))
      }
      #expect(attempts.count == 2)
      #expect(try await pool.value(of: "a") == 1)
      #expect(try await pool.value(of: "b") == 1)
      #expect(pool.gauges.leased == 0)
    }
  }

  @Test("whatever comes right after all backends were terminated is carried out, once, on new connections")
  func rightAfterTermination() async throws {
    try await withDatabase { url in
      let name = "terminated-\(UUID())"
      let configuration = testConfiguration(url) { configuration in
        configuration.applicationName = name
        configuration.poolSizeMax = 4
      }
      try await PostgresPool.with(testConfiguration(url)) { observer in
        try await observer.withConnection { try await $0.executeScript(createCounters) }
        try await PostgresPool.with(configuration) { pool in
          for round in 1...100 {
            try await withThrowingTaskGroup { group in
              for _ in 0..<4 { group.addTask { _ = try await pool.query(Sleep(seconds: 0.001)) } }
              try await group.waitForAll()
            }
            let count = try await observer.query(TerminateBackends(applicationName: name))[0]
            #expect(count > 0)
            async let read = pool.query(ReadCounter(name: "b"))
            async let change = pool.execute(IncrementCounter(name: "a"))
            async let transaction: Void = pool.withTransaction { connection in
              try await connection.execute(IncrementCounter(name: "a"))
              _ = try await connection.query(One())
            }
            async let both = pool.pipeline(IncrementCounter(name: "a"), One())
            _ = try await (read, change, transaction, both)
            #expect(try await observer.value(of: "a") == 3 * round)
          }
        }
      }
    }
  }

  @Test("in a storm of terminations what was acknowledged stands, once, and what was refused does not")
  func storm() async throws {
    try await withDatabase { url in
      let name = "storm-\(UUID())"
      let events = Recorder<PostgresEvent>()
      let configuration = testConfiguration(url) { configuration in
        configuration.applicationName = name
        configuration.poolSizeMax = 4
        configuration.observe = { events.append($0) }
      }
      try await PostgresPool.with(testConfiguration(url)) { observer in
        try await observer.withConnection { try await $0.executeScript(createCounters) }
        try await PostgresPool.with(configuration) { pool in
          let (acknowledged, unknown) = (Counter(), Counter())
          let terminator = Task {
            while !Task.isCancelled {
              _ = try await observer.query(TerminateBackends(applicationName: name))
              try await Task.sleep(for: .milliseconds(Int.random(in: 20...200)))
            }
          }
          await withTaskGroup { group in
            for worker in 0..<4 {
              group.addTask {
                for number in 0..<300 {
                  do {
                    switch (worker + number) % 3 {
                    case 0: try await pool.execute(IncrementCounter(name: "a"))
                    case 1: _ = try await pool.pipeline(One(), IncrementCounter(name: "a"), One())
                    default:
                      try await pool.withTransaction { connection in
                        _ = try await connection.query(One())
                        try await connection.execute(IncrementCounter(name: "a"))
                      }
                    }
                    acknowledged.increment()
                  } catch let error as PostgresError {
                    if error.code == .commitUnknown { unknown.increment() } else { #expect(error.isUnavailable) }
                  } catch {
                    Issue.record("\(error)")
                  }
                }
              }
            }
          }
          terminator.cancel()
          _ = try? await terminator.value
          let value = try #require(try await observer.value(of: "a"))
          #expect(value >= acknowledged.count)
          #expect(value <= acknowledged.count + unknown.count)
          #expect(acknowledged.count > 100)
          #expect(events.elements.contains(.sentAgain))
        }
      }
    }
  }

  @Test("one statement that a silent server leaves without an answer has the idle connections closed, too")
  func silence() async throws {
    try await OwnServer.with { server in
      let events = Recorder<PostgresEvent>()
      let configuration = testConfiguration(try await server.url()) { configuration in
        configuration.poolSizeMax = 4
        configuration.queryTimeout = .milliseconds(300)
        configuration.cancelTimeout = .milliseconds(300)
        configuration.leaseTimeout = .milliseconds(300)
        configuration.drainTimeout = .zero
        configuration.observe = { events.append($0) }
      }
      try await PostgresPool.with(configuration) { pool in
        try await withThrowingTaskGroup { group in
          for _ in 0..<4 { group.addTask { _ = try await pool.query(Sleep(seconds: 0.1)) } }
          try await group.waitForAll()
        }
        #expect(pool.gauges.open == 4)
        let processes = try server.processes()
        for id in processes { kill(id, SIGSTOP) }
        let error = await #expect(throws: PostgresError.self) { try await pool.query(One()) }
        #expect(error?.code == .timeout)
        #expect(error?.isUnavailable == true)
        #expect(events.elements == [.condemned(connections: 3)])
        #expect(pool.gauges.open == 0)
        for id in processes { kill(id, SIGCONT) }
        try await eventually("the pool worked again") { (try? await pool.query(One())) == [1] }
      }
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
        victim.cancel()
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
