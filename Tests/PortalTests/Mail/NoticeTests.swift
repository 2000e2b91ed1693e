import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Notices by mail")
struct NoticeTests {
  private let grace = Caller(actor: .staff(id: .numbered(7), name: "Grace"))
  private let ada = Caller(actor: .user(id: .numbered(8), email: "ada@example.com"))

  /// Makes an account with one member of each role, whose address begins with the role.
  private func makeAccount(_ world: World) async throws -> UUID {
    let account = try await world.makeAccount("owner@example.com")
    for role in ["admin", "developer", "viewer"] {
      try await world.pool.script(
        """
        with person as (
          insert into users (id, email, password_hash) values (gen_random_uuid(), '\(role)@example.com', 'x')
          returning id)
        insert into memberships (account_id, user_id, role) select '\(account)', id, '\(role)' from person
        """)
    }
    _ = try await world.makeAccount("stranger@example.com")
    return account
  }

  private func mails(_ pool: PostgresPool) async throws -> [String] {
    try await pool.lines("select kind || ' ' || recipient from mails order by kind, recipient")
  }

  private func toAdmins(_ kind: String) -> [String] { ["\(kind) admin@example.com", "\(kind) owner@example.com"] }

  @Test("owners and admins are notified of a new key, with its name and beginning and nothing secret")
  func created() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await makeAccount(world)
      let issued = try await world.keys.create(.plain, for: account, by: ada)
      #expect(try await mails(pool) == toAdmins("key_created"))
      let parameters = try Mail.Parameters(column: try await pool.text("select parameters from mails limit 1")!)
      #expect(
        parameters
          == Mail.Parameters(
            accountName: "Account", actorName: "ada@example.com", keyName: "Key", keyStart: issued.key.start))
      #expect(
        try await pool.lines("select distinct account_id || ' ' || subject_id from mails")
          == ["\(account.text) \(issued.key.id.text)"])
    }
  }

  @Test("owners and admins are notified of a successor, too, but not of a key that could not be created")
  func rolled() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await makeAccount(world)
      let key = try await world.keys.create(.plain, for: account, by: ada).key
      try await pool.script("delete from mails")
      _ = try await world.keys.roll(key.id, of: account, graceSeconds: 0, by: ada)
      #expect(try await mails(pool) == toAdmins("key_created"))
      try await pool.script("delete from mails; update plans set key_cap = 1")
      await #expect(throws: PortalError.self) { try await world.keys.create(.plain, for: account, by: ada) }
      #expect(try await mails(pool) == [])
    }
  }

  @Test(
    "owners and admins are notified of a key that staff end in its grace period by a roll, but not if a member does")
  func endedByRoll() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await makeAccount(world)
      for (caller, kinds) in [(ada, ["key_created"]), (grace, ["key_created", "key_revoked"])] {
        let old = try await world.keys.create(.plain, for: account, by: ada).key
        let key = try await world.keys.roll(old.id, of: account, graceSeconds: 60, by: ada).successor.key
        try await pool.script("delete from mails")
        _ = try await world.keys.roll(key.id, of: account, graceSeconds: 60, by: caller)
        #expect(try await mails(pool) == kinds.flatMap { toAdmins($0) })
        let told = try await pool.lines(
          """
          select distinct subject_id || ' ' || (parameters ->> 'keyStart') || ' ' || (parameters ->> 'reason')
          from mails where kind = 'key_revoked'
          """)
        #expect(told == (kinds.count == 1 ? [] : ["\(old.id.text) \(old.start ?? "") Its successor was rolled."]))
      }
    }
  }

  @Test(
    """
    owners and admins are notified once of a key that staff revoke, with the actor, the reason and the ticket, but not \
    of one that a member or a service token revokes
    """
  )
  func revoked() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await makeAccount(world)
      let keys = try await world.makeKeys(3, account)
      try await pool.script("delete from mails")
      _ = try await world.keys.revoke(keys[0].key.id, of: account, by: ada)
      let backend = Caller(actor: .token(id: .numbered(9), name: "shop"))
      _ = try await world.keys.revoke(keys[2].key.id, of: account, by: backend)
      #expect(try await mails(pool) == [])
      for _ in 0..<2 {
        _ = try await world.desk.revokeKey(
          keys[1].key.id, by: grace, SupportReason(text: "leaked", ticket: "SUP-1"))
      }
      #expect(try await mails(pool) == toAdmins("key_revoked"))
      let parameters = try Mail.Parameters(column: try await pool.text("select parameters from mails limit 1")!)
      #expect(parameters.actorName == "Grace" && parameters.reason == "leaked" && parameters.ticket == "SUP-1")
      #expect(parameters.keyStart == keys[1].key.start)
    }
  }

  @Test("owners and admins are notified once, with all details, if staff revoke all keys, but not if a member does")
  func revokedAll() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await makeAccount(world)
      let hedy = Caller(actor: .staff(id: .numbered(9), name: "Hedy"))
      let reason = SupportReason(text: "leaked", ticket: "SUP-1")
      try await world.insertKeys(upTo: 3, account)
      _ = try await world.keys.revokeAll(of: account, by: ada)
      #expect(try await mails(pool) == [])
      func parameters() async throws -> Mail.Parameters {
        #expect(try await mails(pool) == toAdmins("keys_revoked"))
        let text = try await pool.text("select parameters from mails limit 1")
        try await pool.script("delete from mails")
        return try Mail.Parameters(column: text!)
      }
      try await world.insertKeys(upTo: 25, account)
      for _ in 0..<2 { _ = try await world.desk.revokeKeys(of: account, by: grace, reason) }
      var expected = Mail.Parameters(
        accountName: "Account", actorName: "Grace", keyCount: 25, reason: "leaked", ticket: "SUP-1")
      #expect(try await parameters() == expected)

      try await world.insertKeys(upTo: 26, account)
      _ = try await world.desk.revokeKeys(of: account, by: grace, reason)
      #expect(try await mails(pool) == [])
      _ = try await world.desk.confirm(try await world.desk.confirmations()[0].id, by: hedy)
      expected.actorName = "Hedy"
      expected.requesterName = "Grace"
      expected.keyCount = 26
      #expect(try await parameters() == expected)
    }
  }

  @Test("owners and admins are notified once of a suspension and of its end, with actor and reason")
  func suspended() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await makeAccount(world)
      for isSuspended in [true, true, false, false] {
        _ = try await world.desk.setSuspension(
          of: account, to: isSuspended, by: grace, SupportReason(text: "unpaid"))
      }
      #expect(try await mails(pool) == toAdmins("account_resumed") + toAdmins("account_suspended"))
      #expect(try await pool.lines("select distinct parameters ->> 'reason' from mails") == ["unpaid"])
    }
  }

  @Test("nothing changes if the mail cannot be enqueued")
  func sameTransaction() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await makeAccount(world)
      try await pool.script("alter table mails add constraint mails_closed check (false) not valid")
      await #expect(throws: PostgresError.self) { try await world.keys.create(.plain, for: account, by: ada) }
      await #expect(throws: PostgresError.self) {
        try await world.desk.setSuspension(of: account, to: true, by: grace, SupportReason(text: "unpaid"))
      }
      #expect(try await pool.number("select count(*) from api_keys") == 0)
      #expect(try await pool.number("select count(*) from accounts where suspended_at is not null") == 0)
    }
  }

  // MARK: Keys that expire

  private func makeJobs(_ world: World) -> Jobs {
    Jobs(
      pool: world.pool, instance: "here", retention: Retention(), observer: Observer([]), outbox: world.outbox)
  }

  private func run(_ name: String, _ jobs: Jobs) async throws -> Jobs.Outcome {
    await jobs.run(try #require(jobs.all.first { $0.name == name }), isForced: true)
  }

  /// Makes a key that was created 90 days ago and expires in `hours` hours.
  private func makeKey(_ world: World, _ account: UUID, hours: Int, name: String) async throws {
    let id = try await world.makeKey(account).key.id
    try await world.pool.script(
      """
      update api_keys set name = '\(name)', created_at = now() - interval '90 days',
        expires_at = now() + interval '\(hours) hours' where id = '\(id)'
      """)
  }

  @Test("owners and admins are notified 14, 3 and 1 days before a key expires, once each, by any number of instances")
  func expiring() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await makeAccount(world)
      try await makeKey(world, account, hours: 20 * 24, name: "far")
      try await pool.script("delete from mails")
      let jobs = makeJobs(world)
      #expect(try await run("expiry-notices", jobs) == .done(0))
      for (hours, count) in [(13 * 24, 2), (4 * 24, 2), (70, 4), (25, 4), (23, 6), (1, 6)] {
        try await pool.script(
          "update api_keys set expires_at = expires_at - (expires_at - now()) + interval '\(hours) hours'")
        // Moves the notices with the expiry, as if time had passed.
        try await pool.script("update key_expiry_notices set expires_at = (select expires_at from api_keys)")
        _ = await concurrently(4) { _ in try await run("expiry-notices", jobs) }
        _ = try await run("expiry-notices", jobs)
        #expect(try await pool.number("select count(*) from mails") == count, "\(hours)")
      }
      #expect(try await pool.lines("select days from key_expiry_notices order by days") == ["1", "3", "14"])
      #expect(
        try await pool.lines("select distinct recipient from mails order by 1") == [
          "admin@example.com", "owner@example.com",
        ])
      #expect(
        try await pool.text("select parameters ->> 'expiresAt' from mails limit 1")?
          .wholeMatch(of: /\d{4}-\d\d-\d\d \d\d:\d\d UTC/) != nil)
    }
  }

  @Test(
    "owners are also notified of keys that expire by their plan, immediately if the plan was lowered",
    arguments: [nil, 300, 10_000])
  func byPlan(_ ownHours: Int?) async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await world.makeAccount()
      try await makeKey(world, account, hours: ownHours ?? 0, name: "key")
      if ownHours == nil { try await pool.script("update api_keys set expires_at = null") }
      try await pool.script("delete from mails")
      let jobs = makeJobs(world)
      // The key was created ninety days ago.
      for (lifetime, count) in [(105, 0), (100, 1), (92, 1), (91, 1), (89, 0)] {
        try await pool.script("update plans set max_key_lifetime_days = \(lifetime)")
        let told = ownHours == 300 && lifetime == 105 ? 1 : count
        #expect(try await run("expiry-notices", jobs) == .done(told), "\(lifetime)")
      }
    }
  }

  @Test("a key whose expiry is moved causes a new notice")
  func moved() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await world.makeAccount()
      try await makeKey(world, account, hours: 60, name: "key")
      try await pool.script("delete from mails")
      let jobs = makeJobs(world)
      #expect(try await run("expiry-notices", jobs) == .done(1))
      try await pool.script("update api_keys set expires_at = expires_at + interval '5 days'")
      #expect(try await run("expiry-notices", jobs) == .done(1))
      #expect(try await run("expiry-notices", jobs) == .done(0))
    }
  }

  @Test("ended, rolled, suspended and short-lived keys cause no notice, and none is enqueued if mail is not configured")
  func notExpiring() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await world.makeAccount()
      for (name, hours) in [("expired", -1), ("revoked", 20), ("rolled", 20), ("young", 20)] {
        try await makeKey(world, account, hours: hours, name: name)
      }
      try await pool.script(
        """
        update api_keys set revoked_at = now() where name = 'revoked';
        update api_keys set rolled_at = now() where name = 'rolled';
        update api_keys set created_at = now() - interval '1 hour' where name = 'young'
        """)
      let suspended = try await world.makeAccount("eve@example.com")
      try await makeKey(world, suspended, hours: 20, name: "suspended")
      try await pool.script("update accounts set suspended_at = now() where id = '\(suspended)'; delete from mails")
      #expect(try await run("expiry-notices", makeJobs(world)) == .done(0))
      try await makeKey(world, account, hours: 20, name: "key")
      #expect(try await run("expiry-notices", makeJobs(World(pool))) == .done(0))
      #expect(try await pool.number("select count(*) from key_expiry_notices") == 0)
      #expect(try await run("expiry-notices", makeJobs(world)) == .done(1))
    }
  }

  // MARK: Keeping

  @Test("mails are kept for a month after they were finished, tokens until they expire, sign-ups for two days")
  func retention() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      try await pool.script(
        """
        insert into mails (id, kind, recipient, state, finished_at)
          select gen_random_uuid(), 'password_changed', n || '@example.com', 'sent', now() - n * interval '1 day'
          from generate_series(28, 32) n;
        insert into mails (id, kind, recipient, created_at)
          values (gen_random_uuid(), 'password_changed', 'waiting@example.com', now() - interval '100 days');
        insert into one_time_tokens (token_hash, purpose, email, expires_at)
          select sha256(n::text::bytea), 'sign_up', 'a@example.com', now() + n * interval '1 minute'
          from generate_series(-2, 2) n where n <> 0;
        insert into signups (id, email, password_hash, account_name, created_at)
          select gen_random_uuid(), 'a@example.com', 'x', 'a', now() - n * interval '1 hour'
          from generate_series(46, 49) n where n <> 48
        """)
      let jobs = makeJobs(world)
      #expect(try await run("mails", jobs) == .done(3))
      #expect(
        try await pool.lines("select recipient from mails order by 1")
          == ["28@example.com", "29@example.com", "waiting@example.com"])
      #expect(try await run("one-time-tokens", jobs) == .done(3))
      #expect(try await pool.number("select count(*) from one_time_tokens where expires_at > now()") == 2)
      #expect(try await pool.number("select count(*) from signups") == 2)
    }
  }
}
