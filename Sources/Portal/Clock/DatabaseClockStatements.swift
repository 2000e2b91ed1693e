import Foundation
import Postgres

/// The time of PostgreSQL's clock now, not at the start of the transaction.
struct ReadDatabaseTime: PostgresStatement {
  typealias Row = Date
  static let sql = "select clock_timestamp()"
}
