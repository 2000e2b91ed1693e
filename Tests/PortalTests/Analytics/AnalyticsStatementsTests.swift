import Foundation
import JSON
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

/// The busiest keys by adding up everything: the expected result of `ListTopKeys`.
private struct ListTopKeysPlainly: PostgresStatement {
  static let sql = """
    with found as materialized (
      select account_id, key_id, sum(success_count)::bigint as successes, sum(error_count)::bigint as errors,
        sum(denied_count)::bigint as denied, sum(success_count + error_count + denied_count) as total,
        sum(sum(success_count + error_count + denied_count)) over () as everybody
      from usage_by_key where day between $1 and $2
      group by account_id, key_id order by total desc, account_id, key_id limit $3
    )
    select account_id, null::text, key_id, null::text, null::text, successes, errors, denied,
      coalesce(total / nullif(everybody, 0), 0)::double precision
    from found order by total desc, account_id, key_id
    """
  let range: DayRange
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(range.from.postgresDate, range.to.postgresDate, count)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> TopRow {
    TopRow(
      consumer: try Consumer(row: &row), successes: try row.next(), errors: try row.next(), denied: try row.next(),
      share: try row.next())
  }
}

/// As `ListUnusedKeys`, by examining every key.
private struct ListUnusedKeysPlainly: PostgresStatement {
  static let sql = """
    select key.account_id, account.name, key.id, key.name, key.key_start, key.created_at, activity.last_used_at
    from api_keys key
      join accounts account on account.id = key.account_id
      join plans plan on plan.name = account.plan
      left join key_activity activity on activity.account_id = key.account_id and activity.key_id = key.id
    where ($2::uuid is null or key.id < $2)
      and key.revoked_at is null and key.disabled_at is null and account.suspended_at is null
      and coalesce(\(effectiveExpiry), 'infinity') > now()
      and coalesce(activity.last_used_at, key.created_at) < now() - make_interval(days => $1::integer)
    order by key.id desc
    limit $3
    """
  let days: Int
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Int32(days), before, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UnusedKey {
    try ListUnusedKeys.decode(&row)
  }
}

@Suite("Analytics statements")
struct AnalyticsStatementsTests {
  // MARK: Busiest keys

  /// Adds usage of `keys` keys on some days and packs closed days. `requests` is an SQL expression of `key` and `age`
  /// for the requests of a day.
  private func use(_ pool: PostgresPool, keys: Int, requests: String) async throws {
    try await pool.script(
      """
      select count_usage(array_agg(account), array_agg(key_id), array_agg(hour), array_agg('/' || endpoint),
        array_agg(verified), array_agg(denied), array_agg(hour), array_agg(reported), array_agg(errors),
        array_agg(0::double precision), array_agg(0::bigint), array_agg(''::text))
      from (
        select pg_catalog.md5('account ' || key % 97)::uuid as account, pg_catalog.md5('key ' || key)::uuid as key_id,
          date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' - age * interval '1 day' as hour, endpoint,
          (\(requests))::bigint as verified, (key % 3)::bigint as denied,
          -- Under one endpoint more is reported than verified, under the other less.
          case when key % 5 = 0 then (\(requests)) * (2 * endpoint - 1) / 2 else 0 end::bigint as reported,
          case when key % 5 = 0 then 1 else 0 end::bigint as errors
        from generate_series(1, \(keys)) key, unnest(array[0, 1, 9, 40]) age, generate_series(1, 2) endpoint
        where (key + age) % 4 <> 0
      ) counters
      """)
    var place = PackUsage.Place?.none
    repeat {
      place = try #require(try await pool.query(PackUsage(counterCountMax: 10_000, after: place)).first).last
    } while place != nil
  }

  @Test(
    "the busiest keys are the same as by adding up all of them, for any distribution",
    arguments: [
      // Few keys; many keys of which few are busy; many keys used about equally.
      (50, "1 + key * 7919 % 50"), (4_500, "1 + 1000000 / (1 + key * 7919 % 6007)"),
      (4_500, "100 + key * 7919 % 6007 % 7"),
      // Keys that were busy long ago, when no others were.
      (4_500, "1 + 100000 * (age / 40) + key % 3"),
      // Large lifetime counts of all keys, with few busy ones, or about equal.
      (4_500, "5000 + 1000000 / (1 + key * 7919 % 6007)"), (4_500, "5000 + key * 7919 % 6007 % 7"),
    ])
  func topKeys(_ keys: Int, _ requests: String) async throws {
    try await withPool { pool in
      try await use(pool, keys: keys, requests: requests)
      try await pool.script("analyze")
      let today = Day(containing: Date())
      for (from, to) in [(0, 0), (30, 0), (50, 0), (50, 5), (90, 60)] {
        let range = try #require(
          DayRange(from: today.advanced(by: -from), to: today.advanced(by: -to)))
        for count in [1, 11, 101, 2_000] {
          let found = try await pool.query(ListTopKeys(range: range, count: count), as: .analyst)
          let expected = try await pool.query(ListTopKeysPlainly(range: range, count: count), as: .analyst)
          #expect(found == expected, "\(from) to \(to), \(count)")
          #expect(found.isEmpty == (from == 90))
        }
      }
    }
  }

  @Test("if few keys are busy, only their packed days are read; if all are, everything is")
  func topKeysPlan() async throws {
    for (keys, requests, days, isQuick) in [
      (4_500, "1 + 1000000 / (1 + key * 7919 % 6007)", 50, true),
      (4_500, "5000 + 1000000 / (1 + key * 7919 % 6007)", 50, true),
      // Over four thousand keys have larger lifetime counts than any key has requests in these days.
      (6_000, "case when key % 5 = 0 then 80 else 100 end * case when key % 4 = 3 then 2 else 1 end", 20, false),
    ] {
      try await withPool { pool in
        try await use(pool, keys: keys, requests: requests)
        try await pool.script("analyze")
        let plan = try await pool.plan(
          of: ListTopKeys.self, "date, date, bigint", "current_date - \(days), current_date, 11", as: .analyst,
          isRun: true)
        let scans = plan.matches(of: #/Seq Scan on packed_usage_\d+_\d+ \w+ \((?:never executed|actual rows=(\d+))/#)
        let rowCounts = scans.map { Int($0.output.1 ?? "0") ?? 0 }
        #expect(!rowCounts.isEmpty && rowCounts.allSatisfy { $0 == 0 } == isQuick, "\(plan)")
      }
    }
  }

  @Test("the magnitude of a key bounds its counts")
  func magnitudes() async throws {
    try await withPool { pool in
      try await pool.script(
        """
        insert into key_activity (account_id, key_id, verified_count, denied_count, reported_count)
        select gen_random_uuid(), gen_random_uuid(), count / 2, count - count / 2 - count / 5, count / 5
        from generate_series(0, 248) step, generate_series(-1, 1) off,
          lateral (select greatest(0, power(2, step / 4.0::double precision)::bigint + off) as count) counts
        """)
      let counted = "(verified_count + denied_count + reported_count)"
      #expect(
        try await pool.number(
          """
          select count(*) from key_activity
          where (magnitude is null) <> (\(counted) < 4096) or \(counted) >= power(2, (magnitude + 1.01) / 4)
            or \(counted) < power(2, (magnitude - 0.01) / 4)
          """) == 0)
      #expect(try await pool.number("select max(magnitude) - min(magnitude) from key_activity") == 200)
    }
  }

  // MARK: Unused keys

  @Test("unused keys are the same as by examining every key, page by page")
  func unusedKeys() async throws {
    try await withPool { pool in
      try await insertKeys(pool, 3_000)
      for days in [1, 30, 90, 300, 3_650] {
        var before: UUID?
        var pageCount = 0
        while true {
          let found = try await pool.query(ListUnusedKeys(days: days, before: before, count: 200), as: .analyst)
          let expected = try await pool.query(
            ListUnusedKeysPlainly(days: days, before: before, count: 200), as: .analyst)
          #expect(found == expected, "\(days) days, page \(pageCount)")
          #expect(found.isEmpty == (days == 3_650) || pageCount > 0)
          pageCount += 1
          guard found.count == 200 else { break }
          before = found.last?.consumer.keyID
        }
      }
    }
  }

  @Test("keys in use are skipped in an index, under the role of analysts")
  func unusedKeysPlan() async throws {
    try await withPool { pool in
      try await insertKeys(pool, 20_000)
      for days in [30, 90, 3_650] {
        let plan = try await pool.plan(
          of: ListUnusedKeys.self, "integer, uuid, bigint", "\(days), null, 101", as: .analyst)
        #expect(plan.contains("key_activity_idle_idx"), "\(plan)")
        #expect(!plan.contains("Seq Scan on key_activity"), "\(plan)")
      }
    }
  }

  /// Inserts keys of all kinds in three accounts, created over a year: used or not, revoked, disabled, expired.
  private func insertKeys(_ pool: PostgresPool, _ count: Int) async throws {
    try await pool.script(
      """
      insert into plans (name, key_cap, scopes, rate_limit_per_minute_max, max_key_lifetime_days)
        values ('short', 10000, '{*}', 10000, 200);
      insert into accounts (id, name, plan) values
        ('\(UUID.numbered(1))', 'One', 'default'), ('\(UUID.numbered(2))', 'Two', 'short');
      insert into accounts (id, name, suspended_at) values ('\(UUID.numbered(3))', 'Three', now());
      insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes, created_at, revoked_at,
        disabled_at, expires_at)
      select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
        ('00000000-0000-7000-8000-' || lpad((1 + n % 3)::text, 12, '0'))::uuid, n::text, 'lk_live_',
          sha256(n::text::bytea),
        'live', '{a}', now() - interval '365 days' * (1 - n::double precision / \(count)),
        case when n % 11 = 0 then now() end, case when n % 13 = 0 then now() end,
        case when n % 7 = 0 then now() + (n % 5 - 2) * interval '10 days' end
      from generate_series(1, \(count)) n;
      update key_activity activity
      set last_used_at = key.created_at + (now() - key.created_at) * (abs(uuid_hash(key_id)) % 1000) / 1000
      from api_keys key where key.id = key_id and abs(uuid_hash(key_id)) % 10 > 0;
      analyze
      """)
  }

  @Test("a key is idle since its last use, or else its creation, even after changes by hand")
  func idleSince() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let keys = try await world.makeKeys(2, account)
      let days = "select idle_since - (now() at time zone 'UTC')::date from key_activity order by key_id"
      #expect(try await pool.lines(days) == ["0", "0"])
      try await pool.script("update api_keys set created_at = now() - interval '30 days'")
      #expect(try await pool.lines(days) == ["-30", "-30"])
      try await pool.script(
        """
        select count_usage(array['\(account)'::uuid], array['\(keys[1].key.id)'::uuid],
          array[date_trunc('hour', now() - interval '7 days', 'UTC')], '{/}', '{1}', '{0}',
          array[now() - interval '7 days'], '{}', '{}', '{}', '{}', '{}')
        """)
      #expect(try await pool.lines(days) == ["-30", "-7"])
    }
  }

  // MARK: Accounts

  @Test("the sums of an account are those of its keys")
  func accounts() async throws {
    try await withPool { pool in
      try await use(pool, keys: 500, requests: "1 + key * 7919 % 50")
      let today = Day(containing: Date())
      let range = try #require(DayRange(from: today.advanced(by: -50), to: today))
      let accounts = try await pool.query(ListTopAccounts(range: range, count: 1_000), as: .analyst)
      let keys = try await pool.query(ListTopKeysPlainly(range: range, count: 1_000), as: .analyst)
      let sums = Dictionary(grouping: keys, by: \.consumer.accountID).mapValues { rows in
        rows.map { [$0.successes, $0.errors, $0.denied] }.reduce([0, 0, 0]) { zip($0, $1).map(+) }
      }
      #expect(accounts.count == 97)
      for row in accounts {
        #expect(sums[row.consumer.accountID] == [row.successes, row.errors, row.denied])
      }
    }
  }
}
