package import Foundation
package import Postgres

/// What is known of a job's runs, on all instances together.
package struct JobRecord: Sendable, Equatable {
  /// Since the last run began, by the database's clock.
  package var ageSeconds: Double
  package var startedAt: Date
  /// Who runs it, or ran it last.
  package var instance: String
  package var finishedAt: Date?
  package var succeededAt: Date?
  package var durationMilliseconds: Double?
  /// What the last run that succeeded dealt with: rows or partitions.
  package var resultCount: Int?
  /// Of the last run, if that failed.
  package var error: String?
  package var failureCount: Int

  /// Begun, and not ended; a process that was killed leaves that behind, too.
  package var isUnfinished: Bool { finishedAt.map { $0 < startedAt } ?? true }
}

/// How the jobs stand.
package struct JobReport: Sendable {
  /// By name; a job that never ran has none.
  package var records: [String: JobRecord] = [:]
  /// Counters that stand in a default partition; 10,000 for more.
  package var unplacedUsageCount = 0
}

/// Running the jobs, and what became of them.
package struct Jobs: Sendable {
  package enum Outcome: Sendable, Equatable {
    case done(Int)
    case failed(String)
    /// Another instance is at it, or has been within its interval.
    case skipped
  }

  private static let errorLengthMax = 1_000

  package let all: [Job]
  let pool: PostgresPool
  let instance: String
  let observer: Observer

  /// `instance` is who an operator reads that ran a job.
  package init(
    pool: PostgresPool, instance: String, retention: Retention, observer: Observer,
    outbox: Outbox = Outbox(isOpen: false), box: SecretBox? = nil
  ) {
    all = Job.all(retention, outbox, box)
    self.pool = pool
    self.instance = instance
    self.observer = observer
  }

  package func report() async throws -> JobReport {
    let (records, counts) = try await pool.pipeline(ListJobs(), CountUnplacedUsage(), as: .jobs)
    return JobReport(
      records: Dictionary(records.map { ($0.name, $0.record) }) { one, _ in one },
      unplacedUsageCount: counts.first ?? 0)
  }

  /// Runs those whose interval is over. One that fails keeps none of the others from being done.
  func runDue(_ report: JobReport) async {
    for job in all where !Task.isCancelled && job.isDue(report.records[job.name]) { _ = await run(job) }
  }

  /// Runs a job if its interval is over, or in any case; never while another instance does. `caller` is who wants it,
  /// if somebody does.
  package func run(_ job: Job, isForced: Bool = false, by caller: Caller? = nil) async -> Outcome {
    let run = JobRun(
      name: job.name, pool: pool, caller: caller ?? Caller(actor: .job(name: job.name)), observer: observer)
    do {
      let begin = BeginJob(
        name: job.name, instance: instance, intervalSeconds: isForced ? 0 : job.interval / .seconds(1))
      guard try await run.begin(begin) else { return .skipped }
      let count = try await job.perform(run)
      try await pool.execute(FinishJob(name: job.name, count: count, error: nil), as: .jobs)
      observer.observe(.jobFinished(job.name, count: count))
      return .done(count)
    } catch {
      // At the end of the process there is nobody to be told.
      if Task.isCancelled { return .skipped }
      let reason = String("\(error)".prefix(Self.errorLengthMax))
      observer.observe(.jobFailed(job.name, reason))
      _ = try? await pool.execute(FinishJob(name: job.name, count: nil, error: reason), as: .jobs)
      return .failed(reason)
    }
  }
}
