import Foundation
import Postgres

/// Adds counters, all of a flush in one statement. They come sorted by primary key: two instances lock in one order.
struct AddUsage: PostgresStatement {
  static let sql = """
    insert into key_usage as usage (account_id, key_id, day, endpoint, verified_count, denied_count, reported_count,
      error_count, total_latency_ms, latency_count, latency_buckets)
    select account_id, key_id, day, endpoint, verified, denied, reported, errors, latency_sum, latency_count,
      nullif(buckets, '')::bigint[]
    from unnest($1::uuid[], $2::uuid[], $3::date[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
      $9::double precision[], $10::bigint[], $11::text[]) as batch
      (account_id, key_id, day, endpoint, verified, denied, reported, errors, latency_sum, latency_count, buckets)
    on conflict (account_id, key_id, day, endpoint) do update set
      verified_count = usage.verified_count + excluded.verified_count,
      denied_count = usage.denied_count + excluded.denied_count,
      reported_count = usage.reported_count + excluded.reported_count,
      error_count = usage.error_count + excluded.error_count,
      total_latency_ms = usage.total_latency_ms + excluded.total_latency_ms,
      latency_count = usage.latency_count + excluded.latency_count,
      latency_buckets = add_latency_buckets(usage.latency_buckets, excluded.latency_buckets)
    """
  let counters: [(key: UsageKey, value: UsageCounts)]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      counters.map(\.key.accountID), counters.map(\.key.keyID), counters.map(\.key.day.postgresDate),
      counters.map(\.key.endpoint), counters.map(\.value.verified), counters.map(\.value.denied),
      counters.map(\.value.reported), counters.map(\.value.errors), counters.map(\.value.latencySumMilliseconds),
      counters.map(\.value.latencyCount), counters.map { Self.arrayLiteral($0.value.latencies.buckets) })
  }
  /// PostgreSQL has no array of arrays of different lengths, so each travels as text.
  private static func arrayLiteral(_ buckets: [Int]) -> String {
    buckets.isEmpty ? "" : "{" + buckets.map(String.init).joined(separator: ",") + "}"
  }
}

/// When keys were used last, and how often in all; sorted, too.
struct AddKeyActivity: PostgresStatement {
  static let sql = """
    insert into key_activity as activity
      (account_id, key_id, last_used_at, verified_count, denied_count, reported_count)
    select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[])
    on conflict (account_id, key_id) do update set
      last_used_at = greatest(activity.last_used_at, excluded.last_used_at),
      verified_count = activity.verified_count + excluded.verified_count,
      denied_count = activity.denied_count + excluded.denied_count,
      reported_count = activity.reported_count + excluded.reported_count
    """
  private let activities: [(accountID: UUID, keyID: UUID, counts: UsageCounts)]
  init(counters: [(key: UsageKey, value: UsageCounts)]) {
    var byKey: [(accountID: UUID, keyID: UUID, counts: UsageCounts)] = []
    for (key, counts) in counters {
      if byKey.last?.keyID == key.keyID {
        byKey[byKey.count - 1].counts.merge(counts)
      } else {
        byKey.append((key.accountID, key.keyID, counts))
      }
    }
    activities = byKey
  }
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      activities.map(\.accountID), activities.map(\.keyID), activities.map(\.counts.lastUsedAt),
      activities.map(\.counts.verified), activities.map(\.counts.denied), activities.map(\.counts.reported))
  }
}

/// Advances a writer of counters from `number - 1` to `number`. No row: it has come that far already.
struct AdvanceUsageSource: PostgresStatement {
  static let sql = """
    insert into usage_sources as source (id, flushed_number) values ($1, $2)
    on conflict (id) do update set flushed_number = excluded.flushed_number, updated_at = now()
      where source.flushed_number = excluded.flushed_number - 1
    returning flushed_number
    """
  let id: UUID
  let number: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, number) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Int { try row.next() }
}

/// Remembers a batch by the name its sender gave it. No row: it was counted already.
struct InsertUsageBatch: PostgresStatement {
  static let sql = """
    insert into usage_batches (token_id, batch_id) values ($1, $2) on conflict do nothing returning true
    """
  let tokenID: UUID
  let batchID: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(tokenID, batchID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Bool { try row.next() }
}

struct DeleteOldUsageBatches: PostgresStatement {
  static let sql = "delete from usage_batches where received_at < now() - interval '7 days'"
}

struct FindKeyAccounts: PostgresStatement {
  static let sql = "select id, account_id from api_keys where id = any ($1)"
  let ids: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(ids) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (UUID, UUID) {
    (try row.next(), try row.next())
  }
}

struct EnsureUsagePartitions: PostgresStatement {
  static let sql = "select ensure_usage_partitions(current_date, 3)"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Int { try row.next() }
}

/// The sums of the counters, in the order in which `UsageTotals.init(row:)` takes them.
private let totalColumns = """
  sum(success_count)::bigint, sum(error_count)::bigint, sum(denied_count)::bigint, sum(total_latency_ms),
  sum(latency_count)::bigint, coalesce(sum_latency_buckets(latency_buckets), '{}')
  """

private let inRange = """
  from key_usage
  where account_id = $1 and ($2::uuid is null or key_id = $2) and day between $3 and $4
  """

/// Whose usage, from when to when.
struct UsageRange {
  let accountID: UUID
  /// nil: all keys of the account.
  let keyID: UUID?
  let from: Day
  let to: Day
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(accountID, keyID, from.postgresDate, to.postgresDate)
  }
}

extension UsageTotals {
  init(row: inout PostgresRow) throws(PostgresError) {
    self.init()
    successes = try row.next()
    errors = try row.next()
    denied = try row.next()
    latencySumMilliseconds = try row.next()
    latencyCount = try row.next()
    latencies = LatencyHistogram(buckets: try row.next())
  }
}

struct SumUsageByDay: PostgresStatement {
  static let sql = "select day, \(totalColumns) \(inRange) group by day"
  let range: UsageRange
  func bind(_ bindings: inout PostgresBindings) { range.bind(&bindings) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (Day, UsageTotals) {
    (Day(try row.next()), try UsageTotals(row: &row))
  }
}

struct SumUsageByEndpoint: PostgresStatement {
  static let sql = """
    select endpoint, \(totalColumns) \(inRange)
    group by endpoint order by sum(success_count + error_count + denied_count) desc, endpoint limit $5
    """
  let range: UsageRange
  func bind(_ bindings: inout PostgresBindings) {
    range.bind(&bindings)
    bindings.append(UsageReport.endpointCountMax)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (String, UsageTotals) {
    (try row.next(), try UsageTotals(row: &row))
  }
}

struct SumUsageByKey: PostgresStatement {
  static let sql = """
    select key_id, \(totalColumns) \(inRange)
    group by key_id order by sum(success_count + error_count + denied_count) desc, key_id limit $5
    """
  let range: UsageRange
  func bind(_ bindings: inout PostgresBindings) {
    range.bind(&bindings)
    bindings.append(UsageReport.keyCountMax)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (UUID, UsageTotals) {
    (try row.next(), try UsageTotals(row: &row))
  }
}
