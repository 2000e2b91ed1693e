package import Postgres

/// Whether this instance can do its work, and if not, why.
package struct Readiness: Sendable {
  let pool: PostgresPool
  let migrationCount: Int
  let isFresh: @Sendable () -> Bool
  /// Whether the server is about to stop and should get no more requests.
  package let isDraining: @Sendable () -> Bool
  /// Problems that do not keep the instance from serving.
  package let warnings: @Sendable () -> [String]

  /// `isFresh` says whether the caches hold their lease. `migrationCount` is the minimum number of migrations in the
  /// database; newer ones must be compatible with a version that has this many.
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

  /// The reasons why it is not ready; empty when ready.
  package func check() async -> [String] {
    if isDraining() { return ["the server is about to stop"] }
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
