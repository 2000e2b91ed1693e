import Foundation
import Postgres

/// Moves about `counterCountMax` counters of closed days into packed days, starting after a place; see `pack_usage`.
struct PackUsage: PostgresStatement {
  /// The number of recent days that are not packed, because outcomes may be reported 48 hours late.
  private static let openDayCount = 3

  static let isRead = false
  static let sql = """
    select counter_count, last_account, last_key, last_day
    from pack_usage((now() at time zone 'UTC')::date - \(openDayCount), $1::integer, $2, $3, $4)
    """
  /// A day of a key, after which packing continues.
  struct Place: Equatable {
    var accountID: UUID
    var keyID: UUID
    var day: PostgresDate
  }

  let counterCountMax: Int
  let after: Place?
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(counterCountMax, after?.accountID, after?.keyID, after?.day)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (count: Int, last: Place?) {
    let count: Int = try row.next()
    let (account, key, day): (UUID?, UUID?, PostgresDate?) = (try row.next(), try row.next(), try row.next())
    guard let account, let key, let day else { return (count, nil) }
    return (count, Place(accountID: account, keyID: key, day: day))
  }
}

/// Creates the partitions of this month and the next three; returns how many months had none.
struct EnsureUsagePartitions: PostgresStatement {
  typealias Row = Int
  static let isRead = false
  static let sql = "select ensure_usage_partitions(current_date, 3)"
}

/// Creates a partition for rows that are in a default partition; false if there are none.
struct PlaceUsage: PostgresStatement {
  typealias Row = Bool
  static let isRead = false
  static let sql = "select place_usage()"
}

/// The number of counters in the default partitions, for which there was no other; at most 10,000.
struct CountUnplacedUsage: PostgresStatement {
  typealias Row = Int
  static let sql = "select unplaced_usage_count()"
}

/// Drops a partition that is older than `days` days; returns its name, or nil if there was none.
struct DropUsagePartition: PostgresStatement {
  typealias Row = String?
  static let isRead = false
  static let sql = "select drop_usage_partition((now() at time zone 'UTC')::date - $1::integer)"
  let days: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(days) }
}

struct DeleteOldUsageHours: PostgresStatement {
  static let sql = """
    delete from account_usage_hours where (account_id, hour) in (
      select account_id, hour from account_usage_hours where hour < now() - make_interval(hours => $1::integer)
      order by hour limit $2 for update skip locked)
    """
  let hours: Int
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(hours, limit) }
}

struct DeleteOldUsageBatches: PostgresStatement {
  static let sql = """
    delete from usage_batches where (token_id, batch_id) in (
      select token_id, batch_id from usage_batches where received_at < now() - make_interval(days => $1::integer)
      order by received_at limit $2 for update skip locked)
    """
  let days: Int
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(days, limit) }
}

struct DeleteOldUsageSources: PostgresStatement {
  static let sql = """
    delete from usage_sources where id in (
      select id from usage_sources where updated_at < now() - make_interval(days => $1::integer)
      limit $2 for update skip locked)
    """
  let days: Int
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(days, limit) }
}
