import Foundation
import Postgres

struct TryLockJob: PostgresStatement {
  typealias Row = Bool
  static let sql = "select pg_try_advisory_xact_lock(hashtext('jobs'), hashtext($1))"
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(name) }
}

struct LockJob: PostgresStatement {
  typealias Row = Bool
  static let sql = "select true from pg_advisory_xact_lock(hashtext('jobs'), hashtext($1))"
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(name) }
}

/// Records that a job begins. Returns no row if another instance began it within its interval.
struct BeginJob: PostgresStatement {
  typealias Row = Bool
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
}
