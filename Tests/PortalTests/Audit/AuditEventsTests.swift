import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("AuditEvents")
struct AuditEventsTests {
  /// The pool's user is a superuser, and owns the tables.
  @Test(
    "events can only be added, even by a superuser",
    arguments: [
      "update audit_events set reason = 'nothing happened'", "delete from audit_events", "truncate audit_events",
      "truncate accounts cascade", "update audit_events set id = id where false", "delete from accounts",
      "insert into audit_events select * from audit_events on conflict (id) do update set reason = 'nothing happened'",
    ])
  func appendOnly(_ change: String) async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.makeKey(account)
      let before = try await world.audit.list(of: account, page: PageRequest()).items
      await #expect(throws: PostgresError.self) { try await pool.script(change) }
      #expect(try await world.audit.list(of: account, page: PageRequest()).items == before)
      #expect(before.count == 2)
    }
  }

  @Test("the refusal is an insufficient privilege, and its message says append-only")
  func refusal() async throws {
    try await withPool { pool in
      let error = await #expect(throws: PostgresError.self) { try await pool.script("delete from audit_events") }
      #expect(error?.sqlState == "42501")
      #expect(error?.message.contains("audit_events is append-only") == true)
    }
  }

  @Test("pages of any size return every event once, most recent first, even while events are added")
  func paging() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.makeKeys(7, account)
      _ = try await world.makeKeys(2, try await world.makeAccount("eve@example.com"))
      let all = try await world.audit.list(of: account, page: PageRequest()).items
      #expect(all.count == 8 && all.last?.action == "account.created")
      #expect(all.map(\.at) == all.map(\.at).sorted(by: >))
      for limit in [1, 3, 8, 9] {
        var seen: [AuditEvent] = []
        var page = PageRequest(limit: limit)
        repeat {
          let found = try await world.audit.list(of: account, page: page)
          #expect(found.items.count == limit || found.next == nil)
          seen += found.items
          page.before = found.next
        } while page.before != nil
        #expect(seen == all, "limit \(limit)")
      }
      let first = try await world.audit.list(of: account, page: PageRequest(limit: 3))
      try await world.makeKey(account)
      let rest = try await world.audit.list(of: account, page: PageRequest(before: first.next))
      #expect(first.items + rest.items == all)
    }
  }

  @Test("an account that does not exist has an empty trail")
  func empty() async throws {
    try await withPool { pool in
      let page = try await World(pool).audit.list(of: .version7(), page: PageRequest())
      #expect(page.items.isEmpty && page.next == nil)
    }
  }

  @Test(
    "IPv4 and IPv6 addresses are returned as they were recorded, without a prefix length; any other text is refused",
    arguments: [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"), ("::ffff:192.0.2.1", "::ffff:192.0.2.1")])
  func addresses(_ ip: String, _ stored: String) async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let caller = Caller(actor: .user(id: .version7(), email: "ada@example.com"), ip: ip)
      _ = try await world.keys.create(.plain, for: account, by: caller)
      #expect(try await world.audit.list(of: account, page: PageRequest(limit: 1)).items.first?.ip == stored)
      await #expect(throws: PostgresError.self) {
        try await world.keys.create(.plain, for: account, by: Caller(actor: caller.actor, ip: "localhost"))
      }
    }
  }
}
