import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("SupportDesk")
struct SupportDeskTests {
  private let grace = Caller(actor: .staff(id: .numbered(7), name: "Grace"), ip: "192.0.2.9")
  private let reason = SupportReason(text: "leaked on a forum", ticket: "SUP-1")

  private func lastEvent(_ world: World, _ account: UUID) async throws -> AuditEvent? {
    try await world.audit.list(of: account, page: PageRequest(limit: 1)).items.first
  }

  // MARK: Searching

  @Test("keys of any account are found by id, by account, by prefix and by the whole key, newest first")
  func search() async throws {
    try await withPool { pool in
      let world = World(pool)
      let accounts = [try await world.makeAccount(), try await world.makeAccount("eve@example.com")]
      var issued: [IssuedKey] = []
      for number in 0..<6 { issued.append(try await world.makeKey(accounts[number % 2])) }
      let keys = issued.map(\.key)
      func found(_ search: KeySearch) async throws -> [UUID] { try await world.desk.search(search).map(\.id) }
      #expect(try await world.desk.search(KeySearch(id: keys[2].id)) == [keys[2]])
      #expect(try await found(KeySearch(accountID: accounts[1])) == [keys[5].id, keys[3].id, keys[1].id])
      #expect(try await found(KeySearch(start: "lk_live_")) == keys.map(\.id).reversed())
      #expect(try await found(KeySearch(start: keys[4].start)).contains(keys[4].id))
      #expect(try await found(KeySearch(hash: issued[3].secret.hash)) == [keys[3].id])
      #expect(try await found(KeySearch(id: keys[2].id, accountID: accounts[1])) == [])
      for nothing in [
        KeySearch(id: .version7()), KeySearch(accountID: .version7()), KeySearch(start: "lk_test"),
        KeySearch(hash: Secret.random(prefix: "lk_live").hash),
      ] {
        #expect(try await found(nothing) == [])
      }
    }
  }

  @Test("a prefix is matched literally: it has no wildcards, and SQL in it is text")
  func literalStart() async throws {
    try await withPool { pool in
      let world = World(pool)
      let key = try await world.makeKey(try await world.makeAccount()).key
      for start in ["%", "_", "lk%", "lkxlive", "lk__ive", "lk_live_%", "LK_", "k_live", "\\", "' or true --"] {
        #expect(try await world.desk.search(KeySearch(start: start)) == [], "\(start)")
      }
      try await pool.script(#"update api_keys set key_start = 'a%_\b'"#)
      for start in ["a", "a%", "a%_", #"a%_\"#, #"a%_\b"#] {
        #expect(try await world.desk.search(KeySearch(start: start)).map(\.id) == [key.id], "\(start)")
      }
      // A mark after a wildcard does not hide it from PostgreSQL.
      try await pool.script("update api_keys set key_start = 'abc\u{301}'")
      for start in ["%\u{301}", "ab_\u{301}"] {
        #expect(try await world.desk.search(KeySearch(start: start)) == [], "\(start)")
      }
    }
  }

  @Test("a search returns the newest keys, at most a hundred")
  func bounded() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.script("update plans set key_cap = 200")
      let keys = try await world.makeKeys(101, account).map(\.key.id)
      let found = try await world.desk.search(KeySearch(accountID: account)).map(\.id)
      #expect(found == keys.suffix(100).reversed())
    }
  }

  @Test("revoked keys and keys of suspended accounts are found, with their status")
  func anyStatus() async throws {
    try await withPool { pool in
      let world = World(pool)
      let key = try await world.makeKey(try await world.makeAccount()).key.id
      try await pool.script("update api_keys set revoked_at = now()")
      #expect(try await world.desk.search(KeySearch(id: key)).map { $0.status(at: Date()) } == [.revoked])
      try await pool.script("update api_keys set revoked_at = null; update accounts set suspended_at = now()")
      #expect(try await world.desk.search(KeySearch(id: key)).map { $0.status(at: Date()) } == [.suspended])
    }
  }

  // MARK: Revoking

  @Test("a revocation is recorded in the tenant's trail with actor, IP address, reason and ticket")
  func revoke() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      let revoked = try await world.desk.revokeKey(issued.key.id, by: grace, reason)
      #expect(try await world.makeVerifier().verify(VerificationRequest(hash: issued.secret.hash)).code == .revoked)
      let event = try #require(try await lastEvent(world, account))
      #expect(event.action == "key.revoked" && event.targetKind == "key" && event.targetID == issued.key.id)
      #expect(event.actorKind == "staff" && event.actorID == .numbered(7) && event.actorName == "Grace")
      #expect(event.reason == "leaked on a forum" && event.ticket == "SUP-1" && event.ip == "192.0.2.9")
      // Revoked again, and by the customer: the first time stays, and the trail has one event.
      #expect(try await world.desk.revokeKey(issued.key.id, by: grace, reason).revokedAt == revoked.revokedAt)
      let byCustomer = try await world.keys.revoke(issued.key.id, of: account, by: World.caller)
      #expect(byCustomer.revokedAt == revoked.revokedAt)
      #expect(try await world.actions(on: account) == ["account.created", "key.created", "key.revoked"])
      await #expect(throws: PortalError.notFound) { try await world.desk.revokeKey(.version7(), by: grace, reason) }
    }
  }

  // MARK: Suspending

  @Test(
    "the keys of a suspended account are refused until it is resumed; each change is recorded once, with its reason")
  func suspend() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      func code() async throws -> Verdict.Code {
        try await world.makeVerifier().verify(VerificationRequest(hash: issued.secret.hash)).code
      }
      let resume = SupportReason(text: "paid")
      let first = try await world.desk.setSuspension(of: account, to: true, by: grace, reason).account
      #expect(first.suspendedAt != nil)
      #expect(try await code() == .suspended)
      #expect(try await pool.text("select suspension_reason from accounts") == reason.text)
      let again = SupportReason(text: "once more")
      #expect(try await world.desk.setSuspension(of: account, to: true, by: grace, again).account == first)
      #expect(try await lastEvent(world, account)?.reason == reason.text)
      #expect(try await world.desk.setSuspension(of: account, to: false, by: grace, resume).account.suspendedAt == nil)
      #expect(try await world.desk.setSuspension(of: account, to: false, by: grace, again).account.suspendedAt == nil)
      #expect(try await code() == .valid)
      #expect(try await pool.text("select suspension_reason from accounts") == nil)
      let actions = try await world.actions(on: account)
      #expect(actions.suffix(2) == ["account.suspended", "account.resumed"] && actions.count == 4)
      let event = try #require(try await lastEvent(world, account))
      #expect(event.reason == "paid" && event.ticket == nil && event.targetID == account && event.actorName == "Grace")
      await #expect(throws: PortalError.notFound) {
        try await world.desk.setSuspension(of: .version7(), to: true, by: grace, reason)
      }
    }
  }

  @Test("thirty concurrent suspensions suspend once, and do not affect another account")
  func concurrent() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("eve@example.com"))
      let outcomes = await concurrently(30) { _ in
        try await world.desk.setSuspension(of: one, to: true, by: grace, reason).account.suspendedAt
      }
      #expect(outcomes.errors.isEmpty && Set(outcomes.values).count == 1 && outcomes.values[0] != nil)
      #expect(try await world.actions(on: one) == ["account.created", "account.suspended"])
      #expect(
        try await pool.number("select count(*) from accounts where suspended_at is null and id = '\(other)'") == 1)
    }
  }

  @Test("nothing changes if the audit event cannot be written")
  func auditInSameTransaction() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(account)
      let loggedCount = try await pool.number("select count(*) from invalidation_log")
      try await pool.script("alter table audit_events add constraint closed check (actor_name <> 'Grace') not valid")
      await #expect(throws: PostgresError.self) { try await world.desk.revokeKey(issued.key.id, by: grace, reason) }
      await #expect(throws: PostgresError.self) {
        try await world.desk.setSuspension(of: account, to: true, by: grace, reason)
      }
      #expect(try await world.makeVerifier().verify(VerificationRequest(hash: issued.secret.hash)).code == .valid)
      #expect(try await pool.number("select count(*) from invalidation_log") == loggedCount)
      try await pool.script("update accounts set suspended_at = now()")
      await #expect(throws: PostgresError.self) {
        try await world.desk.setSuspension(of: account, to: false, by: grace, reason)
      }
      #expect(try await pool.number("select count(*) from accounts where suspended_at is not null") == 1)
    }
  }
}
