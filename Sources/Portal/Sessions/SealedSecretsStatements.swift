import Foundation
import Postgres

struct ListSealedSecrets: PostgresStatement {
  static let sql = "select person_id, sealed_secret from second_factors order by created_at desc limit $1"
  let countMax: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(countMax) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (personID: UUID, secret: [UInt8]) {
    (try row.next(), try row.next(PostgresBytes.self).bytes)
  }
}
