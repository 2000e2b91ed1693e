import Foundation
import Postgres
import PostgresTesting
import Testing

@Suite("Transactions")
struct TransactionTests {
  private struct Oops: Error {}

  @Test("changes are there after the body has returned, and its value is returned")
  func commit() async throws {
    try await withDatabasePool(createCounters) { pool in
      let value = try await pool.withTransaction { connection in
        try await connection.execute(IncrementCounter(name: "a"))
        return try await connection.query(ReadCounter(name: "a"))
      }
      #expect(value == [1])
      #expect(try await pool.value(of: "a") == 1)
    }
  }

  @Test("no change remains when the body throws, and the connection is used again")
  func rollback() async throws {
    try await withDatabasePool(createCounters, { $0.poolSizeMax = 1 }) { pool in
      let pid = try await pool.query(BackendPID())
      await #expect(throws: Oops.self) {
        try await pool.withTransaction { connection in
          try await connection.execute(IncrementCounter(name: "a"))
          throw Oops()
        }
      }
      #expect(try await pool.value(of: "a") == 0)
      #expect(try await pool.query(BackendPID()) == pid)
    }
  }

  @Test("no change remains when the task is cancelled, during a statement or after the last one")
  func cancellation() async throws {
    try await withDatabasePool(createCounters, { $0.poolSizeMax = 2 }) { pool async throws in
      let during = Task {
        try await pool.withTransaction { connection in
          try await connection.execute(IncrementCounter(name: "a"))
          withUnsafeCurrentTask { $0?.cancel() }
          _ = try await connection.query(Sleep(seconds: 30))
        }
      }
      await #expect(throws: PostgresError.self) { try await during.value }
      let after = Task {
        try await pool.withTransaction { connection in
          try await connection.execute(IncrementCounter(name: "a"))
          withUnsafeCurrentTask { $0?.cancel() }
        }
      }
      await #expect(throws: CancellationError.self) { try await after.value }
      #expect(try await pool.value(of: "a") == 0)
      #expect(pool.gauges.leased == 0)
    }
  }

  @Test("begin is sent with the first statement, so a transaction of one statement takes two round trips")
  func beginIsFree() async throws {
    try await withPool { pool in
      _ = try await pool.withTransaction { try await $0.query(One()) }
      #expect(pool.statistics.batchCount == 2)
      #expect(pool.statistics.statementCount == 3)
      _ = try await pool.withTransaction { try await $0.pipeline(One(), One(), One()) }
      #expect(pool.statistics.batchCount == 4)
    }
  }

  @Test("a transaction without a statement sends nothing, whether it returns or throws")
  func empty() async throws {
    try await withPool({ $0.poolSizeMax = 1 }) { pool in
      try await pool.withTransaction { _ in }
      await #expect(throws: Oops.self) { try await pool.withTransaction { _ in throw Oops() } }
      #expect(pool.statistics.batchCount == 0)
      #expect(pool.gauges == (open: 1, leased: 0, waiting: 0))
      #expect(try await pool.query(One()) == [1])
    }
  }

  @Test("a body that ignores the failure of a statement cannot commit")
  func ignoredFailure() async throws {
    try await withDatabasePool(createCounters) { pool async throws in
      let error = await #expect(throws: PostgresError.self) {
        try await pool.withTransaction { connection in
          try await connection.execute(IncrementCounter(name: "a"))
          _ = try? await connection.query(DivideByZero())
        }
      }
      #expect(error?.code == .protocolViolation)
      #expect(try await pool.value(of: "a") == 0)
    }
  }

  @Test("a first statement that fails, is a script, or is given up before it is sent is still in the transaction")
  func firstStatement() async throws {
    try await withDatabasePool(createCounters, { $0.poolSizeMax = 1 }) { pool async throws in
      for script in ["update counters set value = 1", "select 1; update counters set value = 1"] {
        await #expect(throws: Oops.self) {
          try await pool.withTransaction { connection in
            try await connection.executeScript(script)
            throw Oops()
          }
        }
      }
      await #expect(throws: Oops.self) {
        try await pool.withTransaction { connection in
          let givenUp = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await connection.query(One())
          }
          _ = try? await givenUp.value
          try await connection.execute(IncrementCounter(name: "a"))
          throw Oops()
        }
      }
      let error = await #expect(throws: PostgresError.self) {
        try await pool.withTransaction { connection in
          _ = try? await connection.query(DivideByZero())
          try await connection.execute(IncrementCounter(name: "a"))
        }
      }
      #expect(error?.sqlState == "25P02")
      #expect(try await pool.value(of: "a") == 0)
    }
  }

  @Test("the error names the violated constraint")
  func constraint() async throws {
    try await withDatabasePool(createCounters) { pool in
      let error = await #expect(throws: PostgresError.self) {
        try await pool.withTransaction { try await $0.execute(InsertCounter(name: "a")) }
      }
      #expect(error?.violates("counters_pkey") == true)
    }
  }

  // MARK: Running again

  @Test("a serialization failure runs the body again")
  func serializationFailure() async throws {
    try await withDatabasePool(createCounters) { pool in
      let attempts = Counter()
      try await pool.withTransaction(isolation: .repeatableRead) { connection in
        let value = try await connection.query(ReadCounter(name: "a"))
        // Another transaction is faster, the first time.
        if attempts.increment() == 1 {
          #expect(value == [0])
          try await pool.execute(IncrementCounter(name: "a"))
        }
        try await connection.execute(IncrementCounter(name: "a"))
      }
      #expect(attempts.count == 2)
      #expect(try await pool.value(of: "a") == 2)
    }
  }

  private struct SumInto: PostgresStatement {
    static let sql = "update counters set value = (select sum(value) + 1 from counters) where name = $1"
    let name: String
    func bind(_ bindings: inout PostgresBindings) { bindings.append(name) }
  }

  @Test("a serialization failure that only the commit reports runs the body again")
  func serializationFailureAtCommit() async throws {
    try await withDatabasePool(createCounters) { pool in
      let attempts = Counter()
      try await pool.withTransaction(isolation: .serializable) { connection in
        try await connection.execute(SumInto(name: "a"))
        if attempts.increment() == 1 {
          // Write skew: each reads what the other writes.
          _ = try await pool.withTransaction(isolation: .serializable) { try await $0.execute(SumInto(name: "b")) }
        }
      }
      #expect(attempts.count == 2)
      #expect(try await pool.value(of: "b") == 1)
      #expect(try await pool.value(of: "a") == 2)
    }
  }

  @Test("of two transactions in a deadlock, one is run again and both succeed")
  func deadlock() async throws {
    try await withDatabase { url in
      let quick = url + " options='-c deadlock_timeout=20ms'"
      try await PostgresPool.with(testConfiguration(quick)) { pool in
        try await pool.withConnection { try await $0.executeScript(createCounters) }
        let (holdingFirst, attempts) = (Counter(), Counter())
        try await withThrowingTaskGroup { group in
          for names in [["a", "b"], ["b", "a"]] {
            group.addTask {
              try await pool.withTransaction { connection in
                attempts.increment()
                try await connection.execute(IncrementCounter(name: names[0]))
                holdingFirst.increment()
                try await eventually("both held their first row") { holdingFirst.count >= 2 }
                try await connection.execute(IncrementCounter(name: names[1]))
              }
            }
          }
          try await group.waitForAll()
        }
        // The transaction that is run again may take the row that the other was woken for, which leads to another
        // deadlock.
        #expect(attempts.count >= 3)
        #expect(try await pool.value(of: "a") == 2)
        #expect(try await pool.value(of: "b") == 2)
      }
    }
  }

  @Test("a body that can never succeed is run a bounded number of times")
  func boundedRetries() async throws {
    try await withDatabasePool(createCounters) { pool in
      let attempts = Counter()
      let error = await #expect(throws: PostgresError.self) {
        try await pool.withTransaction(isolation: .repeatableRead) { connection in
          attempts.increment()
          _ = try await connection.query(ReadCounter(name: "a"))
          try await pool.execute(IncrementCounter(name: "a"))
          try await connection.execute(IncrementCounter(name: "a"))
        }
      }
      #expect(error?.isRetryable == true)
      #expect(attempts.count == 5)
    }
  }

  // MARK: Commits

  private static let slowCommit = """
    create function wait_long() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return null; end $$;
    create constraint trigger slow after update on counters deferrable initially deferred
      for each row execute function wait_long();
    """

  @Test("a connection that breaks during a commit reports that the outcome is unknown")
  func commitUnknown() async throws {
    try await withDatabasePool(createCounters + Self.slowCommit) { pool in
      let pids = Recorder<Int>()
      let transaction = Task {
        try await pool.withTransaction { connection in
          try await connection.execute(IncrementCounter(name: "a"))
          pids.append(try #require(try await connection.query(BackendPID()).first))
        }
      }
      try await eventually("the commit was active") {
        guard let pid = pids.elements.first else { return false }
        return try await pool.query(BackendIsRunning(pid: pid, statement: "commit")) == [true]
      }
      _ = try await pool.query(TerminateBackend(pid: pids.elements[0]))
      let error = await #expect(throws: PostgresError.self) { try await transaction.value }
      #expect(error?.code == .commitUnknown)
    }
  }

  private struct BackendIsRunning: PostgresStatement {
    typealias Row = Bool
    static let sql = "select state = 'active' and query = $2 from pg_stat_activity where pid = $1"
    let pid: Int
    let statement: String
    func bind(_ bindings: inout PostgresBindings) { bindings.append(Int32(pid), statement) }
  }

  @Test("a commit that outlasts its deadline continues outside the pool, and its caller gets an unknown outcome")
  func commitTimeout() async throws {
    let events = Recorder<PostgresEvent>()
    let slow = createCounters + Self.slowCommit.replacing("pg_sleep(30)", with: "pg_sleep(2)")
    try await withDatabasePool(
      slow,
      { configuration in
        configuration.queryTimeout = .milliseconds(300)
        configuration.poolSizeMax = 1
        configuration.observe = { events.append($0) }
      }
    ) { pool async throws in
      for change in ["transaction", "statement"] {
        let error = await #expect(throws: PostgresError.self) {
          if change == "transaction" {
            try await pool.withTransaction { try await $0.execute(IncrementCounter(name: "a")) }
          } else {
            try await pool.execute(IncrementCounter(name: "b"))
          }
        }
        #expect(error?.code == .commitUnknown)
        #expect(pool.pendingCommitCount == 1)
        #expect(pool.gauges.leased == 0)
        // Reads continue, changes are refused before they start.
        #expect(try await pool.query(One()) == [1])
        let refused = await #expect(throws: PostgresError.self) {
          try await pool.execute(IncrementCounter(name: "b"))
        }
        #expect(refused?.code == .commitsPending)
        try await eventually("the commit ended") { pool.pendingCommitCount == 0 }
      }
      #expect(try await pool.value(of: "a") == 1)
      #expect(try await pool.value(of: "b") == 1)
      #expect(
        events.elements == [
          .commitLeft, .commitSettled(isCommitted: true), .commitLeft, .commitSettled(isCommitted: true),
        ])
    }
  }
}
