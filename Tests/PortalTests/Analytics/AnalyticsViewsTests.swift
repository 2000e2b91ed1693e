import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Analytics views")
struct AnalyticsViewsTests {
  private static let views = [
    "accounts_v1", "keys_v1", "usage_complete_v1", "usage_daily_v1", "usage_endpoints_daily_v1", "usage_hourly_v1",
  ]

  /// Runs `body` with a unique role name, because roles belong to the whole server.
  private func withRole(_ pool: PostgresPool, _ body: (String) async throws -> Void) async throws {
    let role = "analyst_\(UUID().uuidString.prefix(8).lowercased())"
    let result: Result<Void, any Error>
    do { result = .success(try await body(role)) } catch { result = .failure(error) }
    if try await pool.text("select 1 from pg_roles where rolname = '\(role)'") != nil {
      try await pool.script("drop owned by \(role); drop role \(role)")
    }
    try result.get()
  }

  @Test("views keep their names and columns, and all of them have comments")
  func columns() async throws {
    try await withPool { pool in
      let views = try await pool.lines("select viewname from pg_views where viewname like '%\\_v1' order by 1")
      #expect(views == Self.views)
      let columns = try await pool.lines(
        """
        select attrelid::regclass || ': ' || string_agg(attname, ' ' order by attnum) from pg_attribute
        where attrelid in (select oid from pg_class where relkind = 'v' and relname like '%\\_v1') and attnum > 0
        group by attrelid order by 1
        """)
      let usage = "successes errors denied requests latency_sum_ms latency_count p95_latency_ms"
      #expect(
        Set(columns) == [
          "accounts_v1: id name plan suspended_at created_at",
          "keys_v1: id account_id name start environment scopes rate_limit_per_minute status expires_at disabled_at "
            + "rolled_at revoked_at created_at last_used_at total_requests",
          "usage_complete_v1: complete_through", "usage_daily_v1: day account_id key_id " + usage,
          "usage_endpoints_daily_v1: day account_id key_id endpoint " + usage,
          "usage_hourly_v1: hour account_id " + usage,
        ])
      let silent = try await pool.lines(
        """
        select c.relname || '.' || a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid
        where relkind = 'v' and relname like '%\\_v1' and attnum >= 0
          and (col_description(c.oid, attnum) is null or obj_description(c.oid) is null)
        """)
      #expect(silent == [])
    }
  }

  @Test("sums and percentiles agree with those of the reports, with one row per key and day")
  func sums() async throws {
    try await withPool { pool in
      let latencies = [0.05, 0.3, 3, 3, 3.2, 40, 90, 100, 2_000, 70_000]
      for (endpoint, slice) in [("/a", latencies.prefix(4)), ("/b", latencies.dropFirst(4)), ("/c", [])] {
        var histogram = LatencyHistogram()
        for latency in slice { histogram.add(milliseconds: latency) }
        let buckets = slice.isEmpty ? "" : "{\(histogram.buckets.map(String.init).joined(separator: ","))}"
        try await pool.script(
          """
          select count_usage(array['\(UUID.numbered(1))']::uuid[], array['\(UUID.numbered(2))']::uuid[],
            array[timestamptz '2026-01-01 05:00Z'], array['\(endpoint)'], array[10]::bigint[], array[1]::bigint[],
            array[now()], array[\(slice.count)]::bigint[], array[2]::bigint[],
            array[\(slice.reduce(0, +))]::double precision[], array[\(slice.count)]::bigint[], array['\(buckets)'])
          """)
      }
      var all = LatencyHistogram()
      for latency in latencies { all.add(milliseconds: latency) }
      for (view, columns) in [("usage_daily_v1", "day, key_id"), ("usage_hourly_v1", "hour, account_id")] {
        #expect(
          try await pool.lines(
            "select (successes, errors, denied, requests, latency_count, \(columns)) is not null from \(view)"
          ) == ["true"])
        #expect(
          try await pool.text("select (successes, errors, denied, requests, latency_count)::text from \(view)")
            == "(24,6,3,33,10)")
        let p95 = try #require(try await pool.text("select p95_latency_ms from \(view)").flatMap { Double($0) })
        #expect(abs(p95 - all.percentile(0.95)!) < 1e-6 * p95)
      }
      #expect(
        try await pool.lines("select endpoint || ' ' || requests from usage_endpoints_daily_v1 order by 1")
          == ["/a 11", "/b 11", "/c 11"])
      for quantile in [0, 0.01, 0.3, 0.5, 0.9, 0.99, 1] {
        let text = try await pool.text(
          """
          select latency_percentile(array[\(all.buckets.map(String.init).joined(separator: ","))]::bigint[],
            \(quantile))
          """)
        let expected = try #require(all.percentile(quantile))
        #expect(abs(try #require(text.flatMap { Double($0) }) - expected) < 1e-6 * expected, "\(quantile)")
      }
      for empty in ["null", "'{}'", "'{0,0}'"] {
        #expect(try await pool.text("select latency_percentile(\(empty)::bigint[], 0.5)") == nil)
      }
    }
  }

  @Test("keys have the same status as in the portal")
  func status() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      for change in ["name = name", "revoked_at = now()", "disabled_at = now()", "expires_at = now()"] {
        let key = try await world.makeKey(account)
        try await pool.script("update api_keys set \(change) where id = '\(key.key.id)'")
      }
      #expect(
        try await pool.lines("select status from keys_v1 order by id") == ["active", "revoked", "disabled", "expired"])
      try await pool.script("update accounts set suspended_at = now()")
      #expect(
        try await pool.lines("select distinct status from keys_v1 order by 1") == ["revoked", "suspended"])
    }
  }

  @Test("an analytics role reads all views and nothing else, and writes nothing")
  func role() async throws {
    try await withPool { pool in
      try await withRole(pool) { role in
        for _ in 1...2 { try await AnalyticsRole(pool: pool).grant(to: role, by: World.caller) }
        for view in Self.views {
          try await pool.script("begin; set local role \(role); select * from \(view); rollback")
        }
        let tables = try await pool.lines(
          "select tablename from pg_tables where schemaname = 'public' union all select 'usage_by_key'")
        #expect(tables.count > 20)
        for table in tables {
          let error = await #expect(throws: PostgresError.self) {
            try await pool.script("begin; set local role \(role); select * from \(table); rollback")
          }
          #expect(error?.sqlState == "42501", "\(table)")
        }
        for statement in [
          "update accounts_v1 set name = 'x'", "select grant_analytics('x')", "create table mine (x int)",
          "select note_usage_progress(gen_random_uuid(), now())",
        ] {
          let error = await #expect(throws: PostgresError.self) {
            try await pool.script("begin; set local role \(role); \(statement); rollback")
          }
          #expect(error?.sqlState == "42501", "\(statement)")
        }
        #expect(
          try await pool.text("select rolcanlogin or rolsuper from pg_roles where rolname = '\(role)'") == "false")
      }
    }
  }

  @Test("grant_analytics fails for a missing role without the right to create roles")
  func rights() async throws {
    try await withPool { pool in
      try await withRole(pool) { owner in
        try await pool.script("create role \(owner); grant execute on function grant_analytics to \(owner)")
        let error = await #expect(throws: PostgresError.self) {
          try await pool.script("begin; set local role \(owner); select grant_analytics('nobody_else'); rollback")
        }
        #expect(error?.sqlState == "42501")
        #expect(try await pool.text("select 1 from pg_roles where rolname = 'nobody_else'") == nil)
      }
    }
  }
}
