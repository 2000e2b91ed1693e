import Foundation
import Postgres

/// Moves keys of the current account, which are locked, to another account, which is locked as well. Returns their
/// number.
struct MoveKeys: PostgresStatement {
  typealias Row = Int
  static let isRead = false
  static let sql = "select move_keys($1, $2)"
  let target: UUID
  let keyIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(target, keyIDs) }
}
