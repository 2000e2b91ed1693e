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

  /// Rows as a development version wrote them.
  private static let contents = """
    insert into accounts (id, name) values ('00000000-0000-7000-8000-0000000000A1', 'Account');
    insert into users (id, email, password_hash) values (gen_random_uuid(), 'jose\u{301}@example.com', '');
    insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes, expires_at)
    select gen_random_uuid(), '00000000-0000-7000-8000-0000000000A1', 'Key', 'x', sha256(secret), 'live', '{a}', expiry
    from (values ('one'::bytea, null::timestamptz), ('two', 'infinity'), ('three', now())) keys (secret, expiry);
    insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
    select gen_random_uuid(), '00000000-0000-7000-8000-0000000000A1', 'command', 'psql', 'x', 'x'
    from generate_series(1, 3)
    """

  /// Makes a database of a development version with ``contents``. The schema of its 23 migrations is that of the
  /// baseline.
  private func makeFormer(_ pool: PostgresPool) async throws {
    try await pool.script(
      """
      drop schema public cascade;
      create schema public authorization pg_database_owner;
      grant usage on schema public to public
      """)
    let baseline = Array(try Migrations.embedded().files.prefix(Migrations.baselineFileCount))
    _ = try await Migrations(baseline).apply(on: pool)
    try await setBack(pool, to: Migrations.beforeBaseline.count)
    try await pool.script(Self.contents)
  }

  private func schema(_ database: TestDatabase) async throws -> String {
    let printed = try await run(repositoryRoot + "/scripts/schema", ["--print", database.url])
    #expect(printed.status == 0, "\(printed.errors)")
    return printed.output
  }

  @Test("a database with all of the former migrations is adopted and brought up to date, and keeps its contents")
  func adopted() async throws {
    let all = "select concat_ws(' ', number, name, checksum, compatible_from) from schema_migrations order by number"
    let (expectedRows, expectedSchema) = try await withDatabase { database in
      let rows = try await PostgresPool.with(database.configuration) { try await $0.lines(all) }
      return (rows, try await schema(database))
    }
    try await withDatabase(isSwept: false) { database in
      try await PostgresPool.with(database.configuration) { pool in
        try await makeFormer(pool)
        let hashes = "select seq || encode(hash, 'hex') from audit_events order by seq"
        let events = try await pool.lines(hashes)
        let migrations = try PortalMigrations()
        let later = try Migrations.embedded().files.dropFirst(Migrations.baselineFileCount).map(\.name)
        #expect(later.first == "0012_invalidation_marks")
        #expect(try await migrations.status(on: pool) == .adoptable(pending: later))

        var progress: [Migrations.Progress] = []
        let outcome = try await migrations.run(on: pool) { progress.append($0) }
        #expect(progress == [.adopted] + later.map(Migrations.Progress.applied))
        #expect(outcome.applied == later && outcome.restored == [])
        #expect(try await migrations.status(on: pool) == .current)
        #expect(try await pool.lines(all) == expectedRows)
        let adoptedSchema = try await schema(database)
        #expect(adoptedSchema == expectedSchema)

        #expect(try await pool.lines(hashes) == events && events.count == 3)
        let verifier = World(pool).makeVerifier()
        for (secret, code) in [("one", VerdictCode.valid), ("two", .valid), ("three", .expired), ("four", .notFound)] {
          let verdict = try await verifier.verify(VerificationRequest(hash: SecretHash(of: secret.utf8)))
          #expect(verdict.code == code, "\(secret)")
        }
        let composed = try await pool.number("select count(*) from users where email = 'jos\u{E9}@example.com'")
        #expect(composed == 1)
      }
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
