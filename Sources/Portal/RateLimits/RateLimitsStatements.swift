import Foundation
import Postgres

/// Publishes what this instance admitted in the windows, and reads what the others published, both for the current
/// fixed window and for the previous one, in one statement and one snapshot.
struct ExchangeRateLimits: PostgresStatement {
  typealias Row = [Int]
  static let isRead = false
  static let sql = "select exchange_rate_limits($1, $2, $3, $4, $5, $6)"
  /// Longer windows are exchanged by ``ExchangeLongRateLimits``: the slots are used again after less than three days.
  static let windowMillisecondsMax = 86_400_000
  /// A fixed window is stored in the slot of the time at which it stops counting. The number of slots and their length
  /// are the same as in the migration.
  private static let slotCount = 32
  private static let slotMilliseconds = 7_200_000

  let instanceID: UUID
  private var slots: [Int] = []
  private var counts = PublishedCounts()

  init(instanceID: UUID, _ queued: [(window: RateLimitWindowID, publication: SharedWindow.Publication)]) {
    self.instanceID = instanceID
    for (window, publication) in queued {
      for end in counts.append(window, publication) { slots.append(end / Self.slotMilliseconds % Self.slotCount) }
    }
  }

  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(instanceID, slots, counts.subjects, counts.digests, counts.indexes, counts.used)
  }
}

/// As ``ExchangeRateLimits``, for windows of more than a day.
struct ExchangeLongRateLimits: PostgresStatement {
  typealias Row = [Int]
  static let isRead = false
  static let sql = "select exchange_long_rate_limits($1, $2, $3, $4, $5, $6)"

  let instanceID: UUID
  /// When the fixed windows stop counting, in milliseconds since 1970.
  private var ends: [Int] = []
  private var counts = PublishedCounts()

  init(instanceID: UUID, _ queued: [(window: RateLimitWindowID, publication: SharedWindow.Publication)]) {
    self.instanceID = instanceID
    for (window, publication) in queued { ends += counts.append(window, publication) }
  }

  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(instanceID, ends, counts.subjects, counts.digests, counts.indexes, counts.used)
  }
}

/// What an instance publishes, in columns: two entries for each window.
private struct PublishedCounts: Sendable {
  var subjects: [UUID] = []
  var digests: [Int] = []
  var indexes: [Int] = []
  var used: [Int] = []

  /// Appends the counts of the current and the previous fixed window. Returns when they stop counting, in milliseconds
  /// since 1970.
  mutating func append(_ window: RateLimitWindowID, _ publication: SharedWindow.Publication) -> [Int] {
    let index = publication.index
    subjects += [window.subject, window.subject]
    digests += [window.digest, window.digest]
    indexes += [index, index - 1]
    used += [publication.own.current, publication.own.previous]
    return [(index + 2) * publication.milliseconds, (index + 1) * publication.milliseconds]
  }
}

extension [SharedWindow.Pair] {
  /// Pairs up the other instances' counts, which are the answer to an exchange of `count` windows. Throws if it has
  /// another number of them.
  init(told used: [Int], count: Int) throws(PostgresError) {
    guard used.count == 2 * count else {
      throw PostgresError(.protocolViolation, "the exchange returned \(used.count) counts for \(2 * count)")
    }
    self = stride(from: 0, to: used.count, by: 2).map { SharedWindow.Pair(current: used[$0], previous: used[$0 + 1]) }
  }
}

/// Takes the costs from all of the limits, which are of the mode `consistent`, or from none.
struct TakeRateLimits: PostgresStatement {
  static let isRead = false
  static let sql = """
    select is_admitted, at_milliseconds, indexes, used, used_before from take_limits($1, $2, $3, $4, $5, $6)
    """
  struct Row {
    let isAdmitted: Bool
    let atMilliseconds: Int
    /// Of a bucket, `index` is the time in milliseconds since 1970, and `current` is what is missing.
    let windows: [(index: Int, current: Int, previous: Int)]
  }
  let charges: [LimitCharge]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      charges.map(\.applied.window.subject), charges.map(\.applied.limit.digest),
      charges.map { $0.applied.limit.bucket?.intervalMilliseconds ?? $0.applied.limit.windowMilliseconds },
      charges.map(\.applied.limit.limit), charges.map { $0.applied.limit.bucket?.refill ?? 0 }, charges.map(\.cost))
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

/// Deletes counts of long windows that have ended, at most `limit`.
struct DeleteLongRateLimitCounts: PostgresStatement {
  static let sql = """
    delete from long_rate_limit_counts where ctid = any (array(
      select ctid from long_rate_limit_counts where ended_at < now() limit $1))
    """
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(limit) }
}

/// Adds up the counts of instances that are gone, of at most `limit` rows, so that a window of a year does not have a
/// row for each process that ever counted in it.
struct AddUpLongRateLimitCounts: PostgresStatement {
  static let isRead = false
  static let sql = """
    with gone as (
      delete from long_rate_limit_counts where ctid = any (array(
        select counts.ctid from long_rate_limit_counts counts
        where counts.instance_id <> '00000000-0000-0000-0000-000000000000'
          and counts.published_at < now() - interval '1 hour'
          and not exists (select from instances instance where instance.id = counts.instance_id)
        limit $1))
      returning *
    ), added_up as (
      insert into long_rate_limit_counts as present
        (subject_id, limit_digest, window_index, instance_id, used, ended_at, published_at)
      select subject_id, limit_digest, window_index, '00000000-0000-0000-0000-000000000000', sum(used), max(ended_at),
        now()
      from gone group by subject_id, limit_digest, window_index
      on conflict (subject_id, limit_digest, window_index, instance_id)
      do update set used = present.used + excluded.used, published_at = now()
    )
    select count(*) from gone
    """
  typealias Row = Int
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(limit) }
}

struct ExpireRateLimitWindows: PostgresStatement {
  static let isRead = false
  static let sql = "select expire_rate_limit_windows()"
}
