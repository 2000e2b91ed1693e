import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

@testable import Portal

@Suite("Readiness")
struct ReadinessTests {
  private func check(_ pool: PostgresPool, _ count: Int, isFresh: Bool = true) async -> [String] {
    await Readiness(pool: pool, migrationCount: count) { isFresh }.check()
  }

  @Test(
    "with its migrations and its lease it is ready, even when the database has newer compatible migrations")
  func ready() async throws {
    let count = try Migrations.embedded().files.count
    try await withPool { pool in
      #expect(await check(pool, count) == [])
      #expect(await check(pool, count + 1) == ["migrations are pending"])
      let insert = "insert into schema_migrations (number, name, checksum, compatible_from) values"
      try await pool.script("\(insert) (\(count + 1), '0100_compatible', '', \(count))")
      #expect(await check(pool, count) == [])
      #expect(await check(pool, count + 1) == [])
      try await pool.script("\(insert) (\(count + 2), '0101_incompatible', '', \(count + 1))")
      #expect(await check(pool, count) == ["migration 0101_incompatible needs a newer version"])
      #expect(await check(pool, count + 1) == [])
    }
  }

  @Test("every reason against readiness is named, and checked again each time")
  func reasons() async throws {
    try await withPool { pool in
      let isFresh = Atomic(false)
      let readiness = Readiness(pool: pool, migrationCount: 99) { isFresh.load(ordering: .relaxed) }
      #expect(
        await readiness.check() == ["migrations are pending", "the invalidation listener does not hold its lease"])
      isFresh.store(true, ordering: .relaxed)
      #expect(await readiness.check() == ["migrations are pending"])
      await pool.shutDown()
      #expect(await readiness.check() == ["the database cannot be reached"])
    }
  }
}
