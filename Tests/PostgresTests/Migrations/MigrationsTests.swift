import Testing

@testable import Postgres

@Suite("Migrations")
struct MigrationsTests {
  private let files = [
    "0001_counters": "-- It's the first.\n" + createCounters,
    "0002_more": "insert into counters values ('c', 1)\n-- no semicolon, and a comment at the end",
  ]

  private func migrations(
    _ files: [String: String], replacing replaced: [Migrations.Applied] = [], withFirst baselineCount: Int = 0
  ) throws(PostgresError) -> Migrations {
    var sorted: [Migrations.File] = []
    for (name, sql) in files.sorted(by: { $0.key < $1.key }) {
      sorted.append(try Migrations.File(name: name, sql: sql))
    }
    return try Migrations(sorted, replacing: replaced, withFirst: baselineCount)
  }

  // MARK: The files

  @Test(
    "files with a gap, a duplicate number, a wrong name or none at all are refused, and the error names the file",
    arguments: [
      (["0001_a", "0003_c"], "0003_c"), (["0001_a", "0001_b"], "0001_b"), (["first"], "first"), (["1_a"], "1_a"),
      (["0000_a"], "0000_a"), (["+001_a"], "+001_a"), (["0001"], "0001"), ([], "no migrations"),
    ])
  func wrongFiles(names: [String], part: String) {
    let error = #expect(throws: PostgresError.self) {
      try migrations(Dictionary(uniqueKeysWithValues: names.map { ($0, "") }))
    }
    #expect(error?.code == .migrationMismatch)
    #expect(error?.message.contains(part) == true)
  }

  @Test(
    "an invalid compatibility line is refused, and the error names the file",
    arguments: ["0003", "0000", "2", "two", "", "0001\n-- compatible-from: 0001", "0001 0002", "+001"])
  func wrongCompatibility(value: String) {
    let error = #expect(throws: PostgresError.self) {
      try Migrations.File(name: "0002_b", sql: "-- A file.\n-- compatible-from: \(value)\nselect 1")
    }
    #expect(error?.message.contains("0002_b") == true)
  }

  @Test("a file says from which version on it is compatible; the default is its own")
  func compatibility() throws {
    let file = try Migrations.File(name: "0012_b", sql: "-- A file.\n-- compatible-from: 0009\nselect 1")
    #expect(file.compatibleFrom == 9)
    #expect(try Migrations.File(name: "0012_b", sql: "select 1 -- compatible-from: 0009").compatibleFrom == 12)
  }

  @Test(
    "a file that would end its transaction is refused, because what comes before could not be rolled back",
    arguments: ["select 1;\ncommit;\nselect 2", "  ROLLBACK", "abort;"])
  func ownTransaction(sql: String) {
    #expect(throws: PostgresError.self) { try Migrations.File(name: "0001_a", sql: sql) }
  }

  // MARK: Applying

  @Test("pending files are applied once, in order; applying again does nothing")
  func apply() async throws {
    try await withDatabasePool("") { pool in
      let migrations = try migrations(files)
      #expect(try await migrations.status(on: pool) == .pending(["0001_counters", "0002_more"]))
      var progress: [Migrations.Progress] = []
      #expect(try await migrations.apply(on: pool) { progress.append($0) } == ["0001_counters", "0002_more"])
      #expect(progress == [.applied("0001_counters"), .applied("0002_more")])
      #expect(try await migrations.status(on: pool) == .current)
      #expect(try await pool.value(of: "c") == 1)
      #expect(try await migrations.apply(on: pool).isEmpty)
    }
  }

  @Test("a database that treats backslashes in strings as escapes gets the same")
  func backslashes() async throws {
    struct ReadPaths: PostgresStatement {
      typealias Row = String
      static let sql = "select path from paths"
    }
    try await withDatabase { url in
      try await PostgresPool.with(testConfiguration(url)) { pool in
        let script = """
          do $$ begin
            execute format('alter database %I set standard_conforming_strings = off', current_database());
          end $$
          """
        try await pool.withConnection { try await $0.executeScript(script) }
      }
      try await PostgresPool.with(testConfiguration(url)) { pool in
        let sql = #"create table paths (path text check (path <> 'a\')); insert into paths values ('\b\')"#
        _ = try await migrations(["0001_paths": sql]).apply(on: pool)
        let paths = try await pool.query(ReadPaths())
        #expect(paths == [#"\b\"#])
        let status = try await migrations(["0001_paths": sql]).status(on: pool)
        #expect(status == .current)
      }
    }
  }

  @Test("asking for the status changes nothing")
  func status() async throws {
    struct CountTables: PostgresStatement {
      typealias Row = Int
      static let sql = "select count(*) from pg_tables where schemaname = 'public'"
    }
    try await withDatabasePool("") { pool in
      _ = try await migrations(files).status(on: pool)
      #expect(try await pool.query(CountTables()) == [0])
    }
  }

  @Test("of concurrent runners one applies the files; the others wait and find nothing to do")
  func concurrent() async throws {
    try await withDatabasePool("") { pool in
      let migrations = try migrations(["0001_slow": "select pg_sleep(0.1);" + createCounters])
      let applied = try await withThrowingTaskGroup(of: [String].self) { group in
        for _ in 1...4 { group.addTask { try await migrations.apply(on: pool) } }
        return try await group.reduce(into: []) { $0 += $1 }
      }
      #expect(applied == ["0001_slow"])
    }
  }

  @Test("a migration may take longer than the limit for queries")
  func noTimeLimit() async throws {
    try await withDatabasePool(
      "",
      { configuration in
        configuration.queryTimeout = .milliseconds(150)
        configuration.statementTimeout = .milliseconds(150)
      }
    ) { pool async throws in
      let migrations = try migrations(["0001_slow": "select pg_sleep(0.3);" + createCounters])
      #expect(try await migrations.apply(on: pool) == ["0001_slow"])
    }
  }

  @Test("a file that was changed after it was applied is a mismatch that names it")
  func changed() async throws {
    try await withDatabasePool("") { pool in
      _ = try await migrations(files).apply(on: pool)
      let changed = try migrations(files.merging(["0001_counters": "select 1"]) { $1 })
      try await expectMismatch(changed, on: pool, naming: "0001_counters")
    }
  }

  @Test("a migration that the files do not have is a mismatch that names it")
  func unknown() async throws {
    try await withDatabasePool("") { pool in
      _ = try await migrations(files).apply(on: pool)
      let fewer = try migrations(files.filter { $0.key.hasPrefix("0001") })
      try await expectMismatch(fewer, on: pool, naming: "0002_more")
    }
  }

  private func expectMismatch(_ migrations: Migrations, on pool: PostgresPool, naming name: String) async throws {
    let applying = await #expect(throws: PostgresError.self) { try await migrations.apply(on: pool) }
    let asking = await #expect(throws: PostgresError.self) { try await migrations.status(on: pool) }
    for error in [applying, asking] {
      #expect(error?.code == .migrationMismatch)
      #expect(error?.message.contains(name) == true)
    }
  }

  @Test("a file that fails is rolled back and named; those before it stay, and the lock is released")
  func failing() async throws {
    let failing = "insert into counters values ('d', 1); create table half_done (); select 1 / 0;"
    try await withDatabasePool("") { pool in
      let fails = try migrations(files.merging(["0003_fails": failing]) { $1 })
      let error = await #expect(throws: PostgresError.self) { try await fails.apply(on: pool) }
      #expect(error?.sqlState == "22012")
      #expect(error?.message.hasPrefix("0003_fails: ") == true)
      #expect(try await fails.status(on: pool) == .pending(["0003_fails"]))
      #expect(try await pool.value(of: "c") == 1)
      #expect(try await pool.value(of: "d") == nil)
      let works = try migrations(files.merging(["0003_works": "create table half_done ()"]) { $1 })
      #expect(try await works.apply(on: pool) == ["0003_works"])
    }
  }

  // MARK: Waiting for locks

  private struct Insert: PostgresStatement {
    static let sql = "insert into counters values ($1, 1)"
    let name: String
    func bind(_ bindings: inout PostgresBindings) { bindings.append(name) }
  }

  @Test("a file that does not get its lock is rolled back and tried again, and others get their turn meanwhile")
  func lockWait() async throws {
    try await withDatabasePool(createCounters + "create table undone (id integer);") { pool in
      var migrations = try migrations([
        "0001_alters": "insert into undone values (1);\nalter table counters add column more integer;"
      ])
      migrations.lockWaitMax = .milliseconds(200)
      migrations.lockPause = .milliseconds(50)
      let reader = try await pool.openConnection()
      try await reader.executeScript("begin; select * from counters")
      var waits: [Migrations.Wait] = []
      let waitCounter = Counter()
      // Writes that arrive while the reader is active wait for the migration only.
      async let writes: Void = {
        var number = 0
        repeat {
          number += 1
          try await pool.execute(Insert(name: "w\(number)"))
        } while number < 20 || waitCounter.count < 2 && number < 100_000
        await reader.close()
      }()
      let applied = try await migrations.apply(on: pool) { progress in
        if case .waitsForLock(let wait) = progress {
          waits.append(wait)
          waitCounter.increment()
        }
      }
      try await writes
      #expect(applied == ["0001_alters"])
      #expect(!waits.isEmpty)
      #expect(waits.map(\.attemptCount) == Array(1...max(1, waits.count)))
      #expect(waits.allSatisfy { $0.name == "0001_alters" })
      #expect(try await pool.query(CountUndone()) == [1])
    }
  }

  private struct CountUndone: PostgresStatement {
    typealias Row = Int
    static let sql = "select count(*) from undone"
  }

  @Test("a cancelled runner that waits for a lock leaves nothing behind")
  func cancelledWait() async throws {
    try await withDatabasePool(createCounters) { pool in
      var migrations = try migrations(["0001_alters": "alter table counters add column more integer"])
      migrations.lockWaitMax = .milliseconds(50)
      let reader = try await pool.openConnection()
      try await reader.executeScript("begin; select * from counters")
      let (waits, continuation) = AsyncStream<Void>.makeStream()
      let runner = Task { [migrations] in
        try await migrations.apply(on: pool) { if case .waitsForLock = $0 { continuation.yield() } }
      }
      for await _ in waits { break }
      runner.cancel()
      let error = await #expect(throws: PostgresError.self) { try await runner.value }
      #expect(error?.code == .cancelled)
      #expect(try await migrations.status(on: pool) == .pending(["0001_alters"]))
      await reader.close()
      #expect(try await migrations.apply(on: pool) == ["0001_alters"])
    }
  }

  @Test("a runner that waits for another one reports it")
  func waitsForRunner() async throws {
    try await withDatabasePool("") { pool in
      let migrations = try migrations(["0001_counters": createCounters])
      let other = try await pool.openConnection()
      try await other.execute(LockMigrations(key: Migrations.lockKey))
      var progress: [Migrations.Progress] = []
      _ = try await migrations.apply(on: pool) { step in
        progress.append(step)
        if step == .waitsForRunner { Task { await other.close() } }
      }
      #expect(progress == [.waitsForRunner, .applied("0001_counters")])
    }
  }

  // MARK: Databases that are ahead

  @Test("newer files that this version is compatible with are not a mismatch and nothing is applied; others are named")
  func ahead() async throws {
    try await withDatabasePool("") { pool in
      let older = try migrations(files)
      let compatible = files.merging(["0003_c": "-- compatible-from: 0002\nselect 1"]) { $1 }
      _ = try await migrations(compatible).apply(on: pool)
      #expect(try await older.status(on: pool) == .ahead(["0003_c"]))
      #expect(try await older.apply(on: pool) == [])
      let oldest = try migrations(files.filter { $0.key.hasPrefix("0001") })
      try await expectMismatch(
        oldest, on: pool,
        naming: """
          the database has 0002_more, which needs a version with migration 0002 or a later one; this version ends at \
          0001_counters
          """)
      _ = try await migrations(compatible.merging(["0004_d": "-- compatible-from: 0003\nselect 1"]) { $1 }).apply(
        on: pool)
      try await expectMismatch(older, on: pool, naming: "0004_d, which needs a version with migration 0003")
    }
  }

  // MARK: A schema under other numbers

  /// The migrations that `files` replaces.
  private let replaced = (1...3).map { Migrations.Applied(number: $0, name: "000\($0)_old", checksum: "\($0)") }
  private let checksums = ["a", "b"]

  @Test("a database with all the migrations that the first files replace can be adopted; the other files are pending")
  func adoptable() throws {
    for (count, pending) in [(1, ["0002_more"]), (2, [])] {
      let migrations = try migrations(files, replacing: replaced, withFirst: count)
      #expect(try migrations.status(replaced, checksums: checksums) == .adoptable(pending: pending))
      #expect(try migrations.status([], checksums: checksums) == .pending(["0001_counters", "0002_more"]))
    }
    #expect(throws: PostgresError.self) { try migrations(files, replacing: replaced, withFirst: 3) }
  }

  /// A database with the schema of the first file and the rows of `replaced`.
  private func withFormerDatabase(_ body: (PostgresPool) async throws -> Void) async throws {
    try await withDatabasePool(createCounters) { pool in
      try await pool.execute(CreateMigrationsTable())
      let rows = replaced.map { "(\($0.number), '\($0.name)', '\($0.checksum)', \($0.number))" }
      try await pool.withConnection {
        try await $0.executeScript(
          """
          insert into schema_migrations (number, name, checksum, compatible_from)
          values \(rows.joined(separator: ", "))
          """)
      }
      try await body(pool)
    }
  }

  @Test("adoption replaces the rows by those of the first files, and then the other files are applied")
  func adopted() async throws {
    try await withFormerDatabase { pool in
      let migrations = try migrations(files, replacing: replaced, withFirst: 1)
      var progress: [Migrations.Progress] = []
      #expect(try await migrations.apply(on: pool) { progress.append($0) } == ["0002_more"])
      #expect(progress == [.adopted, .applied("0002_more")])
      #expect(try await migrations.status(on: pool) == .current)
      #expect(try await pool.value(of: "c") == 1)
    }
  }

  @Test("if a later file fails, the database stays adopted, and the next run continues with that file")
  func adoptedInPart() async throws {
    try await withFormerDatabase { pool in
      let changed = files.merging(["0002_more": "select 1 / 0"]) { $1 }
      let failing = try migrations(changed, replacing: replaced, withFirst: 1)
      let error = await #expect(throws: PostgresError.self) { try await failing.apply(on: pool) }
      #expect(error?.message.hasPrefix("0002_more: ") == true)
      let migrations = try migrations(files, replacing: replaced, withFirst: 1)
      #expect(try await migrations.status(on: pool) == .pending(["0002_more"]))
      #expect(try await migrations.apply(on: pool) == ["0002_more"])
    }
  }

  @Test("a database with only some of what the files replace must be recreated, and the error names its last one")
  func older() throws {
    let migrations = try migrations(files, replacing: replaced)
    for count in 1...2 {
      let error = #expect(throws: PostgresError.self) {
        try migrations.status(Array(replaced.prefix(count)), checksums: checksums)
      }
      #expect(
        error?.message == """
          the database is at 000\(count)_old of a development version before 0003_old. It cannot be brought up to \
          date and must be recreated
          """)
    }
  }

  @Test("rows that differ in number, name or checksum from what the files replace are a mismatch")
  func notAdoptable() throws {
    let migrations = try migrations(files, replacing: replaced)
    let others = [
      Migrations.Applied(number: 4, name: "0003_old", checksum: "3"),
      Migrations.Applied(number: 3, name: "0003_other", checksum: "3"),
      Migrations.Applied(number: 3, name: "0003_old", checksum: "x"),
    ]
    for other in others {
      #expect(throws: PostgresError.self) {
        try migrations.status(replaced.dropLast() + [other], checksums: checksums)
      }
    }
    let more = replaced + [Migrations.Applied(number: 4, name: "0004_old", checksum: "4")]
    #expect(throws: PostgresError.self) { try migrations.status(more, checksums: checksums) }
  }
}
