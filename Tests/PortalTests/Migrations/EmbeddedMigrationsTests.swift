import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("Embedded migrations")
struct EmbeddedMigrationsTests {
  private let folder = repositoryRoot + "/migrations"

  private func text(_ name: String) throws -> String {
    try String(contentsOfFile: folder + "/" + name, encoding: .utf8)
  }

  @Test("the program contains the files of the folder, byte by byte")
  func folderEquality() throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".sql") }.sorted()
    let files = try Migrations.embedded().files
    #expect(files.map { $0.name + ".sql" } == names)
    for file in files {
      let text = try text(file.name + ".sql")
      #expect(file.sql == text, "\(file.name)")
    }
  }

  /// Databases already have them: a change needs a new file.
  @Test("no released file has been changed")
  func frozen() async throws {
    let landed = try text("checksums").split(separator: "\n").map(String.init)
    try await withPool { pool async throws in
      let applied = "select checksum || '  ' || name || '.sql' from schema_migrations order by number"
      #expect(try await pool.lines(applied) == landed)
    }
  }

  // MARK: Databases from before the baseline

  /// Replaces the rows by those of a database to which the first `count` of the former migrations were applied.
  private func setBack(_ pool: PostgresPool, to count: Int) async throws {
    let rows = Migrations.beforeBaseline.prefix(count).map { "(\($0.number), '\($0.name)', '\($0.checksum)')" }
    try await pool.script(
      """
      delete from schema_migrations;
      alter table schema_migrations drop column compatible_from;
      insert into schema_migrations (number, name, checksum) values \(rows.joined(separator: ", "))
      """)
  }

  private func rows(_ pool: PostgresPool) async throws -> [String] {
    try await pool.lines("select number || name || checksum from schema_migrations order by number")
  }

  @Test("a database with all of the former migrations is adopted in one step and keeps its contents")
  func adopted() async throws {
    try await withPool { pool in
      let expected = try await rows(pool)
      let account = try await World(pool).makeAccount()
      try await setBack(pool, to: Migrations.beforeBaseline.count)
      let migrations = try Migrations.embedded()
      #expect(try await migrations.status(on: pool) == .adoptable)
      var progress: [Migrations.Progress] = []
      #expect(try await migrations.apply(on: pool) { progress.append($0) } == [])
      #expect(progress == [.adopted])
      #expect(try await rows(pool) == expected)
      #expect(try await migrations.status(on: pool) == .current)
      #expect(try await pool.number("select count(*) from accounts where id = '\(account)'") == 1)
    }
  }

  @Test("a database with fewer of the former migrations is left alone and must be recreated")
  func tooOld() async throws {
    for count in [1, 22] {
      try await withPool { pool in
        try await setBack(pool, to: count)
        let before = try await rows(pool)
        let migrations = try Migrations.embedded()
        let error = await #expect(throws: PostgresError.self) { try await migrations.apply(on: pool) }
        #expect(error?.code == .migrationMismatch)
        #expect(error?.message.hasSuffix("must be recreated") == true)
        #expect(try await rows(pool) == before)
      }
    }
  }
}
