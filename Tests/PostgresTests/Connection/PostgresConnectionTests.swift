import Postgres
import Testing

@Suite("PostgresConnection")
struct PostgresConnectionTests {
  // MARK: Size

  @Test("texts and bytes of a megabyte are sent and received unchanged")
  func megabyte() async throws {
    try await withPool { pool async throws in
      let text = String(repeating: "0123456789abcdé", count: 65_536)
      #expect(try await pool.query(Echo(value: text)).first == text)
      let bytes = PostgresBytes((0..<1_048_576).map { UInt8(truncatingIfNeeded: $0 &* 31) })
      #expect(try await pool.query(Echo(value: bytes)).first == bytes)
    }
  }

  @Test("sixteen megabytes, far more than a socket's buffer, are sent and received unchanged")
  func sixteenMegabytes() async throws {
    try await withPool { pool async throws in
      let bytes = PostgresBytes([UInt8](repeating: 0xA5, count: 16 << 20))
      #expect(try await pool.query(Echo(value: bytes)).first == bytes)
    }
  }

  private struct Series: PostgresStatement {
    typealias Row = Int
    static let sql = "select generate_series(1, 100000)"
  }

  @Test("a hundred thousand rows arrive in order")
  func manyRows() async throws {
    try await withPool { pool async throws in #expect(try await pool.query(Series()) == Array(1...100_000)) }
  }

  // MARK: Errors

  @Test("the error of a refused statement names the statement, the reason and the constraint")
  func constraint() async throws {
    try await withDatabasePool(createCounters) { pool in
      let duplicate = await #expect(throws: PostgresError.self) { try await pool.execute(InsertCounter(name: "a")) }
      #expect(duplicate?.code == .server)
      #expect(duplicate?.sqlState == "23505")
      #expect(duplicate?.statement == "InsertCounter")
      #expect(duplicate?.violates("counters_pkey") == true)
      let negative = await #expect(throws: PostgresError.self) {
        try await pool.execute(InsertCounter(name: "c", value: -1))
      }
      #expect(negative?.violates("counters_value_positive") == true)
      #expect(negative?.violates("counters_pkey") == false)
    }
  }

  @Test("execute returns the number of rows that it touched")
  func affectedRows() async throws {
    try await withDatabasePool(createCounters) { pool async throws in
      #expect(try await pool.execute(InsertCounter(name: "c")) == 1)
      #expect(try await pool.execute(IncrementCounter(name: "nobody")) == 0)
    }
  }

  // MARK: Pipelines

  @Test("statements in a pipeline take one round trip, and each returns its own rows")
  func pipeline() async throws {
    try await withPool { pool in
      let before = pool.statistics.batchCount
      let (number, text, one) = try await pool.pipeline(Echo(value: 7), Echo(value: "seven"), One())
      #expect(number == [7])
      #expect(text == ["seven"])
      #expect(one == [1])
      #expect(pool.statistics.batchCount == before + 1)
    }
  }

  @Test("statements that run for their effects share the round trip of the last one, whose rows are returned")
  func pipelineThen() async throws {
    try await withDatabasePool(createCounters) { pool async throws in
      let before = pool.statistics.batchCount
      let rows = try await pool.pipeline(IncrementCounter(name: "a"), IncrementCounter(name: "a"), then: Echo(value: 7))
      #expect(rows == [7])
      #expect(pool.statistics.batchCount == before + 1)
      #expect(try await pool.value(of: "a") == 2)
      #expect(try await pool.withTransaction { try await $0.pipeline(One(), then: Echo(value: "seven")) } == ["seven"])

      let error = await #expect(throws: PostgresError.self) {
        _ = try await pool.pipeline(IncrementCounter(name: "a"), then: DivideByZero())
      }
      #expect(error?.statement == "DivideByZero")
      #expect(try await pool.value(of: "a") == 2)
    }
  }

  @Test("a failing statement rolls back the whole pipeline, and its error is reported")
  func pipelineFails() async throws {
    try await withDatabasePool(createCounters) { pool async throws in
      let error = await #expect(throws: PostgresError.self) {
        _ = try await pool.pipeline(IncrementCounter(name: "a"), DivideByZero(), IncrementCounter(name: "b"))
      }
      #expect(error?.sqlState == "22012")
      #expect(error?.statement == "DivideByZero")
      #expect(try await pool.value(of: "a") == 0)
      #expect(try await pool.value(of: "b") == 0)
    }
  }

  @Test("many executions of one statement take one round trip, and it is prepared once")
  func pipelineEach() async throws {
    try await withPool { pool in
      try await pool.withConnection { connection in
        let rows = try await connection.pipeline(each: (1...500).map { Echo(value: $0) })
        #expect(rows == (1...500).map { [$0] })
        #expect(try await connection.pipeline(each: [One]()).isEmpty)
      }
      #expect(pool.statistics.batchCount == 1)
    }
  }

  // MARK: Prepared statements

  private struct PreparedCount: PostgresStatement {
    typealias Row = Int
    static let sql = "select count(*) from pg_prepared_statements where statement = 'select 1'"
  }

  @Test("a statement is prepared once per connection")
  func preparedOnce() async throws {
    try await withPool { pool in
      try await pool.withConnection { connection in
        for _ in 1...3 { _ = try await connection.query(One()) }
        _ = try await connection.pipeline(One(), One())
        #expect(try await connection.query(PreparedCount()) == [1])
        try await pool.withConnection { other async throws in #expect(try await other.query(PreparedCount()) == [0]) }
      }
    }
  }

  @Test("a statement before the failure in a pipeline stays prepared, one after the failure is not prepared")
  func preparedInFailedPipeline() async throws {
    try await withPool { pool in
      try await pool.withConnection { connection async throws in
        await #expect(throws: PostgresError.self) { _ = try await connection.pipeline(DivideByZero(), One()) }
        #expect(try await connection.query(PreparedCount()) == [0])
        await #expect(throws: PostgresError.self) { _ = try await connection.pipeline(One(), DivideByZero()) }
        #expect(try await connection.query(PreparedCount()) == [1])
        #expect(try await connection.query(One()) == [1])
        #expect(try await connection.query(PreparedCount()) == [1])
      }
    }
  }

  private struct SyntaxError: PostgresStatement {
    static let sql = "selec 1"
  }

  @Test("a statement that cannot be prepared fails each time, and the connection stays usable")
  func syntaxError() async throws {
    try await withPool { pool in
      try await pool.withConnection { connection async throws in
        for _ in 1...2 {
          let error = await #expect(throws: PostgresError.self) { try await connection.execute(SyntaxError()) }
          #expect(error?.sqlState == "42601")
          #expect(error?.statement == "SyntaxError")
          #expect(try await connection.query(One()) == [1])
        }
      }
      #expect(pool.gauges.open == 1)
    }
  }

  @Test("a statement whose result type has changed fails once and then works again")
  func changedResultType() async throws {
    struct SelectAll: PostgresStatement {
      typealias Row = Int
      static let sql = "select value from counters where name = 'a'"
    }
    try await withDatabasePool(createCounters) { pool in
      try await pool.withConnection { connection in
        #expect(try await connection.query(SelectAll()) == [0])
        try await connection.executeScript("alter table counters alter column value type int4")
        let error = await #expect(throws: PostgresError.self) { try await connection.query(SelectAll()) }
        #expect(error?.sqlState == "0A000")
        #expect(try await connection.query(SelectAll()) == [0])
      }
    }
  }

  @Test("a statement that was deallocated is prepared again")
  func deallocated() async throws {
    try await withPool { pool in
      try await pool.withConnection { connection in
        _ = try await connection.query(One())
        try await connection.executeScript("deallocate all")
        await #expect(throws: PostgresError.self) { try await connection.query(One()) }
        #expect(try await connection.query(One()) == [1])
      }
    }
  }

  // MARK: Scripts

  @Test("a script runs its statements as one transaction, and prepared statements work afterwards")
  func script() async throws {
    try await withDatabasePool(createCounters) { pool in
      try await pool.withConnection { connection in
        let error = await #expect(throws: PostgresError.self) {
          try await connection.executeScript("update counters set value = 5; select 1/0; update counters set value = 6")
        }
        #expect(error?.sqlState == "22012")
        #expect(try await connection.query(ReadCounter(name: "a")) == [0])
        try await connection.executeScript("update counters set value = 5; select 1; select 2")
        #expect(try await connection.query(ReadCounter(name: "a")) == [5])
        try await connection.executeScript("")
        #expect(try await connection.query(One()) == [1])
      }
    }
  }

  @Test("copy, which this client does not support, closes the connection instead of blocking it")
  func copy() async throws {
    try await withPool { pool async throws in
      let error = await #expect(throws: PostgresError.self) {
        try await pool.withConnection { try await $0.executeScript("copy (select 1) to stdout") }
      }
      #expect(error?.code == .protocolViolation)
      #expect(try await pool.query(One()) == [1])
    }
  }

  // MARK: One connection, many tasks

  @Test("tasks that share a connection each get their own results")
  func shared() async throws {
    try await withPool { pool in
      try await pool.withConnection { connection in
        try await withThrowingTaskGroup(of: (Int, [Int?]).self) { group in
          for number in 0..<200 {
            group.addTask { (number, try await connection.query(Echo(value: number))) }
          }
          for try await (number, rows) in group { #expect(rows == [number]) }
        }
      }
    }
  }

  @Test("a closed connection refuses statements instead of blocking")
  func closed() async throws {
    try await withPool { pool in
      let connection = try await pool.openConnection()
      #expect(connection.serverVersion >= 150_000)
      await connection.close()
      #expect(await connection.isClosed)
      let error = await #expect(throws: PostgresError.self) { try await connection.query(One()) }
      #expect(error?.code == .shutdown)
    }
  }
}
