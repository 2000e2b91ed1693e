import Foundation
import Postgres

/// Until when the numbers of usage are final: every instance that was heard of within the last hour has written all that
/// it counted before this moment.
///
/// - An instance that had nothing to write says so all the same, so that it holds nobody up.
/// - One that is away holds the moment where it left it, for an hour: it may come back with what it had counted. After
///   that it is waited for no longer, and what it brings then is added to days that were taken for final.
/// - One that ended properly has written everything and is no longer among the instances.
/// - One that has not said anything yet has counted nothing from before its start.
///
/// Gateways may report outcomes up to ``ReportedOutcome/ageSecondsMax`` late: these are counted in the day they belong to,
/// whatever was said of it.
struct ReadCompleteThrough: PostgresStatement {
  static let sql = "select complete_through from usage_complete_v1"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Date { try row.next() }
}

/// Says that everything that an instance counted before `through`, by its own clock, stands in the database.
struct NoteUsageProgress: PostgresStatement {
  static let sql = "select note_usage_progress($1, $2)"
  let instanceID: UUID
  let through: Date
  func bind(_ bindings: inout PostgresBindings) { bindings.append(instanceID, through) }
}

/// The last hours of an account, the present one included, oldest first: also those in which nothing happened.
struct ListUsageHours: PostgresStatement {
  static let sql = """
    select hours.hour, coalesce(usage.success_count, 0), coalesce(usage.error_count, 0), coalesce(usage.denied_count, 0)
    from generate_series(
      date_trunc('hour', now(), 'UTC') - ($2::integer - 1) * interval '1 hour', date_trunc('hour', now(), 'UTC'),
      interval '1 hour') as hours (hour)
    left join account_usage_hours usage on usage.hour = hours.hour and usage.account_id = $1
    order by hours.hour
    """
  let accountID: UUID
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, Int32(count)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UsageHour {
    UsageHour(hour: try row.next(), successes: try row.next(), errors: try row.next(), denied: try row.next())
  }
}
