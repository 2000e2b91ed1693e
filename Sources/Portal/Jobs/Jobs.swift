package import Foundation
package import Postgres

/// The record of a job's runs, across all instances.
package struct JobRecord: Sendable, Equatable {
  /// Seconds since the last run began, by the database's clock.
  package var ageSeconds: Double
  package var startedAt: Date
  /// The instance that runs it or ran it last.
  package var instance: String
  package var finishedAt: Date?
  package var succeededAt: Date?
  package var durationMilliseconds: Double?
  /// The number of rows or partitions that the last successful run processed.
  package var resultCount: Int?
  /// The error of the last run, if it failed.
  package var error: String?
  package var failureCount: Int

  /// Whether the last run has begun and not ended. This is also so if its process was killed.
  package var isUnfinished: Bool { finishedAt.map { $0 < startedAt } ?? true }
}

/// The state of all jobs.
package struct JobReport: Sendable {
  /// Records by job name; a job that never ran has none.
  package var records: [String: JobRecord] = [:]
  /// The number of counters in a default partition, at most 10,000.
  package var unplacedUsageCount = 0
}

/// Runs the jobs and reports on them.
package struct Jobs: Sendable {
  package enum Outcome: Sendable, Equatable {
    case done(Int)
    case failed(String)
    /// Another instance is running it, or began it within its interval.
    case skipped
  }

  private static let errorLengthMax = 1_000

  package let all: [Job]
  let pool: PostgresPool
  let instance: String
  let observer: Observer

  /// `instance` is this instance's name in the records, for operators.
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

  /// Runs the jobs that are due. A job that fails does not keep the others from running.
  func runDue(_ report: JobReport) async {
    for job in all where !Task.isCancelled && job.isDue(report.records[job.name]) { _ = await run(job) }
  }

  /// Runs a job if its interval has passed or `isForced`, but never while another instance runs it. `caller` is the
  /// actor who requested it; nil for a scheduled run.
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
      // A cancellation at the end of the process is no failure.
      if Task.isCancelled { return .skipped }
      let reason = String("\(error)".prefix(Self.errorLengthMax))
      observer.observe(.jobFailed(job.name, reason))
      _ = try? await pool.execute(FinishJob(name: job.name, count: nil, error: reason), as: .jobs)
      return .failed(reason)
    }
  }
}
