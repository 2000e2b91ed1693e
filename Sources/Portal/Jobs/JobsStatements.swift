import Foundation
import Postgres

/// Records the end of a run, with a count or an error.
struct FinishJob: PostgresStatement {
  static let sql = """
    update jobs set finished_at = ended.at, duration_ms = 1000 * extract(epoch from ended.at - started_at),
      succeeded_at = case when $3::text is null then ended.at else succeeded_at end,
      result_count = coalesce($2, result_count), error = $3,
      failure_count = failure_count + case when $3::text is null then 0 else 1 end
    from (select clock_timestamp() as at) ended where name = $1
    """
  let name: String
  let count: Int?
  let error: String?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(name, count, error) }
}

struct ListJobs: PostgresStatement {
  static let sql = """
    select name, extract(epoch from clock_timestamp() - started_at)::double precision, started_at, instance,
      finished_at, succeeded_at, duration_ms, result_count, error, failure_count
    from jobs
    """
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (name: String, record: JobRecord) {
    (
      try row.next(),
      JobRecord(
        ageSeconds: try row.next(), startedAt: try row.next(), instance: try row.next(), finishedAt: try row.next(),
        succeededAt: try row.next(), durationMilliseconds: try row.next(), resultCount: try row.next(),
        error: try row.next(), failureCount: try row.next())
    )
  }
}
