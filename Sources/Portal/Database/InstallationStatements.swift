import Foundation
import Postgres

struct FindInstallation: PostgresStatement {
  static let sql = "select id from installation"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UUID { try row.next() }
}
