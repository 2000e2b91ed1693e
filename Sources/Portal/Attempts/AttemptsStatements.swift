import Foundation
import Postgres

struct AdmitAttempt: PostgresStatement {
  static let isRead = false
  static let sql = "select wait_seconds, is_known from admit_attempt($1, $2, $3, $4, $5, $6)"
  let attempt: Attempt
  func bind(_ bindings: inout PostgresBindings) {
    let buckets = [attempt.own] + attempt.shared
    bindings.append(
      attempt.knownBy, attempt.waived, buckets.map(\.id), buckets.map { Int32($0.policy.freeCount) },
      buckets.map { Int32($0.policy.delaySecondsMax) }, buckets.map { Int32($0.policy.forgetSeconds) })
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (waitSeconds: Int, isKnown: Bool) {
    (try row.next(), try row.next())
  }
}

/// Settles attempts. At login it is executed in the transaction that opens the session.
struct SettleAttempts: PostgresStatement {
  typealias Row = Bool
  static let isRead = false
  static let sql = "select true from (select settle_attempts($1, $2, $3, $4)) settled"
  private var cleared: [UUID] = []
  private var returned: [UUID] = []
  private var known: UUID?

  init(succeeded admissions: [Attempts.Admission]) {
    cleared = admissions.map(\.attempt.own.id)
    returned = admissions.flatMap { $0.counted.map(\.id) }
    known = admissions.first { $0.attempt.isLogIn }?.attempt.own.id
  }

  init(takingBack admission: Attempts.Admission) {
    returned = [admission.attempt.own.id] + admission.counted.map(\.id)
  }

  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(cleared, returned, known, Int32(Attempt.knownSeconds))
  }
}

struct DeleteOldAttempts: PostgresStatement {
  static let sql = """
    delete from attempt_counts where ctid = any (array(
      select ctid from attempt_counts where forgotten_at < now() and known_until < now() limit $1))
    """
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(limit) }
}
