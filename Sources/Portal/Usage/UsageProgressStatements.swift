import Foundation
import Postgres

/// Until when the numbers of usage are final: every instance that was heard of within the last hour has written all
/// that it counted before this moment.
///
/// - An instance that had nothing to write says so all the same, so that it holds nobody up.
/// - One that is away holds the moment where it left it, for an hour: it may come back with what it had counted. After
///   that it is waited for no longer, and what it brings then is added to days that were taken for final.
/// - One that ended properly has written everything and is no longer among the instances.
/// - One that has not said anything yet has counted nothing from before its start.
///
/// Gateways may report outcomes up to ``ReportedOutcome/ageSecondsMax`` late: these are counted in the day they belong
/// to, whatever was said of it.
///
/// One row, whatever instances there are: the view is an aggregate.
struct ReadCompleteThrough: PostgresStatement {
  static let sql = "select complete_through from usage_complete_v1"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Date { try row.next() }
}

/// Says that everything that an instance counted before `through`, by PostgreSQL's clock as it knows it, stands in the
/// database. Answers with the numbers up to which it has the counters of some sources, 0 for none; without sources, one
/// row of nil.
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
