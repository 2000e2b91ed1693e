import Foundation
import Postgres

struct AskCredits: PostgresStatement {
  typealias Row = CreditAnswer
  static let isRead = false
  static let sql = "select from ask_credits()"
  let bucket: UUID
  let holder: UUID
  let ask: CreditAsk
  func bind(_ bindings: inout PostgresBindings) {}
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CreditAnswer { CreditAnswer(verdict: .gone) }
}

struct SettledCredit: Sendable {
  let bucket: UUID
  let generation: Int
  let settled: Int
  let isRecalled: Bool
  let isAsked: Bool
}

struct SettleCredits: PostgresStatement {
  typealias Row = SettledCredit
  static let isRead = false
  static let sql = "select from settle_credits()"
  let holder: UUID
  let buckets: [UUID]
  let generations: [Int]
  let spents: [Int]
  func bind(_ bindings: inout PostgresBindings) {}
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> SettledCredit {
    SettledCredit(
      bucket: try row.next(), generation: try row.next(), settled: try row.next(), isRecalled: try row.next(),
      isAsked: try row.next())
  }
}

/// False if the holder was closed.
struct OpenCreditHolder: PostgresStatement {
  typealias Row = Bool
  static let isRead = false
  static let sql = "select from open_credit_holder()"
  let holder: UUID
  func bind(_ bindings: inout PostgresBindings) {}
}

struct AdoptCredits: PostgresStatement {
  typealias Row = Int
  static let isRead = false
  static let sql = "select from adopt_credits()"
  let holder: UUID
  let buckets: [UUID]
  let generations: [Int]
  let spents: [Int]
  func bind(_ bindings: inout PostgresBindings) {}
}
