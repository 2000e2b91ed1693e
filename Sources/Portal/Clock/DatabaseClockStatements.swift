import Foundation
import Postgres

/// What time it is by PostgreSQL's clock, now and not when the transaction began.
struct ReadDatabaseTime: PostgresStatement {
  static let sql = "select clock_timestamp()"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Date { try row.next() }
}
