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

/// Makes a bucket.
struct InsertCredits: PostgresStatement {
  static let sql = """
    insert into credits (id, account_id, available, refill_interval, refill_amount, refill_day, refill_at)
    values ($2, $1, $3, $4, $5, $6, case when $4 is not null then next_credit_refill($4, $6, now()) end)
    """
  let accountID: UUID
  let id: UUID
  let settings: CreditSettings
  func bind(_ bindings: inout PostgresBindings) {
    let refill = settings.refill
    bindings.append(
      accountID, id, settings.remaining, refill?.intervalName, refill?.amount, refill?.day.map { Int32($0) })
  }
}

/// Gives a key a bucket. Keys of its lineage that are not revoked get it, too: they draw from one balance.
struct SetKeyCredits: PostgresStatement {
  static let sql = """
    with lineage as materialized (select lineage_id as id from api_keys where account_id = $1 and id = $2)
    update api_keys set credits_id = $3
    where account_id = $1 and revoked_at is null and (
      id = $2 or (select id from lineage) is not null and lineage_id = (select id from lineage))
    """
  let accountID: UUID
  let keyID: UUID
  let bucketID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, keyID, bucketID) }
}

struct SetAccountCredits: PostgresStatement {
  static let sql = "update accounts set credits_id = $2 where id = $1"
  let accountID: UUID
  let bucketID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, bucketID) }
}

/// Deletes a bucket and its leases. Whatever had it is unlimited then.
struct DeleteCredits: PostgresStatement {
  static let sql = "delete from credits where account_id = $1 and id = $2"
  let accountID: UUID
  let bucketID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, bucketID) }
}

/// Changes when, and to what, a bucket is refilled. A refill that is due is done before.
struct SetCreditRefill: PostgresStatement {
  typealias Row = Bool
  static let isRead = false
  static let sql = """
    select is_changed
    from credits bucket cross join lateral set_credit_refill(bucket.id, $3, $4, $5) is_changed
    where bucket.account_id = $1 and bucket.id = $2
    """
  let accountID: UUID
  let bucketID: UUID
  let refill: CreditRefill?
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(accountID, bucketID, refill?.intervalName, refill?.amount, refill?.day.map { Int32($0) })
  }
}

// MARK: Reading

/// The columns of a `CreditBalance?`, of `credits bucket` in an outer join.
let creditColumns = """
  bucket.id, case when bucket.id is not null then remaining_credits(bucket) end, bucket.refill_interval,
  bucket.refill_amount, bucket.refill_day, bucket.refill_at
  """

extension CreditBalance {
  /// Nil for a row without a bucket.
  init?(columns row: inout PostgresRow) throws(PostgresError) {
    let (id, remaining) = (try row.next(UUID?.self), try row.next(Int?.self))
    let (interval, amount, day) = (try row.next(String?.self), try row.next(Int?.self), try row.next(Int?.self))
    let refillAt = try row.next(Date?.self)
    guard let id, let remaining else { return nil }
    let calendar: RefillCalendar? =
      switch (interval, day) {
      case ("daily", _): .daily
      case ("monthly", let day?): .monthly(day: day)
      default: nil
      }
    self.init(id: id, remaining: remaining, refillAt: refillAt)
    if let calendar, let amount { refill = CreditRefill(calendar, amount: amount) }
  }
}

/// What is left of the buckets that a key spends from, as far as it is settled: of the one with less. No row if there
/// is none of them any more.
struct FindSettledCredits: PostgresStatement {
  typealias Row = Int
  static let sql = """
    select remaining_credits(bucket) as remaining from credits bucket
    where bucket.account_id = $1 and bucket.id = any ($2) order by remaining limit 1
    """
  let accountID: UUID
  let bucketIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, bucketIDs) }
}

/// Asks the live holders of a bucket what they have spent, with a notification. One row for each that has something
/// set aside.
struct AskCreditHolders: PostgresStatement {
  static let isRead = false
  static let sql = "select holder_id, number from ask_credit_holders($1, $2)"
  struct Row {
    let holder: UUID
    /// The holder has answered when `answered` of its lease has reached this.
    let number: Int
  }
  let accountID: UUID
  let bucketID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, bucketID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    Row(holder: try row.next(), number: try row.next())
  }
}

/// A bucket, how many of the holders that were asked have something set aside and have not answered, and what would be
/// missing if those that do not answer had spent all that they have. Holders that could not be asked, because nobody
/// has heard of them or because `areAsked` is false, do not answer.
struct ReadCredits: PostgresStatement {
  static var isRead: Bool { true }
  static let sql = """
    with held as materialized (
      select lease.holder_id, lease.answered < question.number as is_awaited, case
        when question.number is not null then lease.answered >= question.number
        else $5 and lease.holder_id in (select live_credit_holders()) end as is_sure
      from credit_leases lease
        left join unnest($3::uuid[], $4::bigint[]) question (holder_id, number)
          on question.holder_id = lease.holder_id
      where lease.account_id = $1 and lease.credits_id = $2 and lease.granted > lease.settled
    )
    select \(creditColumns), (select count(*) from held where is_awaited),
      outstanding_credits(bucket)
        - outstanding_credits(bucket, array(select holder_id from held where is_sure))
    from credits bucket where bucket.account_id = $1 and bucket.id = $2
    """
  let accountID: UUID
  let bucketID: UUID
  let questions: [AskCreditHolders.Row]
  var areAsked = true
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(accountID, bucketID, questions.map(\.holder), questions.map(\.number), areAsked)
  }
  static func decode(
    _ row: inout PostgresRow
  ) throws(PostgresError) -> (balance: CreditBalance?, awaitedCount: Int) {
    var balance = try CreditBalance(columns: &row)
    let awaitedCount = try row.next(Int.self)
    balance?.held = try row.next()
    return (balance, awaitedCount)
  }
}

// MARK: Jobs, as latchkey_jobs

/// Refills buckets that have been due for a minute. Returns their number.
struct RefillOverdueCredits: PostgresStatement {
  static let isRead = false
  static let sql = "select refill_overdue_credits($1)"
  typealias Row = Int
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Int32(clamping: count)) }
}

/// Records which holders are alive. Rows of `instances` do not stay.
struct HearCreditHolders: PostgresStatement {
  static let sql = """
    update credit_holders holder set
      heard_at = greatest(holder.heard_at, (
        select instance.heartbeat_at from instances instance where instance.id = holder.id)),
      silent_count = case
        when holder.id in (select live_credit_holders()) then 0 else least(holder.silent_count, 1000000) + 1 end
    where not holder.is_closed
    """
}

/// Accounts, in the order of their ids, with something set aside for holders that were not heard of for so long.
struct ListSilentCreditAccounts: PostgresStatement {
  typealias Row = UUID
  static let sql = """
    select distinct lease.account_id
    from credit_holders holder join credit_leases lease on lease.holder_id = holder.id
    where is_credit_holder_silent(holder, $1, $2) and lease.granted > lease.settled
      and ($3::uuid is null or lease.account_id > $3)
    order by lease.account_id limit $4
    """
  let silence: CreditSilence
  let after: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(Double(silence.seconds), Int32(clamping: silence.runCount), after, count)
  }
}

/// Takes back what silent holders have set aside of an account's buckets, at most ``countMax`` leases. As staff in the
/// account.
struct ForgiveCredits: PostgresStatement {
  static let countMax = 500
  static let isRead = false
  static let sql = "select credits_id, holder_id, amount from forgive_credits($1, $2, $3)"
  struct Row {
    let bucketID: UUID
    let holder: UUID
    /// What the holder may have spent nevertheless.
    let amount: Int
  }
  let accountID: UUID
  let silence: CreditSilence
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(accountID, Double(silence.seconds), Int32(clamping: silence.runCount))
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    Row(bucketID: try row.next(), holder: try row.next(), amount: try row.next())
  }
}

/// Deletes settled leases without credits left, of holders that have been silent for ``CreditSilence/holderDays`` days.
struct DeleteOldCreditLeases: PostgresStatement {
  static let sql = """
    delete from credit_leases where (credits_id, holder_id) in (
      select lease.credits_id, lease.holder_id
      from credit_holders holder join credit_leases lease on lease.holder_id = holder.id
      where holder.heard_at < now() - make_interval(days => \(CreditSilence.holderDays))
        and lease.granted = lease.settled
      limit $1)
    """
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(limit) }
}

/// Deletes holders without leases that have been silent for ``CreditSilence/holderDays`` days.
struct DeleteOldCreditHolders: PostgresStatement {
  static let sql = """
    delete from credit_holders where id in (
      select holder.id from credit_holders holder
      where holder.heard_at < now() - make_interval(days => \(CreditSilence.holderDays))
        and not exists (select from credit_leases lease where lease.holder_id = holder.id)
      limit $1)
    """
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(limit) }
}
