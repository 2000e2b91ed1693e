import Foundation
import JSON
import Postgres

/// Adds the verdicts that a source counted under a number. Returns nil if they were added. Otherwise nothing is added,
/// and the result is the number in the database: this or a later one if they were added before, or one below `previous`
/// if the database has lost commits.
struct FlushVerdicts: PostgresStatement {
  typealias Row = Int?
  static let isRead = false
  static let sql = "select flush_verdicts($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
  let sourceID: UUID
  /// The number that the database must already have for this source; 0 if it need not have any.
  let previous: Int
  let number: Int
  let counters: ArraySlice<UsageCounter>
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      sourceID, previous, number, counters.map(\.accountID), counters.map(\.keyID),
      counters.map { UsageCounter.date(ofHour: $0.hour) }, counters.map(\.endpoint), counters.map(\.verified),
      counters.map(\.denied), counters.map { Date(milliseconds: $0.lastUsedAt) })
  }
}

/// Adds reported outcomes.
struct CountOutcomes: PostgresStatement {
  static let isRead = false
  static let sql = """
    select count_usage($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10, $11)
    """
  let outcomes: [(key: OutcomeKey, value: OutcomeCounts)]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      outcomes.map(\.key.accountID), outcomes.map(\.key.keyID),
      outcomes.map { UsageCounter.date(ofHour: $0.key.hour) }, outcomes.map(\.key.endpoint.text),
      outcomes.map { _ in 0 }, outcomes.map(\.value.lastAt), outcomes.map(\.value.reported),
      outcomes.map(\.value.errors), outcomes.map(\.value.latencySumMilliseconds), outcomes.map(\.value.latencyCount),
      outcomes.map { Self.arrayLiteral($0.value.latencies.buckets) })
  }
  /// PostgreSQL has no arrays of arrays of different lengths, so each array is sent as text.
  private static func arrayLiteral(_ buckets: [Int]) -> String {
    buckets.isEmpty ? "" : "{" + buckets.map(String.init).joined(separator: ",") + "}"
  }
}

/// Records a batch under the ID that its sender chose. No row means that it was counted before.
struct InsertUsageBatch: PostgresStatement {
  typealias Row = Bool
  static let sql = """
    insert into usage_batches (token_id, batch_id) values ($1, $2) on conflict do nothing returning true
    """
  let tokenID: UUID
  let batchID: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(tokenID, batchID) }
}

/// The accounts of keys; only keys of `environment`, if it is given.
struct FindKeyAccounts: PostgresStatement {
  static let sql = """
    select id, account_id from api_keys
    where id = any ($1) and ($2::text is null or environment = $2)
      and ($3::uuid[] is null or api_id is null or api_id = any ($3))
    """
  let ids: [UUID]
  let environment: Key.Environment?
  let apiIDs: [UUID]?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(ids, environment, apiIDs) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (UUID, UUID) {
    (try row.next(), try row.next())
  }
}

/// The sums of the counters, in the order that `UsageTotals.init(row:)` expects.
private let totalColumns = """
  \(countColumns),
  coalesce(sum_latency_buckets(latency_buckets) filter (where latency_buckets is not null), '{}')
  """

/// Without percentiles, which are not shown per endpoint or per key of an account and would take longer than everything
/// else.
private let totalColumnsWithoutBuckets = "\(countColumns), '{}'::bigint[]"

private let countColumns = """
  sum(success_count)::bigint, sum(error_count)::bigint, sum(denied_count)::bigint, sum(total_latency_ms),
  sum(latency_count)::bigint
  """

private let inRange = "where account_id = $1 and day between $2 and $3"

/// An account and a range of days, both included. Usage is read through the views, because several rows may have the
/// same key, day and endpoint.
struct UsageRange {
  let accountID: UUID
  let from: Day
  let to: Day
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, from.postgresDate, to.postgresDate) }
}

extension UsageTotals {
  /// Everything but the histogram, whose form differs between statements.
  init(countsIn row: inout PostgresRow) throws(PostgresError) {
    self.init()
    successes = try row.next()
    errors = try row.next()
    denied = try row.next()
    latencySumMilliseconds = try row.next()
    latencyCount = try row.next()
  }

  init(row: inout PostgresRow) throws(PostgresError) {
    try self.init(countsIn: &row)
    latencies = LatencyHistogram(buckets: try row.next())
  }
}

/// Sums over all keys of an account. Closed days are summed up already.
struct SumUsageByDay: PostgresStatement {
  static let sql = "select day, \(totalColumns) from usage_by_account \(inRange) group by day"
  let range: UsageRange
  func bind(_ bindings: inout PostgresBindings) { range.bind(&bindings) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (Day, UsageTotals) {
    (Day(try row.next()), try UsageTotals(row: &row))
  }
}

struct SumKeyUsageByDay: PostgresStatement {
  static let sql = "select day, \(totalColumns) from usage_by_key \(inRange) and key_id = $4 group by day"
  let range: UsageRange
  let keyID: UUID
  func bind(_ bindings: inout PostgresBindings) {
    range.bind(&bindings)
    bindings.append(keyID)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (Day, UsageTotals) {
    try SumUsageByDay.decode(&row)
  }
}

private let busiestEndpoints = """
  group by endpoint order by sum(success_count + error_count + denied_count) desc, endpoint
  limit \(UsageReport.endpointCountMax)
  """

/// Sums over all keys of an account. Closed days are summed up already.
struct SumUsageByEndpoint: PostgresStatement {
  static let sql = """
    select endpoint, \(totalColumnsWithoutBuckets) from usage_of_account_endpoints($1, $2, $3) \(busiestEndpoints)
    """
  let range: UsageRange
  func bind(_ bindings: inout PostgresBindings) { range.bind(&bindings) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (String, UsageTotals) {
    (try row.next(), try UsageTotals(row: &row))
  }
}

struct SumKeyUsageByEndpoint: PostgresStatement {
  static let sql = """
    select endpoint, \(totalColumnsWithoutBuckets)
    from usage_of_endpoints($1, $4, $2, $3, with_latency_buckets => false) \(busiestEndpoints)
    """
  let range: UsageRange
  let keyID: UUID
  func bind(_ bindings: inout PostgresBindings) {
    range.bind(&bindings)
    bindings.append(keyID)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (String, UsageTotals) {
    try SumUsageByEndpoint.decode(&row)
  }
}

struct SumUsageByKey: PostgresStatement {
  static let sql = """
    select key_id, \(totalColumnsWithoutBuckets) from usage_by_key \(inRange)
    group by key_id order by sum(success_count + error_count + denied_count) desc, key_id
    limit \(UsageReport.keyCountMax)
    """
  let range: UsageRange
  func bind(_ bindings: inout PostgresBindings) { range.bind(&bindings) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (UUID, UsageTotals) {
    (try row.next(), try UsageTotals(row: &row))
  }
}

/// The last hours of an account, including the current one, oldest first. Hours without requests are included.
struct ListUsageHours: PostgresStatement {
  static let sql = """
    select hours.hour, coalesce(usage.success_count, 0), coalesce(usage.error_count, 0), coalesce(usage.denied_count, 0)
    from generate_series(
      date_trunc('hour', now(), 'UTC') - ($2::integer - 1) * interval '1 hour', date_trunc('hour', now(), 'UTC'),
      interval '1 hour') as hours (hour)
    left join account_usage_hours usage on usage.hour = hours.hour and usage.account_id = $1
    order by hours.hour
    """
  let accountID: UUID
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, Int32(count)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UsageHour {
    UsageHour(hour: try row.next(), successes: try row.next(), errors: try row.next(), denied: try row.next())
  }
}
