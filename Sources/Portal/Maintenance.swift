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
    await perform(EnsureUsagePartitions())
    await perform(DeleteOldInvalidations())
    await perform(DeleteOldUsageBatches())
    await perform(ExpireRateLimitCounts())
    await perform(ExpireRateLimitWindows())
    await perform(DeleteExpiredSessions())
    await perform(DeleteExpiredStaffSessions())
  }

  /// One that fails keeps none of the others from being done.
  private func perform(_ statement: some PostgresStatement) async {
    do { try await pool.execute(statement) } catch { observer.observe(.maintenanceFailed("\(error)")) }
  }
}
