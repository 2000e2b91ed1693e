import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Keys")
struct KeysTests {
  // MARK: Creating

  @Test("a created key is returned with its settings, and is found with the same settings")
  func create() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let expiresAt = Date(timeIntervalSince1970: 4_000_000_000)
      let settings = KeySettings(
        name: "Ünïcode 🔑", environment: .test, scopes: ["a:*", "b"], rateLimitPerMinute: 7,
        allowedIPs: [AddressBlock("192.0.2.77/24")!, AddressBlock("::1")!], expiresAt: expiresAt)
      let issued = try await world.makeKey(account, settings)
      let key = issued.key
      #expect(KeySettings(of: key) == settings)
      #expect(key.accountID == account)
      #expect(key.start == issued.secret.start(12) && key.start?.hasPrefix("lk_test_") == true)
      #expect(key.status(at: Date()) == .active)
      #expect(key.totalRequests == 0 && key.lastUsedAt == nil && key.revokedAt == nil)
      #expect(abs(key.createdAt.timeIntervalSinceNow) < 60)
      #expect(try await world.keys.find(key.id, of: account) == key)
      #expect(try await world.actions(on: account) == ["account.created", "key.created"])
    }
  }

  /// A copy of the database must not give access to anything.
  @Test("the database contains the hash and the start of a secret, and nothing else of it")
  func storedHashed() async throws {
    try await withPool { pool in
      let world = World(pool)
      let issued = try await world.makeKey(try await world.makeAccount())
      let secret = issued.secret.reveal()
      let row = try await pool.text("select api_keys::text from api_keys") ?? ""
      #expect(row.contains(secret.prefix(12)))
      #expect(!row.contains(secret.prefix(13)) && !row.contains(secret.suffix(6)))
      let isHash = try await pool.text("select key_hash = sha256('\(secret)'::bytea) from api_keys")
      #expect(isHash == "true")
    }
  }

  @Test("settings that the plan does not allow are refused, and leave nothing behind")
  func plan() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.script("update plans set scopes = '{orders:*,users:read}', rate_limit_per_minute_max = 100")
      await #expect(
        throws: PortalError.scopeNotAllowed([
          FieldProblem(.scope(1), "(users:write) is not covered by the plan default"),
          FieldProblem(.scope(2), "(*) is not covered by the plan default"),
        ])
      ) {
        try await world.makeKey(account, KeySettings(name: "x", scopes: ["orders:read", "users:write", "*"]))
      }
      await #expect {
        try await world.makeKey(account, KeySettings(name: "x", scopes: ["orders:read"], rateLimitPerMinute: 101))
      } throws: {
        if case PortalError.limitNotAllowed = $0 { true } else { false }
      }
      #expect(try await pool.number("select count(*) from api_keys") == 0)
      #expect(try await world.actions(on: account) == ["account.created"])
      try await world.makeKey(
        account, KeySettings(name: "x", scopes: ["orders:a", "users:read"], rateLimitPerMinute: 100))
    }
  }

  @Test("an unknown or suspended account gets no keys")
  func noAccount() async throws {
    try await withPool { pool in
      let world = World(pool)
      await #expect(throws: PortalError.notFound) { try await world.makeKey(.version7()) }
      let account = try await world.makeAccount()
      try await pool.script("update accounts set suspended_at = now()")
      await #expect {
        try await world.makeKey(account)
      } throws: {
        if case PortalError.forbidden = $0 { true } else { false }
      }
    }
  }

  // MARK: The cap

  @Test("two hundred concurrent creates, five below the cap, create five keys")
  func concurrentCreates() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.makeKeys(20, account)
      let outcomes = await concurrently(200) { _ in try await world.makeKey(account).key.id }
      #expect(outcomes.values.count == 5)
      #expect(outcomes.count(of: .keyCapReached(cap: 25)) == 195)
      #expect(try await pool.number("select count(*) from api_keys") == 25)
      #expect(try await world.actions(on: account).count { $0 == "key.created" } == 25)
    }
  }

  @Test("revoked, expired and rolled keys do not count towards the cap; disabled ones do")
  func whatCounts() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.script("update plans set key_cap = 4")
      let keys = try await world.makeKeys(4, account).map(\.key.id)
      func isFull() async throws -> Bool {
        do {
          let made = try await world.makeKey(account).key.id
          try await pool.script("delete from api_keys where id = '\(made)'")
          return false
        } catch PortalError.keyCapReached(cap: 4) {
          return true
        }
      }
      #expect(try await isFull())
      for (number, change) in [
        "revoked_at = now()", "expires_at = now()", "rolled_at = now(), expires_at = now() + interval '1 hour'",
      ].enumerated() {
        try await pool.script("update api_keys set \(change) where id = '\(keys[number])'")
        #expect(try await !isFull())
        try await world.makeKey(account)
        #expect(try await isFull())
      }
      try await pool.script("update api_keys set disabled_at = now() where id = '\(keys[3])'")
      #expect(try await isFull())
    }
  }

  @Test("each account has its own cap")
  func capPerAccount() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await pool.script("update plans set key_cap = 1")
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      try await world.makeKey(one)
      try await world.makeKey(other)
      await #expect(throws: PortalError.keyCapReached(cap: 1)) { try await world.makeKey(one) }
    }
  }

  // MARK: Revoking

  @Test("revoking again returns the time of the first revocation, which is recorded once")
  func revokeTwice() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      let first = try await world.keys.revoke(id, of: account, by: World.caller)
      #expect(first.id == id && first.propagation.instances == 0)
      let others = await concurrently(20) { _ in
        try await world.keys.revoke(id, of: account, by: World.caller).revokedAt
      }
      #expect(others.values == Array(repeating: first.revokedAt, count: 20))
      #expect(try await world.keys.find(id, of: account).revokedAt == first.revokedAt)
      #expect(try await world.actions(on: account).filter { $0 == "key.revoked" }.count == 1)
    }
  }

  @Test("reading, revoking, rolling and reporting the usage of another account's key give notFound")
  func otherTenant() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let id = try await world.makeKey(one).key.id
      let usages = Usages(pool: pool, gatewayPool: pool)
      await #expect(throws: PortalError.notFound) { try await world.keys.find(id, of: other) }
      await #expect(throws: PortalError.notFound) { try await world.keys.revoke(id, of: other, by: World.caller) }
      await #expect(throws: PortalError.notFound) {
        try await world.keys.roll(id, of: other, graceSeconds: 0, by: World.caller)
      }
      await #expect(throws: PortalError.notFound) { try await usages.report(onKey: id, of: other, days: 1) }
      #expect(try await world.keys.list(of: other).items == [])
      #expect(try await world.keys.find(id, of: one).status(at: Date()) == .active)
      #expect(try await world.actions(on: other) == ["account.created"])
    }
  }

  /// A change and its audit event share one transaction.
  @Test("if the audit event cannot be written, nothing is changed")
  func auditInSameTransaction() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let before = try await world.makeKey(account).key
      try await pool.script("alter table audit_events add constraint closed check (actor_name <> 'test') not valid")
      await #expect(throws: PostgresError.self) { try await world.makeKey(account) }
      await #expect(throws: PostgresError.self) {
        try await world.keys.revoke(before.id, of: account, by: World.caller)
      }
      for grace in [0, 60] {
        await #expect(throws: PostgresError.self) {
          try await world.keys.roll(before.id, of: account, graceSeconds: grace, by: World.caller)
        }
      }
      #expect(try await world.keys.list(of: account).items == [before])
    }
  }

  // MARK: Listing

  @Test("pages of any size contain every key once, newest first, also while keys are created and revoked")
  func paging() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.makeKey(try await world.makeAccount("bob@example.com"))
      let made = try await world.makeKeys(11, account).map(\.key.id)
      for limit in [1, 2, 3, 10, 11, 12] {
        var seen: [UUID] = []
        var page = PageRequest(limit: limit)
        repeat {
          let found = try await world.keys.list(of: account, page: page)
          #expect(found.items.count == limit || found.next == nil)
          seen += found.items.map(\.id)
          page.before = found.next
        } while page.before != nil
        #expect(seen == made.reversed())
      }
      let first = try await world.keys.list(of: account, page: PageRequest(limit: 5))
      try await world.makeKey(account)
      _ = try await world.keys.revoke(made[3], of: account, by: World.caller)
      let second = try await world.keys.list(of: account, page: PageRequest(limit: 100, before: first.next))
      #expect((first.items + second.items).map(\.id) == made.reversed())
      #expect(second.next == nil)
    }
  }

  @Test("a list by status has exactly the keys with that status")
  func statusFilter() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      for change in [
        "name = 'active'", "disabled_at = now()", "expires_at = now()", "revoked_at = now()",
        "revoked_at = now(), disabled_at = now(), expires_at = now()", "disabled_at = now(), expires_at = now()",
        "expires_at = now() + interval '1 hour'",
      ] {
        let id = try await world.makeKey(account).key.id
        try await pool.script("update api_keys set \(change) where id = '\(id)'")
      }
      for isSuspended in [false, true] {
        if isSuspended { try await pool.script("update accounts set suspended_at = now()") }
        let all = try await world.keys.list(of: account).items
        #expect(all.count == 7)
        for status in Key.Status.allCases {
          let found = try await world.keys.list(of: account, KeyFilter(status: status)).items
          #expect(found == all.filter { $0.status(at: Date()) == status }, "\(status)")
          #expect(found.isEmpty == (isSuspended ? [.active, .disabled, .expired] : [.suspended]).contains(status))
        }
      }
    }
  }
}
