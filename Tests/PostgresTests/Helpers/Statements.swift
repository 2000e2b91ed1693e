import Postgres

/// `select $1`, with the type of the value.
struct Echo<Value: PostgresCodable>: PostgresStatement {
  typealias Row = Value?
  static var sql: String { "select $1" }
  let value: Value?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(value) }
}

struct One: PostgresStatement {
  typealias Row = Int
  static let sql = "select 1"
}

struct DivideByZero: PostgresStatement {
  typealias Row = Int
  static let sql = "select 1 / $1"
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Int32(0)) }
}

struct BackendPID: PostgresStatement {
  typealias Row = Int
  static let sql = "select pg_backend_pid()"
}

/// Returns its own number after a delay.
struct Sleep: PostgresStatement {
  typealias Row = Int
  static let sql = "select $1::int8, pg_sleep($2) is null"
  var number = 0
  let seconds: Double
  func bind(_ bindings: inout PostgresBindings) { bindings.append(number, seconds) }
}

struct BackendState: PostgresStatement {
  typealias Row = String
  static let sql = "select state from pg_stat_activity where pid = $1"
  let pid: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Int32(pid)) }
}

struct TerminateBackend: PostgresStatement {
  typealias Row = Bool
  static let sql = "select pg_terminate_backend($1)"
  let pid: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Int32(pid)) }
}

/// Whether a backend has been running the same statement for over a second.
struct RunsLong: PostgresStatement {
  typealias Row = Bool
  static let sql = """
    select state = 'active' and clock_timestamp() - query_start > interval '1.1 seconds'
    from pg_stat_activity where pid = $1
    """
  let pid: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Int32(pid)) }
}

/// Terminates all backends of an application; returns their number.
struct TerminateBackends: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1"
  let applicationName: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(applicationName) }
}

/// The backends that belong to the application of this name.
struct CountBackends: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from pg_stat_activity where application_name = $1"
  let applicationName: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(applicationName) }
}

struct LockAdvisory: PostgresStatement {
  static let sql = "select pg_advisory_lock($1) is null"
  let key: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(key) }
}

struct UnlockAdvisory: PostgresStatement {
  static let sql = "select pg_advisory_unlock($1)"
  let key: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(key) }
}

struct Notify: PostgresStatement {
  static let sql = "select pg_notify($1, $2)"
  let channel: String
  let payload: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(channel, payload) }
}

struct Begin: PostgresStatement {
  static let sql = "begin"
}

/// Most database tests have the table `counters (name text, value int8)`.
let createCounters = """
  create table counters (
    name text constraint counters_pkey primary key,
    value int8 not null constraint counters_value_positive check (value >= 0)
  );
  insert into counters values ('a', 0), ('b', 0);
  """

struct InsertCounter: PostgresStatement {
  static let sql = "insert into counters (name, value) values ($1, $2)"
  let name: String
  var value = 0
  func bind(_ bindings: inout PostgresBindings) { bindings.append(name, value) }
}

struct IncrementCounter: PostgresStatement {
  static let sql = "update counters set value = value + 1 where name = $1"
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(name) }
}

struct ReadCounter: PostgresStatement {
  typealias Row = Int
  static let sql = "select value from counters where name = $1"
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(name) }
}

extension PostgresPool {
  /// The state that `pg_stat_activity` shows for a backend; nil when it is gone.
  func state(of pid: Int) async throws -> String? { try await query(BackendState(pid: pid)).first }

  func value(of counter: String) async throws -> Int? { try await query(ReadCounter(name: counter)).first }
}
