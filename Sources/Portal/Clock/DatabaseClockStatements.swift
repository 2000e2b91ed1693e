import Foundation
import Postgres

/// The time of PostgreSQL's clock now, not at the start of the transaction.
struct ReadDatabaseTime: PostgresStatement {
  static let sql = "select clock_timestamp()"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Date { try row.next() }
}
