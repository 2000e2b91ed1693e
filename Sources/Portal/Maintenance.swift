package import Postgres
import ServiceLifecycle

/// What has to be done now and then, whichever instance does it: partitions made ahead, and what is over removed.
package struct Maintenance: Service {
  private static let interval: Duration = .seconds(600)

  let pool: PostgresPool
  let observer: Observer

  package init(pool: PostgresPool, observer: Observer) {
    self.pool = pool
    self.observer = observer
  }

  package func run() async throws {
    try? await cancelWhenGracefulShutdown {
      while true {
        await self.perform()
        try await Task.sleep(for: Self.interval)
      }
    }
  }

  package func perform() async {
    do {
      _ = try await pool.query(EnsureUsagePartitions())
      try await pool.execute(DeleteOldInvalidations())
      try await pool.execute(DeleteOldUsageBatches())
      try await pool.execute(DeleteExpiredSessions())
    } catch {
      observer.observe(.maintenanceFailed("\(error)"))
    }
  }
}
