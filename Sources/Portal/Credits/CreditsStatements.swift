import Foundation
import Postgres

extension CreditAnswer.Verdict: PostgresCodable {}

// MARK: Leases. Instances execute these as latchkey_gateway. All of them commit durably, whatever the session says.

/// Asks for credits of a bucket, gives some back, or both; see ``CreditBlock``. Repeated and late ones do no harm.
struct AskCredits: PostgresStatement {
  static let isRead = false
  static let sql = """
    select verdict, lease_generation, lease_granted, lease_settled, lease_is_recalled, remaining,
      refill_milliseconds
    from ask_credits($1, $2, $3, $4, $5, $6, $7, $8, $9)
    """
  let bucket: UUID
  let holder: UUID
  let ask: CreditAsk
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      bucket, holder, ask.number, ask.generation, ask.spent, ask.keep, ask.need, ask.want, ask.isReturn)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CreditAnswer {
    let verdict = try row.next(CreditAnswer.Verdict.self)
    let (generation, granted) = (try row.next(Int?.self), try row.next(Int?.self))
    let (settled, isRecalled) = (try row.next(Int?.self), try row.next(Bool?.self))
    var answer = CreditAnswer(verdict: verdict, remaining: try row.next(), refillMilliseconds: try row.next())
    if let generation, let granted, let settled, let isRecalled {
      answer.lease = CreditAnswer.Lease(
        generation: generation, granted: granted, settled: settled, isRecalled: isRecalled)
    }
    return answer
  }
}

/// A lease after a settlement.
struct SettledCredit: Equatable, Sendable {
  let bucket: UUID
  let generation: Int
  /// What PostgreSQL knows to be spent.
  let settled: Int
  /// Whether somebody waits for what is not spent.
  let isRecalled: Bool
  /// Whether somebody waits for another settlement: this one may have been made before they asked.
  let isAsked: Bool
}

/// Stores what a holder has spent of its leases, each number up to what was granted. One row for each lease that has
/// the generation. A holder that is no instance sends it every second, with or without leases: it counts as heard of
/// for three seconds.
struct SettleCredits: PostgresStatement {
  static let isRead = false
  static let sql = """
    select credits_id, generation, settled, is_recalled, is_asked from settle_credits($1, $2, $3, $4)
    """
  let holder: UUID
  let buckets: [UUID]
  let generations: [Int]
  let spents: [Int]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(holder, buckets, generations, spents) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> SettledCredit {
    SettledCredit(
      bucket: try row.next(), generation: try row.next(), settled: try row.next(), isRecalled: try row.next(),
      isAsked: try row.next())
  }
}

/// Lets a holder lease. Returns false if it was closed: then it needs another id. May be repeated.
struct OpenCreditHolder: PostgresStatement {
  typealias Row = Bool
  static let isRead = false
  static let sql = "select open_credit_holder($1)"
  let holder: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(holder) }
}

/// Closes a holder, settles all its leases, and takes back the rest. A lease without a place in the arrays is taken to
/// be spent as far as PostgreSQL knows. Returns the number of leases that there were. May be repeated.
struct AdoptCredits: PostgresStatement {
  static let isRead = false
  static let sql = "select adopt_credits($1, $2, $3, $4)"
  typealias Row = Int
  let holder: UUID
  let buckets: [UUID]
  let generations: [Int]
  let spents: [Int]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(holder, buckets, generations, spents) }
}

// MARK: Changes by people and backends, as staff in the account

/// Changes what a bucket has. Returns the balance as far as it is settled, or nil if there is no such bucket, and
/// whether nothing was changed because it would have more than ``CreditBalance/amountMax``.
struct ChangeCredits: PostgresStatement {
  enum Operation: String, PostgresCodable {
    case set, increment, decrement, refill
  }

  static let isRead = false
  static let sql = """
    select remaining, is_full
    from credits bucket cross join lateral change_credits(bucket.id, $3, $4)
    where bucket.account_id = $1 and bucket.id = $2
    """
  let accountID: UUID
  let bucketID: UUID
  let operation: Operation
  let amount: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, bucketID, operation, amount) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (remaining: Int?, isFull: Bool) {
    (try row.next(), try row.next())
  }
}
