import Foundation
import Postgres

struct FindInstallation: PostgresStatement {
  typealias Row = UUID
  static let sql = "select id from installation"
}
