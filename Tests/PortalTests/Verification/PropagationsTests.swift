import Postgres
import Testing

@testable import Portal

@Suite("Propagations")
struct PropagationsTests {
  /// Else "0 of 0" would read as if everybody had heard.
  @Test("where the database cannot be asked who has heard of a change, the receipt does not say that all have")
  func unknown() async throws {
    try await PostgresPool.with(PostgresConfiguration(url: "host=/nowhere user=postgres")) { pool in
      let propagation = await Propagations(pool: pool).wait(since: .now)
      #expect(propagation.acknowledged < propagation.instances)
    }
  }
}
