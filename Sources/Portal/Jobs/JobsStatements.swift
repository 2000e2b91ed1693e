import Foundation
import Postgres

struct TryLockJob: PostgresStatement {
  static let sql = "select pg_try_advisory_xact_lock(hashtext('jobs'), hashtext($1))"
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(name) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Bool { try row.next() }
}

struct LockJob: PostgresStatement {
  static let sql = "select true from pg_advisory_xact_lock(hashtext('jobs'), hashtext($1))"
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(name) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Bool { try row.next() }
}

/// Notes that a job begins. No row: another instance has begun it since its interval.
struct BeginJob: PostgresStatement {
  static let sql = """
    insert into jobs as job (name, started_at, instance) values ($1, clock_timestamp(), $2)
    on conflict (name) do update set started_at = excluded.started_at, instance = excluded.instance
      where job.started_at <= clock_timestamp() - make_interval(secs => $3)
    returning true
    """
  let name: String
  let instance: String
  let intervalSeconds: Double
  func bind(_ bindings: inout PostgresBindings) { bindings.append(name, instance, intervalSeconds) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Bool { try row.next() }
}

/// Notes how a job ended: with a count, or an error.
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
    select name, extract(epoch from clock_timestamp() - started_at)::double precision, started_at, instance, finished_at,
      succeeded_at, duration_ms, result_count, error, failure_count
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
