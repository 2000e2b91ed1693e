import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

extension World {
  fileprivate func explanations(_ limiter: RateLimiter? = RateLimiter()) -> Explanations {
    Explanations(pool: pool, format: format, limiter: limiter, clock: clock)
  }
}

@Suite("Explanations, and the history of settings")
struct ExplanationsTests {
  private let reason = SupportReason(text: "because")
  private let grace = Caller(actor: .staff(id: .numbered(7), name: "Grace"))

  /// PostgreSQL's time, after everything that was done before and before everything that follows.
  private func mark(_ pool: PostgresPool) async throws -> Date {
    func read() async throws -> Double {
      Double(try await pool.text("select extract(epoch from clock_timestamp())")!)!
    }
    let date = Date(timeIntervalSince1970: (try await read() * 1_000).rounded(.up) / 1_000)
    while Date(timeIntervalSince1970: try await read()) <= date {}
    return date
  }

  private func asking(_ scopes: String..., permissions: String? = nil, cost: Int = 1) throws -> VerificationRequest {
    VerificationRequest(
      hash: nil, scopes: scopes, cost: cost, permissions: try permissions.map { try PermissionQuery($0) })
  }

  // MARK: Now

  @Test("a key is explained by its id and by its text as it is now; nothing is taken or counted")
  func present() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let issued = try await world.makeKey(
        account, KeySettings(name: "Key", scopes: ["orders:read"], rateLimitPerMinute: 3))
      let limiter = RateLimiter()
      for subject in [Explanations.Subject.id(issued.key.id), .pasted("Bearer \(issued.secret.reveal())")] {
        for _ in 0..<5 {
          let found = try await world.explanations(limiter).explain(subject, asking("orders:read", cost: 3))
          #expect(found.code == .valid && found.key?.key.id == issued.key.id)
          #expect(found.limits?.binding?.remaining == 3)
        }
        #expect(try await world.explanations(limiter).explain(subject, asking(cost: 4)).code == .rateLimited)
        #expect(try await world.explanations(limiter).explain(subject, asking("x")).code == .insufficientScope)
      }
      let revoked = try await world.keys.revoke(issued.key.id, of: account, by: World.caller)
      let found = try await world.explanations().explain(.id(issued.key.id), asking("x"))
      #expect(found.code == .revoked && found.key?.revokedAt == revoked.revokedAt)
      #expect(found.outcomes.count { $0.isPassed == false } == 2)
      #expect(try await pool.number("select count(*) from key_usage") == 0)
    }
  }

  @Test("an unknown key, and one of a deleted account, does not exist; a text that is no key is refused")
  func unknown() async throws {
    try await withPool { pool in
      let world = World(pool)
      let issued = try await world.makeKey(try await world.makeAccount())
      for subject in [Explanations.Subject.id(.version7()), .pasted(Secret.random(prefix: "lk_live").reveal())] {
        let found = try await world.explanations().explain(subject, asking())
        #expect(found.code == .notFound && found.key == nil && found.outcomes.map(\.check) == [.exists])
      }
      await #expect(throws: PortalError.notAKey) {
        try await world.explanations().explain(.pasted("lk_live_x"), asking())
      }
      try await pool.script("update accounts set suspended_at = now(), deleted_at = now()")
      #expect(try await world.explanations().explain(.id(issued.key.id), asking()).code == .notFound)
    }
  }

  // MARK: Then

  @Test("each change of a key, its account and its plan leaves what was before it")
  func past() async throws {
    try await withPool { pool in
      let world = World(pool)
      let before = try await mark(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      var expected: [(Date, Verdict.Code)] = [(before, .notFound), (try await mark(pool), .valid)]
      let changes: [(Verdict.Code, @Sendable () async throws -> Void)] = [
        (
          .insufficientScope,
          {
            _ = try await world.keys.update(key.id, of: account, KeyChanges(scopes: ["x"]), by: World.caller)
          }
        ),
        (
          .valid,
          {
            _ = try await world.keys.update(key.id, of: account, KeyChanges(scopes: ["orders:*"]), by: World.caller)
          }
        ),
        (.insufficientScope, { try await pool.script("update plans set scopes = '{x}' where name = 'default'") }),
        (.valid, { try await pool.script("update plans set scopes = '{*}' where name = 'default'") }),
        (.forbiddenAddress, { try await pool.script("update api_keys set allowed_ips = '{192.0.2.0/24}'") }),
        (.expired, { try await pool.script("update api_keys set expires_at = now() - interval '1 second'") }),
        (.disabled, { try await pool.script("update api_keys set disabled_at = now()") }),
        (
          .suspended,
          {
            _ = try await world.desk.setSuspension(of: account, to: true, by: grace, reason)
          }
        ),
        (.revoked, { _ = try await world.keys.revoke(key.id, of: account, by: World.caller) }),
        (.revoked, { try await pool.script("update api_keys set description = 'x', tags = '{a}'") }),
      ]
      for (code, change) in changes {
        try await change()
        expected.append((try await mark(pool), code))
      }
      for (moment, code) in expected {
        let found = try await world.explanations().explain(.id(key.id), asking("orders:read"), at: moment)
        #expect(found.code == code, "\(moment)")
        #expect(found.limits == nil && found.outcomes.last?.isPassed == (code == .notFound ? false : nil))
      }
      // Only what is judged by is kept: nothing of the last change.
      #expect(try await pool.number("select count(*) from settings_history where kind = 'key'") == 6)
    }
  }

  @Test("roles and permissions are those of then, with the names of then, whatever was deleted since")
  func grants() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      try await pool.script(
        """
        insert into apis (id, slug, name) values ('\(UUID.numbered(1))', 'orders', 'Orders');
        insert into permissions (id, slug) values ('\(UUID.numbered(2))', 'a'), ('\(UUID.numbered(3))', 'b');
        insert into roles (id, name) values ('\(UUID.numbered(4))', 'pro');
        insert into role_permissions values ('\(UUID.numbered(4))', '\(UUID.numbered(2))')
        """)
      let none = try await mark(pool)
      try await pool.script(
        """
        insert into key_roles values ('\(account)', '\(key.id)', '\(UUID.numbered(4))');
        insert into key_permissions values ('\(account)', '\(key.id)', '\(UUID.numbered(3))');
        update api_keys set api_id = '\(UUID.numbered(1))'
        """)
      let both = try await mark(pool)
      try await pool.script(
        """
        update permissions set slug = 'c' where slug = 'b'; update roles set name = 'max';
        update apis set slug = 'other'
        """)
      let renamed = try await mark(pool)
      try await pool.script("delete from role_permissions; delete from key_permissions")
      let fewer = try await mark(pool)
      try await pool.script("update api_keys set revoked_at = now(); delete from roles; delete from apis")
      func grants(at moment: Date) async throws -> [String] {
        let found = try await world.explanations().explain(.id(key.id), asking(), at: moment)
        let grants = found.key?.key.grants
        return [grants?.apiSlugs?.joined() ?? ""] + (grants?.roles ?? []) + (grants?.permissions ?? [])
      }
      #expect(try await grants(at: none) == [""])
      #expect(try await grants(at: both) == ["orders", "pro", "a", "b"])
      #expect(try await grants(at: renamed) == ["other", "max", "a", "c"])
      #expect(try await grants(at: fewer) == ["other", "max"])
      #expect(try await grants(at: try await mark(pool)) == [""])
      #expect(
        try await world.explanations().explain(.id(key.id), asking(permissions: "a AND b"), at: both).code == .valid)
      #expect(
        try await world.explanations().explain(.id(key.id), asking(permissions: "a"), at: none).code
          == .insufficientPermissions)
    }
  }

  @Test("a statement that changes many keys keeps each of them, and a rolled back change leaves nothing")
  func many() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.insertKeys(upTo: 100, account)
      _ = try await world.keys.revokeAll(of: account, by: World.caller)
      #expect(try await pool.number("select count(distinct subject) from settings_history where kind = 'key'") == 100)
      try await pool.script("begin; update api_keys set revoked_at = null; rollback")
      #expect(try await pool.number("select count(*) from settings_history where kind = 'key'") == 100)
    }
  }

  @Test("changes of one key at the same time are kept in the order in which they took effect")
  func races() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      let outcomes = await concurrently(40) { number in
        try await pool.script("update api_keys set rate_limit_per_minute = \(100 + number)")
      }
      #expect(outcomes.errors.isEmpty)
      let last = try await pool.number("select rate_limit_per_minute from api_keys")
      let kept = try await pool.lines(
        "select settings->>'rate_limit_per_minute' from settings_history where kind = 'key' order by id")
      #expect(kept.count == 40 && kept.first == "60" && Set(kept).count == 40 && !kept.contains("\(last)"))
      #expect(
        try await pool.number(
          """
          select count(*) from (
            select until < lag(until) over (order by id) as is_late from settings_history where subject = '\(key.id)'
          ) versions where is_late
          """) == 0)
    }
  }

  @Test("the history has no hash, no name and no text that somebody wrote")
  func contents() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      var settings = KeySettings(name: "Secret project", scopes: ["a"])
      (settings.description, settings.metadata, settings.tags) = ("Written by Ada", #"{"x":"Written"}"#, ["written"])
      let issued = try await world.makeKey(account, settings)
      _ = try await world.keys.revoke(issued.key.id, of: account, by: World.caller)
      try await pool.script("update accounts set suspended_at = now(), suspension_reason = 'Written'")
      let text = try await pool.text("select string_agg(settings::text, ' ') from settings_history") ?? ""
      #expect(text.contains("revoked_at") && text.contains("suspended_at"))
      for word in ["hash", "Secret project", "ritten", "Account", "start"] { #expect(!text.contains(word), "\(word)") }
    }
  }

  @Test("a moment in the future, or before settings are kept, is refused; the job moves that time and deletes the rest")
  func retention() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      let then = try await mark(pool)
      _ = try await world.keys.revoke(key.id, of: account, by: World.caller)
      func code(at moment: Date) async throws -> Verdict.Code {
        try await world.explanations().explain(.id(key.id), asking(), at: moment).code
      }
      #expect(try await code(at: then) == .valid)
      await #expect(throws: PortalError.invalid(.at, "must not be in the future")) {
        _ = try await code(at: Date() + 3_600)
      }
      let early = PortalError.invalid(.at, "is before the time since when settings are kept")
      await #expect(throws: early) { _ = try await code(at: Date() - 86_400) }
      // As if all this were ten days ago.
      try await pool.script(
        """
        begin;
        set local session_replication_role = replica;
        update settings_history set until = until - interval '10 days';
        update settings_history set settings = settings || jsonb_build_object(
          'created_at', (settings->>'created_at')::timestamptz - interval '10 days') where kind = 'key';
        update api_keys set created_at = created_at - interval '10 days', revoked_at = revoked_at - interval '10 days';
        commit
        """)
      #expect(try await code(at: then - 10 * 86_400) == .valid)
      func run(days: Int) async throws {
        var retention = Retention()
        retention.settingsDays = days
        let jobs = Jobs(pool: pool, instance: "test", retention: retention, observer: Observer([]))
        let job = try #require(jobs.all.first { $0.name == "settings-history" })
        guard case .done = await jobs.run(job, isForced: true) else {
          Issue.record("the job failed")
          return
        }
      }
      try await run(days: 30)
      #expect(try await code(at: then - 10 * 86_400) == .valid)
      try await run(days: 5)
      await #expect(throws: early) { _ = try await code(at: then - 10 * 86_400) }
      #expect(try await code(at: Date() - 86_400) == .revoked)
      #expect(try await pool.lines("select kind from settings_history") == ["beginning"])
      // A longer time later does not bring back what is gone.
      try await run(days: 30)
      await #expect(throws: early) { _ = try await code(at: Date() - 6 * 86_400) }
    }
  }
}
