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

  @Test("with its migrations and its lease it is ready, also when a newer version has migrated further")
  func ready() async throws {
    let count = try Migrations.embedded().files.count
    try await withPool { pool in
      for count in [count, count - 1] { #expect(await check(pool, count) == []) }
      #expect(await check(pool, count + 1) == ["migrations are pending"])
    }
  }

  @Test("every reason against it is named, and it is asked anew each time")
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
