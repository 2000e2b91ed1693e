import Foundation
import Postgres

/// Marks the transaction's account as deleted, with all that goes with it; migration 0019 says what.
struct DeleteCurrentAccount: PostgresStatement {
  static let sql = "select delete_current_account()"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Date { try row.next() }
}
