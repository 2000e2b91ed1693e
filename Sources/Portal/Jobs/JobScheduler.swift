import Postgres
import ServiceLifecycle
import Synchronization

/// Periodically runs the jobs that are due, and keeps the last report for the metrics.
package final class JobScheduler: Service {
  private static let lookInterval: Duration = .seconds(30)

  package let jobs: Jobs
  private let state = Mutex(JobReport())

  package init(_ jobs: Jobs) { self.jobs = jobs }

  /// The report of the last check.
  package var lastReport: JobReport { state.withLock { $0 } }

  package func run() async throws {
    try? await cancelWhenGracefulShutdown {
      while true {
        await self.look()
        try await Task.sleep(for: Self.lookInterval)
      }
    }
  }

  /// Runs the jobs that are due.
  package func look() async {
    do {
      let before = try await jobs.report()
      note(before)
      await jobs.runDue(before)
      note(try await jobs.report())
    } catch {
      if !Task.isCancelled { jobs.observer.observe(.jobFailed("all", "\(error)")) }
    }
  }

  private func note(_ report: JobReport) {
    let previous = state.withLock { state in
      defer { state = report }
      return state
    }
    if report.unplacedUsageCount > 0, report.unplacedUsageCount != previous.unplacedUsageCount {
      jobs.observer.observe(.usageUnplaced(counters: report.unplacedUsageCount))
    }
  }
}
