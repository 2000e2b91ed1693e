import Foundation
import Postgres
import Testing

@Suite("Migrations")
struct MigrationsTests {
  /// Runs `body` with a folder that holds `files`.
  private func withFolder(_ files: [String: String], _ body: (String) async throws -> Void) async throws {
    let folder = NSTemporaryDirectory() + "/migrations-\(UUID())"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    for (name, sql) in files { try sql.write(toFile: folder + "/" + name, atomically: true, encoding: .utf8) }
    try await body(folder)
  }

  private let files = [
    "0001_counters.sql": "-- It's the first.\n" + createCounters,
    "0002_more.sql": "insert into counters values ('c', 1)\n-- no semicolon, and a comment at the end",
  ]

  private func mismatch(_ files: [String: String]) async throws -> String? {
    var message: String?
    try await withFolder(files) { folder in
      let error = #expect(throws: PostgresError.self) { try Migrations(folder: folder) }
      #expect(error?.code == .migrationMismatch)
      message = error?.message
    }
    return message
  }

  // MARK: The folder

  @Test("a folder with a gap, a number used twice, a wrong name or nothing is refused, naming the file")
  func wrongFolders() async throws {
    let gap = try await mismatch(["0001_a.sql": "", "0003_c.sql": ""])
    #expect(gap?.contains("0003_c.sql") == true)
    let twice = try await mismatch(["0001_a.sql": "", "0001_b.sql": ""])
    #expect(twice?.contains("0001_b.sql") == true)
    let unnumbered = try await mismatch(["first.sql": ""])
    #expect(unnumbered?.contains("first.sql") == true)
    let short = try await mismatch(["1_a.sql": ""])
    #expect(short?.contains("1_a.sql") == true)
    #expect(try await mismatch([:])?.contains("no migrations") == true)
    #expect(throws: PostgresError.self) { try Migrations(folder: "/nowhere") }
  }

  @Test("files are taken in the order of their numbers, and what is no SQL is left alone")
  func order() async throws {
    try await withFolder(files.merging(["README.md": "hello"]) { one, _ in one }) { folder in
      let migrations = try Migrations(folder: folder)
      #expect(migrations.files.map(\.number) == [1, 2])
      #expect(migrations.files.map(\.name) == ["0001_counters", "0002_more"])
    }
  }

  // MARK: Applying

  @Test("what is pending is applied once, in order; applying again does nothing")
  func apply() async throws {
    try await withFolder(files) { folder in
      try await withDatabasePool("") { pool in
        let migrations = try Migrations(folder: folder)
        #expect(try await migrations.status(on: pool) == .pending(["0001_counters", "0002_more"]))
        #expect(try await migrations.apply(on: pool) == ["0001_counters", "0002_more"])
        #expect(try await migrations.status(on: pool) == .current)
        #expect(try await pool.value(of: "c") == 1)
        #expect(try await migrations.apply(on: pool).isEmpty)
      }
    }
  }

  @Test("asking for the status changes nothing")
  func status() async throws {
    struct CountTables: PostgresStatement {
      static let sql = "select count(*) from pg_tables where schemaname = 'public'"
      static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Int { try row.next() }
    }
    try await withFolder(files) { folder in
      try await withDatabasePool("") { pool in
        _ = try await Migrations(folder: folder).status(on: pool)
        #expect(try await pool.query(CountTables()) == [0])
      }
    }
  }

  @Test("of runners at the same time one applies, and the others wait and find nothing to do")
  func concurrent() async throws {
    try await withFolder(["0001_slow.sql": "select pg_sleep(0.1);" + createCounters]) { folder in
      try await withDatabasePool("") { pool in
        let migrations = try Migrations(folder: folder)
        let applied = try await withThrowingTaskGroup(of: [String].self) { group in
          for _ in 1...4 { group.addTask { try await migrations.apply(on: pool) } }
          return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(applied == ["0001_slow"])
      }
    }
  }

  @Test("a migration may take longer than any query may")
  func noTimeLimit() async throws {
    try await withFolder(["0001_slow.sql": "select pg_sleep(0.3);" + createCounters]) { folder in
      try await withDatabasePool(
        "",
        { configuration in
          configuration.queryTimeout = .milliseconds(150)
          configuration.statementTimeout = .milliseconds(150)
        }
      ) { pool async throws in
        #expect(try await Migrations(folder: folder).apply(on: pool) == ["0001_slow"])
      }
    }
  }

  @Test("a file that was changed after it was applied is a mismatch that names it")
  func changed() async throws {
    try await withDatabasePool("") { pool in
      try await withFolder(files) { _ = try await Migrations(folder: $0).apply(on: pool) }
      try await withFolder(files.merging(["0001_counters.sql": "select 1"]) { $1 }) { folder in
        try await expectMismatch(Migrations(folder: folder), on: pool, naming: "0001_counters")
      }
    }
  }

  @Test("a migration that the folder does not know is a mismatch that names it")
  func unknown() async throws {
    try await withDatabasePool("") { pool in
      try await withFolder(files) { _ = try await Migrations(folder: $0).apply(on: pool) }
      try await withFolder(files.filter { $0.key.hasPrefix("0001") }) { folder in
        try await expectMismatch(Migrations(folder: folder), on: pool, naming: "0002_more")
      }
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

  @Test("a file that fails is undone whole and named; those before it stay, and the lock is given up")
  func failing() async throws {
    let failing = "insert into counters values ('d', 1); create table half_done (); select 1 / 0;"
    try await withDatabasePool("") { pool in
      try await withFolder(files.merging(["0003_fails.sql": failing]) { $1 }) { folder in
        let migrations = try Migrations(folder: folder)
        let error = await #expect(throws: PostgresError.self) { try await migrations.apply(on: pool) }
        #expect(error?.sqlState == "22012")
        #expect(error?.message.hasPrefix("0003_fails: ") == true)
        #expect(try await migrations.status(on: pool) == .pending(["0003_fails"]))
        #expect(try await pool.value(of: "c") == 1)
        #expect(try await pool.value(of: "d") == nil)
      }
      try await withFolder(files.merging(["0003_works.sql": "create table half_done ()"]) { $1 }) {
        folder async throws in
        #expect(try await Migrations(folder: folder).apply(on: pool) == ["0003_works"])
      }
    }
  }
}
