package import Postgres

/// Whether this instance can do its work, and if not, why.
package struct Readiness: Sendable {
  let pool: PostgresPool
  let migrationCount: Int
  let isFresh: @Sendable () -> Bool
  /// Whether the server is about to end, and should be sent nothing more.
  package let isDraining: @Sendable () -> Bool
  /// What is not as it should be, but keeps nobody from being served.
  package let warnings: @Sendable () -> [String]

  /// `isFresh` tells whether the caches hold their lease; `migrationCount` is what the database should have
  /// at least; newer migrations must say that a version with so many works with them.
  package init(
    pool: PostgresPool, migrationCount: Int, isFresh: @escaping @Sendable () -> Bool,
    isDraining: @escaping @Sendable () -> Bool = { false },
    warnings: @escaping @Sendable () -> [String] = { [] }
  ) {
    self.pool = pool
    self.migrationCount = migrationCount
    self.isFresh = isFresh
    self.isDraining = isDraining
    self.warnings = warnings
  }

  /// The reasons against; empty when ready.
  package func check() async -> [String] {
    if isDraining() { return ["the server is about to end"] }
    var reasons: [String] = []
    do {
      if let migrations = try await pool.query(CompareMigrations(count: migrationCount)).first {
        if migrations.count < migrationCount { reasons.append("migrations are pending") }
        if let name = migrations.incompatible { reasons.append("migration \(name) needs a newer version") }
      }
    } catch {
      reasons.append("the database cannot be reached")
    }
    if !isFresh() { reasons.append("the invalidation listener does not hold its lease") }
    return reasons
  }
}
