import Foundation

/// Fills a database with usage, in SQL: closed days in packed form, the last days as counters.
struct UsageFill {
  /// Today and the days for which outcomes can still be reported.
  static let openDayCount = 4
  /// One in this many accounts reports outcomes with latencies.
  static let accountsPerReporting = 10
  static let hourCount = 72
  /// The number of different packed days, from which each closed day of a key is chosen.
  private static let packedDayCount = 2_000

  let database: BenchmarkDatabase
  let keys: Int
  let days: Int
  let endpoints: Int

  static let account = "pg_catalog.md5('account ' || key / \(BenchmarkDatabase.keysPerAccount))::uuid"
  static let key = "pg_catalog.md5('key ' || key)::uuid"

  func run() throws {
    let start = ContinuousClock.now
    func progress(_ what: String) {
      report("  \(column((ContinuousClock.now - start) / .seconds(1), 1, width: 6)) s: \(what)")
    }
    try prepare()
    progress("\(endpoints + 2) names for each of \(accountCount) accounts")
    for age in (Self.openDayCount..<days).reversed() {
      try pack(age)
      if (age - Self.openDayCount).isMultiple(of: 60) { progress("\(days - age) of \(days) days") }
    }
    for age in 0..<min(days, Self.openDayCount) { try count(age) }
    progress("\(days) of \(days) days, the last \(min(days, Self.openDayCount)) of them unpacked")
    try hours()
    progress("\(Self.hourCount) hours of \(accountCount) accounts")
    try database.execute("vacuum analyze")
    progress("vacuumed and analyzed")
  }

  private var accountCount: Int { (keys + BenchmarkDatabase.keysPerAccount - 1) / BenchmarkDatabase.keysPerAccount }

  /// Creates endpoint names, partitions, histograms of 25 buckets around 20 to 200 ms, and packed days to choose from.
  private func prepare() throws {
    try database.execute(
      """
      select ensure_usage_partitions((current_date - \(days))::date, \(days / 28 + 1));
      insert into account_endpoints (account_id, endpoint, number)
        select \(Self.account), '/v1/orders/items/' || number, number
        from generate_series(0, \(keys - 1), \(BenchmarkDatabase.keysPerAccount)) key,
          generate_series(1, \(endpoints + 2)) number;
      create table histograms (
        number integer primary key, count bigint, sum double precision, buckets bigint[], text text);
      insert into histograms
        select number, sum(size), sum(size * 40), array_fill(0::bigint, array[50]) || array_agg(size),
          pack_latency_buckets(array_fill(0::bigint, array[50]) || array_agg(size))
        from (
          select number, place, abs(hashint8extended(number * 100 + place, 1) % 40) + 1 as size
          from generate_series(0, 99) number, generate_series(1, 25) place
        ) sizes
        group by number;
      create table packed_days as
        select key as number, is_reporting, sum(verified) as verified_count, sum(denied) as denied_count,
          sum(reported) as reported_count, sum(errors) as error_count,
          sum(greatest(verified, reported) - errors) as success_count, sum(latency_sum) as total_latency_ms,
          sum(latency_count) as latency_count, pack_latency_buckets(sum_latency_buckets(buckets)) as latency,
          array_agg(number) as endpoints, array_agg(verified) as verified,
          case when bool_or(denied <> 0) then array_agg(denied) end as denied,
          case when is_reporting then array_agg(reported) end as reported,
          case when is_reporting then array_agg(errors) end as errors,
          case when is_reporting then array_agg(latency_sum) end as latency_sums,
          case when is_reporting then array_agg(latency_count) end as latency_counts,
          case when is_reporting then array_agg(histogram) end as latencies
        from (\(counters(Self.openDayCount, keys: Self.packedDayCount, "kinds.is_reporting"))) counters
        group by key, is_reporting;
      analyze packed_days
      """)
  }

  /// The counters of a day, in the columns that both tables need.
  private func counters(_ age: Int, keys: Int, _ isReporting: String) -> String {
    """
    select key, is_reporting, \(Self.account) as account_id, \(Self.key) as key_id, current_date - \(age) as day,
      (endpoint + key % 3)::smallint as number,
      abs(hashint8extended(key * 1000 + endpoint, \(age)) % (4000 / endpoint))::integer + 1 as verified,
      case when (key + \(age)) % 4 = 0 and endpoint % 5 = 0 then 3 else 0 end as denied,
      coalesce(count, 0)::integer as reported, case when count is null then 0 else 1 end as errors,
      coalesce(sum, 0) as latency_sum, coalesce(count, 0)::integer as latency_count, text as histogram, buckets
    from generate_series(0, \(keys - 1)) key cross join generate_series(1, \(endpoints)) endpoint
      cross join (values (true), (false)) kinds (is_reporting)
      left join histograms on is_reporting and histograms.number = (key + \(age) * 7 + endpoint * 13) % 100
    where is_reporting = (\(isReporting))
    """
  }

  private static let isReporting = """
    key / \(BenchmarkDatabase.keysPerAccount) % \(accountsPerReporting) = 0
    """

  /// Inserts a day in the form in which `pack_usage` stores it.
  private func pack(_ age: Int) throws {
    let columns = """
      verified_count, denied_count, reported_count, error_count, success_count, total_latency_ms, latency_count,
      latency, endpoints, verified, denied, reported, errors, latency_sums, latency_counts, latencies
      """
    try database.execute(
      """
      insert into packed_usage (account_id, key_id, day, \(columns))
      select \(Self.account), \(Self.key), current_date - \(age), \(columns)
      from generate_series(0, \(keys - 1)) key
        join packed_days on number = abs(hashint8extended(key, \(age)) % \(Self.packedDayCount))
          and is_reporting = (\(Self.isReporting))
      order by 1, 2
      """)
  }

  private func count(_ age: Int) throws {
    try database.execute(
      """
      insert into key_usage (account_id, key_id, day, endpoint, verified_count, denied_count, reported_count,
        error_count, total_latency_ms, latency_count, latency_buckets)
      select account_id, key_id, day, '/v1/orders/items/' || number, verified, denied, reported, errors, latency_sum,
        latency_count, buckets
      from (\(counters(age, keys: keys, Self.isReporting))) counters order by account_id, key_id, number
      """)
  }

  private func hours() throws {
    try database.execute(
      """
      insert into account_usage_hours (account_id, hour, verified_count)
      select \(Self.account), date_trunc('hour', now()) - age * interval '1 hour', 1000
      from generate_series(0, \(keys - 1), \(BenchmarkDatabase.keysPerAccount)) key,
        generate_series(0, \(Self.hourCount - 1)) age
      """)
  }
}
