import Foundation
import Postgres

/// The time up to which usage numbers are final: every instance that has reported within the last hour has written all
/// that it counted before this time.
///
/// - An instance with nothing to write reports too, so that it does not hold the time back.
/// - An instance that stops reporting holds the time back for an hour, because it may return with unwritten counters.
///   After that hour it no longer holds the time back; counters that it writes later are added to days that were
///   considered final.
/// - An instance that shut down properly has written everything and is no longer among the instances.
/// - An instance that has not reported yet has counted nothing before its start.
///
/// Gateways may report outcomes up to ``ReportedOutcome/ageSecondsMax`` late. They are counted in the day they belong
/// to, even if that day was considered final.
///
/// Always one row, because the view is an aggregate.
struct ReadCompleteThrough: PostgresStatement {
  typealias Row = Date
  static let sql = "select complete_through from usage_complete_v1"
}

/// Records that everything an instance counted before `through`, by its estimate of PostgreSQL's clock, is in the
/// database. Returns one row per given source with the number up to which the database has its counters, 0 for none;
/// without sources, a single nil row.
struct NoteUsageProgress: PostgresStatement {
  static let isRead = false
  static let sql = """
    select asked.id, coalesce(source.flushed_number, 0)
    from note_usage_progress($1, $2)
    left join unnest($3::uuid[]) as asked (id) on true
    left join usage_sources source on source.id = asked.id
    """
  let instanceID: UUID
  let through: Date
  var sourceIDs: [UUID] = []
  func bind(_ bindings: inout PostgresBindings) { bindings.append(instanceID, through, sourceIDs) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (sourceID: UUID, number: Int)? {
    guard let id = try row.next(UUID?.self) else { return nil }
    return (id, try row.next())
  }
}
