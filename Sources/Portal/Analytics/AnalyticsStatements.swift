import Foundation
import JSON
import Postgres

/// Analytics statements read much data: a plan for their actual days and filters pays off, and JIT compilation does
/// not.
struct ForceCustomPlanWithoutJIT: PostgresStatement {
  static let sql = "select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true)"
}

/// Locks the tables behind the views until the transaction ends. A cursor takes its snapshot before it locks and plans,
/// so rows that were moved into a new partition in between would be missing from both.
struct LockUsage: PostgresStatement {
  static let sql = "select from usage_by_key, usage_by_account where false"
}

/// Ends the transaction after 60 seconds without a statement, because the reader of an export may stop at any time.
struct LimitExportPause: PostgresStatement {
  static let sql = "select set_config('idle_in_transaction_session_timeout', '60s', true)"
}

// MARK: Usage

extension UsageQuestion {
  /// Binds the parameters of all usage sums, `$1` to `$8`.
  fileprivate func bind(_ bindings: inout PostgresBindings, count: Int) {
    bindings.append(range.from.postgresDate, range.to.postgresDate, accountID, keyID, count)
    keys.bind(&bindings)
  }
}

extension KeySelection {
  /// Binds the environment, and the id or the slug of the api.
  fileprivate func bind(_ bindings: inout PostgresBindings) { bindings.append(environment, api?.id, api?.name) }
}

/// The usage of keys, with what the keys are now. An environment or an id that is missing has a value that no other
/// has, because groups are joined by it.
private let usageOfKinds = """
  (select usage.*, coalesce(key.environment, '') as environment,
    coalesce(key.api_id, '00000000-0000-0000-0000-000000000000') as api_id
  from usage_by_key usage left join api_keys key on key.id = usage.key_id) kinds
  """

/// A subselect, to leave out columns that usage has as well.
private let keyNames = "left join (select id, name, key_start from api_keys) key on key.id = key_id"

/// A class of answers by their maximum number of groups, which decides how histograms, most of the work, are added up.
protocol AnswerSize: Sendable {
  static func histograms(of view: String, by group: String, _ selection: String) -> String
}

/// One sum per bucket, side by side, which parallel workers can compute: seven times as fast as `sum_latency_buckets`,
/// with a few kilobytes per group.
enum FewGroups: AnswerSize {
  static let countMax = 200

  static func histograms(of view: String, by group: String, _ selection: String) -> String {
    let sums = (1...LatencyHistogram.bucketCountMax).map { "coalesce(sum(latency_buckets[\($0)]), 0)" }
    let column = group.split(separator: " ").last.map(String.init) ?? group
    return """
      select \(group), array(select generate_series(1, \(LatencyHistogram.bucketCountMax))) as places,
        array[\(sums.joined(separator: ", "))]::bigint[] as totals
      from \(view)
      where \(selection) and latency_buckets is not null and \(column) = any (array(select \(column) from found))
      group by \(group)
      """
  }
}

/// One row per bucket that is not empty: twice as fast as `sum_latency_buckets`, with little memory.
enum ManyGroups: AnswerSize {
  static func histograms(of view: String, by group: String, _ selection: String) -> String {
    """
    select \(group), array_agg(place) as places, array_agg(total) as totals
    from (
      select \(group), place, sum(count)::bigint as total
      from (
        select \(group), unnest(latency_buckets) as count, generate_subscripts(latency_buckets, 1) as place
        from \(view) join found using (\(group))
        where \(selection) and latency_buckets is not null
      ) pairs
      where count <> 0
      group by \(group), place
    ) sums
    group by \(group)
    """
  }
}

/// The sums per group, with histograms of only the groups that are shown.
private func usageSums<Size: AnswerSize>(
  _: Size.Type, _ view: String, by group: String, _ names: String = "", _ tables: String = ""
) -> String {
  let isByDay = group == "day"
  let selection = """
    day between $1 and $2 and ($3::uuid is null or account_id = $3) and ($4::uuid is null or key_id = $4)
      and ($6::text is null or key_id in (select of_kind.id from api_keys of_kind where of_kind.environment = $6))
      and ($7::uuid is null and $8::text is null or key_id in (
        select of_kind.id from api_keys of_kind join apis api on api.id = of_kind.api_id
        where api.id = $7 or api.slug = $8))
    """
  return """
    with found as materialized (
      select \(group), sum(success_count)::bigint as successes, sum(error_count)::bigint as errors,
        sum(denied_count)::bigint as denied, sum(total_latency_ms) as latency_sum,
        sum(latency_count)::bigint as measured
      from \(view) where \(selection)
      group by \(group)
      order by \(isByDay ? "day" : "sum(success_count + error_count + denied_count) desc, \(group)")
      limit $5
    ), latencies as (
      \(Size.histograms(of: view, by: group, selection))
    )
    select \(group)\(names), successes, errors, denied, latency_sum, measured, coalesce(places, '{}'),
      coalesce(totals, '{}')
    from found left join latencies using (\(group)) \(tables)
    order by \(isByDay ? "day" : "successes + errors + denied desc, \(group)")
    """
}

extension UsageTotals {
  /// As ``init(row:)``, with the histogram as two arrays: the numbers of the buckets that are not empty, starting from
  /// 1, and their counts.
  fileprivate init(sparse row: inout PostgresRow) throws(PostgresError) {
    try self.init(countsIn: &row)
    let (places, counts) = (try row.next([Int32].self), try row.next([Int].self))
    latencies = LatencyHistogram(places: places.map(Int.init), counts: counts)
  }
}

struct SumUsageOfDays<Size: AnswerSize>: PostgresStatement {
  static var isRead: Bool { true }
  static var sql: String { usageSums(Size.self, "usage_by_key", by: "day") }
  let question: UsageQuestion
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { question.bind(&bindings, count: count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UsageRow {
    UsageRow(day: Day(try row.next()), totals: try UsageTotals(sparse: &row))
  }
}

struct SumUsageOfAccounts<Size: AnswerSize>: PostgresStatement {
  static var isRead: Bool { true }
  static var sql: String {
    usageSums(
      Size.self,
      "usage_by_key", by: "account_id", ", account.name", "left join accounts account on account.id = account_id")
  }
  let question: UsageQuestion
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { question.bind(&bindings, count: count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UsageRow {
    UsageRow(
      consumer: Consumer(accountID: try row.next(), accountName: try row.next()), totals: try UsageTotals(sparse: &row))
  }
}

struct SumUsageOfKeys<Size: AnswerSize>: PostgresStatement {
  static var isRead: Bool { true }
  static var sql: String {
    usageSums(
      Size.self,
      "usage_by_key", by: "account_id, key_id", ", key.name, key.key_start",
      keyNames)
  }
  let question: UsageQuestion
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { question.bind(&bindings, count: count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UsageRow {
    let (accountID, keyID) = (try row.next(UUID.self), try row.next(UUID.self))
    return UsageRow(
      consumer: Consumer(accountID: accountID, keyID: keyID, keyName: try row.next(), keyStart: try row.next()),
      totals: try UsageTotals(sparse: &row))
  }
}

struct SumUsageOfEndpoints<Size: AnswerSize>: PostgresStatement {
  static var isRead: Bool { true }
  static var sql: String { usageSums(Size.self, "usage_by_endpoint", by: "endpoint") }
  let question: UsageQuestion
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { question.bind(&bindings, count: count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UsageRow {
    UsageRow(endpoint: try row.next(), totals: try UsageTotals(sparse: &row))
  }
}

struct SumUsageOfEnvironments<Size: AnswerSize>: PostgresStatement {
  static var isRead: Bool { true }
  static var sql: String { usageSums(Size.self, usageOfKinds, by: "environment") }
  let question: UsageQuestion
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { question.bind(&bindings, count: count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UsageRow {
    UsageRow(environment: Key.Environment(rawValue: try row.next()), totals: try UsageTotals(sparse: &row))
  }
}

struct SumUsageOfAPIs<Size: AnswerSize>: PostgresStatement {
  static var isRead: Bool { true }
  static var sql: String {
    usageSums(
      Size.self, usageOfKinds, by: "api_id", ", api.id, api.slug", "left join apis api on api.id = found.api_id")
  }
  let question: UsageQuestion
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { question.bind(&bindings, count: count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UsageRow {
    _ = try row.next(UUID.self)
    return UsageRow(
      api: UsageRow.API(id: try row.next(), slug: try row.next()), totals: try UsageTotals(sparse: &row))
  }
}

/// What each account has used, by the environment and the api of its keys.
struct ListInvoice: PostgresStatement {
  static let isRead = true
  static let sql = """
    with found as materialized (
      select account_id, key_id, sum(success_count) as successes, sum(error_count) as errors,
        sum(denied_count) as denied
      from usage_by_key where day between $1 and $2
      group by account_id, key_id
    )
    select account.external_id, found.account_id, account.name, null::uuid, null::text, null::text, key.environment,
      api.id, api.slug, sum(successes)::bigint, sum(errors)::bigint, sum(denied)::bigint
    from found
      left join accounts account on account.id = found.account_id
      left join (select id, environment, api_id from api_keys) key on key.id = found.key_id
      left join apis api on api.id = key.api_id
    where ($4::text is null or key.environment = $4)
      and ($5::uuid is null and $6::text is null or api.id = $5 or api.slug = $6)
    group by account.external_id, found.account_id, account.name, key.environment, api.id, api.slug
    order by found.account_id, key.environment, api.id nulls first
    limit $3
    """
  let range: DayRange
  let keys: KeySelection
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(range.from.postgresDate, range.to.postgresDate, count)
    keys.bind(&bindings)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> InvoiceRow {
    InvoiceRow(
      externalID: try row.next(), consumer: try Consumer(row: &row), environment: try row.next(),
      api: UsageRow.API(id: try row.next(), slug: try row.next()), successes: try row.next(), errors: try row.next(),
      denied: try row.next())
  }
}

// MARK: Consumers

/// How consumers are read: the view with their counters, the columns that identify them, and the columns and joins that
/// `Consumer.init(row:)` needs.
protocol ConsumerGrouping: Sendable {
  static var view: String { get }
  static var group: String { get }
  static var columns: String { get }
  static var tables: String { get }
}

enum ByAccount: ConsumerGrouping {
  /// A packed day has one row per account here, not one per key.
  static let view = "usage_by_account"
  static let group = "account_id"
  static let columns = "account_id, account.name, null::uuid, null::text, null::text"
  static let tables = "left join accounts account on account.id = account_id"
}

enum ByKey: ConsumerGrouping {
  static let view = "usage_by_key"
  static let group = "account_id, key_id"
  static let columns = "account_id, account.name, key_id, key.name, key.key_start"
  static let tables = ByAccount.tables + " " + keyNames
}

extension Consumer {
  init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      accountID: try row.next(), accountName: try row.next(), keyID: try row.next(), keyName: try row.next(),
      keyStart: try row.next())
  }
}

/// The accounts with the most requests.
struct ListTopAccounts: PostgresStatement {
  static let isRead = true
  static let sql = """
    with found as materialized (
      select account_id, sum(success_count)::bigint as successes, sum(error_count)::bigint as errors,
        sum(denied_count)::bigint as denied, sum(success_count + error_count + denied_count) as total,
        sum(sum(success_count + error_count + denied_count)) over () as everybody
      from \(ByAccount.view) where day between $1 and $2
      group by account_id order by total desc, account_id limit $3
    )
    select \(ByAccount.columns), successes, errors, denied, coalesce(total / nullif(everybody, 0), 0)::double precision
    from found \(ByAccount.tables)
    order by total desc, account_id
    """
  let range: DayRange
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(range.from.postgresDate, range.to.postgresDate, count)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> TopRow { try TopRow(row: &row) }
}

/// The keys with the most requests, even of a million keys without summing up all of them.
///
/// The number of requests in the lifetime of a key bounds its requests in any range of days. So the keys with the
/// greatest bounds (`ranked`) are examined first. Twice as many of them as are wanted are summed up; `least` is then
/// the lowest total that can be in the answer, and a key with a lower bound cannot. If all keys outside `ranked` have
/// lower bounds (`is_sure`), the keys of `ranked` whose bound reaches `least` are summed up, one by one through their
/// indexes. Otherwise, when keys are used about equally or many are wanted, everything is summed up.
///
/// An index orders the keys by `magnitude`, four times the binary logarithm of the bound, rounded down. If it has
/// enough keys (`busy`), the bounds of the others are below the next magnitude; adding 0.01 covers rounding errors.
/// Otherwise few keys have reached the lowest magnitude in the index, and every key is examined.
///
/// The bound is not `total_requests`, which is the greater of all verifications and all reports. The requests per day
/// and endpoint are each the greater of their own two counts, and their sum may be larger.
struct ListTopKeys: PostgresStatement {
  static let isRead = true
  /// The number of keys that are examined first.
  private static let rankedCount = 4_000
  /// The largest number of wanted keys for which this is tried.
  private static let wantedCountMax = 1_000

  private static let bound = "verified_count + denied_count + reported_count"
  private static let isRanked = """
    $3 <= \(wantedCountMax) and last_used_at >= ($1::date - 1)::timestamp at time zone 'UTC'
    """

  private static let sums = """
    sum(success_count)::bigint as successes, sum(error_count)::bigint as errors, sum(denied_count)::bigint as denied,
      sum(success_count + error_count + denied_count) as total
    """

  private static func sums(of key: String) -> String {
    """
    select \(sums) from usage_by_key usage
        where usage.account_id = \(key).account_id and usage.key_id = \(key).key_id and usage.day between $1 and $2
    """
  }

  static let sql = """
    with busy as materialized (
      select account_id, key_id, magnitude, \(bound) as bound from key_activity
      where \(isRanked) and magnitude is not null order by magnitude desc limit \(rankedCount)
    ), ranked as materialized (
      select account_id, key_id, bound from busy where (select count(*) from busy) = \(rankedCount)
      union all (
        select account_id, key_id, \(bound) from key_activity
        where \(isRanked) and (select count(*) from busy) < \(rankedCount)
        order by \(bound) desc limit \(rankedCount))
    ), first as (
      select total from (select * from ranked order by bound desc limit 2 * $3) busiest cross join lateral (
        \(sums(of: "busiest"))
      ) sums
      where total is not null order by total desc limit $3
    ), least as materialized (
      select case when count(*) = $3 then min(total) else 0 end as total from first
    ), proof as materialized (
      select $3 <= \(wantedCountMax) and (count(*) < \(rankedCount) or (select total from least) > case
          when (select count(*) from busy) = \(rankedCount)
          then (select power(2, (min(magnitude) + 1.01) / 4) from busy)
          else min(bound) end) as is_sure
      from ranked
    ), counted as (
      select account_id, key_id, successes, errors, denied, total from ranked cross join lateral (
        \(sums(of: "ranked"))
      ) sums
      where (select is_sure from proof) and bound >= (select total from least) and total is not null
      union all
      select account_id, key_id, \(sums)
      from usage_by_key where day between $1 and $2 and not (select is_sure from proof)
      group by account_id, key_id
    ), everybody as materialized (
      select coalesce((
          select sum(success_count + error_count + denied_count) from packed_usage_totals
          where day between $1 and $2), 0)
        + coalesce((
          select sum(success_count + error_count + denied_count) from key_usage
          where day between $1 and $2), 0) as total
    ), found as materialized (
      select * from counted order by total desc, account_id, key_id limit $3
    )
    select \(ByKey.columns), successes, errors, denied,
      coalesce(found.total / nullif(everybody.total, 0), 0)::double precision
    from found cross join everybody \(ByKey.tables)
    order by found.total desc, account_id, key_id
    """
  let range: DayRange
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(range.from.postgresDate, range.to.postgresDate, count)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> TopRow { try TopRow(row: &row) }
}

extension TopRow {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      consumer: try Consumer(row: &row), successes: try row.next(), errors: try row.next(), denied: try row.next(),
      share: try row.next())
  }
}

/// Consumers whose error rate is above the overall rate even at the lower end of its confidence interval, highest lower
/// end first.
///
/// Let e of n requests that were let through have failed, and p = e / n. The lower end of Wilson's score interval for
/// the true rate is
///
///     (p + z²/2n − z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)
///
/// (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
/// Statistical Association 22, 1927). Unlike p, it is small if n is small: one failure out of one request says little.
/// z = 3.29, with which 0.05 % are above the overall rate by chance, is this large because many consumers are compared.
/// Consumers with fewer than five failures are left out: the interval approximates the binomial distribution by a
/// normal one and is too narrow for them.
struct ListErrorRates<Grouping: ConsumerGrouping>: PostgresStatement {
  static var isRead: Bool { true }
  static var sql: String {
    """
    with counted as (
      select \(Grouping.group), sum(success_count)::bigint as successes, sum(error_count)::bigint as errors,
        sum(success_count + error_count)::double precision as n,
        sum(error_count)::double precision / nullif(sum(success_count + error_count), 0)::double precision as p
      from \(Grouping.view) where day between $1 and $2
      group by \(Grouping.group)
    ), everybody as (
      select sum(errors)::double precision / nullif(sum(n), 0) as rate from counted
    ), bounded as (
      select counted.*,
        (p + 3.29 ^ 2 / (2 * n) - 3.29 * sqrt(p * (1 - p) / n + 3.29 ^ 2 / (4 * n ^ 2))) / (1 + 3.29 ^ 2 / n) as bound
      from counted where errors >= 5
    ), found as materialized (
      select bounded.*, rate from bounded, everybody where bound > rate
      order by bound desc, \(Grouping.group) limit $3
    )
    select \(Grouping.columns), successes, errors, bound::double precision, rate
    from found \(Grouping.tables)
    order by bound desc, \(Grouping.group)
    """
  }
  let range: DayRange
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(range.from.postgresDate, range.to.postgresDate, count)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> ErrorRateRow {
    ErrorRateRow(
      consumer: try Consumer(row: &row), successes: try row.next(), errors: try row.next(),
      lowerBound: try row.next(), overallErrorRate: try row.next())
  }
}

/// Accounts ordered by how unusual their growth is.
///
/// An account's growth is x = ln((requests + 1) / (requests before + 1)). The usual growth is the median m of x over
/// the accounts with traffic in both periods, and its usual variation is s = 1.4826 · median |x − m|. Both are robust
/// against a few outliers (B. Iglewicz and D. Hoaglin, "How to Detect and Handle Outliers", ASQC 1993, whose bound of
/// 3.5 this uses). Small numbers of requests vary by chance alone, with a variance of about 1/(requests + 1) +
/// 1/(requests before + 1), so that
///
///     score = (x − m) / √(s² + 1/(requests + 1) + 1/(requests before + 1))
///
/// An outlier has |score| > 3.5 and, because s may be close to zero, has at least doubled or halved compared with the
/// usual growth. With fewer than eight accounts there is no usual growth, and no score.
struct ListGrowth: PostgresStatement {
  static let isRead = true
  static let sql = """
    with found as materialized (
      select account_id, current, previous,
        ln((current + 1)::double precision / (previous + 1)::double precision) as x,
        1 / (current + 1)::double precision + 1 / (previous + 1)::double precision as chance
      from (
        select account_id,
          coalesce(sum(success_count + error_count + denied_count) filter (where day >= $2), 0)::bigint as current,
          coalesce(sum(success_count + error_count + denied_count) filter (where day < $2), 0)::bigint as previous
        from \(ByAccount.view) where day between $1 and $3
        group by account_id
      ) traffic
      where current > 0 or previous > 0
    ), center as (
      select percentile_cont(0.5) within group (order by x) as m
      from found where current > 0 and previous > 0
      having count(*) >= 8
    ), spread as (
      select m, 1.4826 * percentile_cont(0.5) within group (order by abs(x - m)) as s
      from found cross join center where current > 0 and previous > 0
      group by m
    )
    select account_id, account.name, null::uuid, null::text, null::text, current, previous, score,
      coalesce(abs(score) > 3.5 and abs(x - m) >= ln(2), false)
    from (
      select found.*, m, (x - m) / sqrt(s ^ 2 + chance) as score from found left join spread on true
    ) scored
    left join accounts account on account.id = account_id
    order by abs(score) desc nulls last, abs(current - previous) desc, account_id
    limit $4
    """
  let range: DayRange
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      range.before.from.postgresDate, range.from.postgresDate, range.to.postgresDate, count)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> GrowthRow {
    GrowthRow(
      consumer: try Consumer(row: &row), requests: try row.next(), previousRequests: try row.next(),
      score: try row.next(), isOutlier: try row.next())
  }
}

/// Active keys that have not been used for a number of days, or were created before that and never used. Keys have IDs
/// below `before`, newest first.
///
/// The index has the keys in this order and includes `idle_since`, the UTC day of the last use or else of the creation,
/// so that keys in use are skipped. Keys are joined by their IDs alone; if the accounts were compared as well, the
/// planner would expect no rows.
struct ListUnusedKeys: PostgresStatement {
  static let sql = """
    select key.account_id, account.name, key.id, key.name, key.key_start, key.created_at, activity.last_used_at
    from key_activity activity
      join api_keys key on key.id = activity.key_id
      join accounts account on account.id = key.account_id
      join plans plan on plan.name = account.plan
    where ($2::uuid is null or activity.key_id < $2)
      and activity.idle_since <= ((now() - make_interval(days => $1::integer)) at time zone 'UTC')::date
      and key.revoked_at is null and key.disabled_at is null and account.suspended_at is null
      and coalesce(\(effectiveExpiry), 'infinity') > now()
      and coalesce(activity.last_used_at, key.created_at) < now() - make_interval(days => $1::integer)
    order by activity.key_id desc
    limit $3
    """
  let days: Int
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Int32(days), before, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UnusedKey {
    UnusedKey(consumer: try Consumer(row: &row), createdAt: try row.next(), lastUsedAt: try row.next())
  }
}
