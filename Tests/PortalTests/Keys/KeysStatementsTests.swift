import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

/// A filter, and a predicate for the keys that it must select.
private struct FilterCase {
  let filter: KeyFilter
  let holds: (Key) -> Bool

  init(_ filter: KeyFilter, _ holds: @escaping (Key) -> Bool) {
    self.filter = filter
    self.holds = holds
  }
}

@Suite("Statements of keys")
struct KeysStatementsTests {
  /// Calls `body` with an account that has many keys of all kinds. Other accounts have keys as well.
  private func withAccount(
    keyCount: Int = 10_000, of total: Int = 15_000, _ body: (PostgresPool, UUID) async throws -> Void
  ) async throws {
    try await withPool { pool in
      let account = try await World(pool).makeAccount()
      try await pool.script(
        """
        insert into accounts (id, name) select pg_catalog.md5(n::text)::uuid, 'Other' from generate_series(1, 100) n;
        insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes, tags, description,
          revoked_at, disabled_at, expires_at)
        select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
          case when n <= \(keyCount) then '\(account)' else pg_catalog.md5((n % 100 + 1)::text)::uuid end, 'Key ' || n,
          'lk_live_', sha256(n::text::bytea), case when n % 6 = 0 then 'test' else 'live' end, '{a}',
          case when n % 4 = 0 then '{eu,orders}' else '{}'::text[] end, case when n % 9 = 0 then 'For orders' end,
          case when n % 5 = 0 then now() end, case when n % 7 = 0 then now() end,
          case when n % 3 = 0 then now() + (n % 10 - 5) * interval '1 day' end
        from generate_series(1, \(total)) n;
        analyze
        """)
      try await body(pool, account)
    }
  }

  @Test("a filtered list has the same keys, page by page, as checking each key has")
  func filters() async throws {
    try await withAccount { pool, account in
      let keys = World(pool).keys
      let now = Date()
      let all = try await pool.query(
        ListKeys(accountID: account, filter: KeyFilter(), before: nil, count: 20_000), as: .account(account))
      #expect(all.count == 10_000 && all.map(\.id.uuidString) == all.map(\.id.uuidString).sorted(by: >))
      let cases: [FilterCase] = [
        FilterCase(KeyFilter()) { _ in true },
        FilterCase(KeyFilter(status: .active)) { $0.status(at: now) == .active },
        FilterCase(KeyFilter(status: .expired)) { $0.status(at: now) == .expired },
        FilterCase(KeyFilter(status: .revoked, tags: ["eu"])) {
          $0.status(at: now) == .revoked && $0.tags.contains("eu")
        },
        FilterCase(KeyFilter(text: "KEY 99")) { $0.name.hasPrefix("Key 99") },
        FilterCase(KeyFilter(text: "for orders", environment: .test)) {
          $0.description != nil && $0.environment == .test
        },
        FilterCase(KeyFilter(text: "nothing")) { _ in false },
      ]
      for filterCase in cases {
        let filter = filterCase.filter
        let expected = all.filter(filterCase.holds)
        var found: [Key] = []
        var before: UUID?
        repeat {
          let page = try await keys.list(of: account, filter, page: PageRequest(limit: 100, before: before))
          found += page.items
          before = page.next
        } while before != nil && found.count < 500
        #expect(found == Array(expected.prefix(found.count)) && found.count == min(expected.count, 500), "\(filter)")
      }
    }
  }

  @Test("a page of a long list reads one page of keys, and looks up the activity of only these")
  func plan() async throws {
    try await withAccount(keyCount: 500, of: 30_000) { pool, account in
      let plan = try await pool.plan(
        of: ListKeys.self, "uuid, uuid, text, text[], text, text, bigint, uuid[]",
        "'\(account)', null, null, null, null, null, 51, null", as: .portal, in: account, isRun: true)
      #expect(plan.contains("using api_keys_account_idx"), "\(plan)")
      #expect(!plan.contains("Seq Scan on api_keys") && !plan.contains("Seq Scan on key_activity"), "\(plan)")
      let rows = plan.matches(of: #/actual rows=(\d+)/#).compactMap { Int($0.output.1) }
      #expect(rows.max() == 51, "\(plan)")
      #expect(plan.contains(#/using key_activity_\w+ on key_activity activity \(actual rows=1 loops=51\)/#), "\(plan)")
    }
  }
}
