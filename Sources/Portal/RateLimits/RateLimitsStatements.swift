import Foundation
import Postgres

/// Publishes what this instance admitted in the windows, and reads what the others published, both for the current
/// fixed window and for the previous one, in one statement and one snapshot.
struct ExchangeRateLimits: PostgresStatement {
  typealias Row = [Int]
  static let isRead = false
  static let sql = "select exchange_rate_limits($1, $2, $3, $4, $5, $6)"
  /// A fixed window is stored in the slot of the time at which it stops counting. The number of slots and their length
  /// in seconds are the same as in the migration.
  private static let slotCount = 32
  private static let slotSeconds = 7_200

  let instanceID: UUID
  private var slots: [Int] = []
  private var subjects: [UUID] = []
  private var digests: [Int] = []
  private var indexes: [Int] = []
  private var used: [Int] = []

  init(instanceID: UUID, _ queued: [(window: RateLimitWindowID, publication: SharedWindow.Publication)]) {
    self.instanceID = instanceID
    for (window, publication) in queued {
      append(window, publication.seconds, publication.index, publication.own.current)
      append(window, publication.seconds, publication.index - 1, publication.own.previous)
    }
  }

  private mutating func append(_ window: RateLimitWindowID, _ seconds: Int, _ index: Int, _ used: Int) {
    slots.append((index + 2) * seconds / Self.slotSeconds % Self.slotCount)
    subjects.append(window.subject)
    digests.append(window.digest)
    indexes.append(index)
    self.used.append(used)
  }

  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(instanceID, slots, subjects, digests, indexes, used)
  }

  /// Pairs up the other instances' counts in `used`, the answer to this statement. Throws if their number is not that
  /// of the counts sent.
  func told(_ used: [Int]) throws(PostgresError) -> [SharedWindow.Pair] {
    guard used.count == subjects.count else {
      throw PostgresError(.protocolViolation, "the exchange returned \(used.count) counts for \(subjects.count)")
    }
    return stride(from: 0, to: used.count, by: 2).map {
      SharedWindow.Pair(current: used[$0], previous: used[$0 + 1])
    }
  }
}

/// Takes the cost from all of the limits, which are of the mode `consistent`, or from none.
struct TakeRateLimits: PostgresStatement {
  static let isRead = false
  static let sql = """
    select is_admitted, at_milliseconds, indexes, used, used_before
    from take_rate_limits($1, $2, $3::bigint[]::integer[], $4, $5)
    """
  struct Row {
    let isAdmitted: Bool
    let atMilliseconds: Int
    let windows: [(index: Int, current: Int, previous: Int)]
  }
  let limits: [AppliedLimit]
  let cost: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      limits.map(\.window.subject), limits.map(\.limit.digest), limits.map(\.limit.windowSeconds),
      limits.map(\.limit.limit),
      cost)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    let (isAdmitted, at) = (try row.next(Bool.self), try row.next(Int.self))
    let (indexes, used, before) = (try row.next([Int].self), try row.next([Int].self), try row.next([Int].self))
    return Row(
      isAdmitted: isAdmitted, atMilliseconds: at,
      windows: zip(indexes, zip(used, before)).map { (index: $0, current: $1.0, previous: $1.1) })
  }
}

/// Truncates the slots whose counts no window uses any more.
struct ExpireRateLimitCounts: PostgresStatement {
  static let isRead = false
  static let sql = "select expire_rate_limit_counts()"
}

struct ExpireRateLimitWindows: PostgresStatement {
  static let isRead = false
  static let sql = "select expire_rate_limit_windows()"
}
