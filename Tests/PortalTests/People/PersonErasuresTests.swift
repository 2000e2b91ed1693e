import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

/// Ada's account, of which Bob is a member. Bob, who also has an account of his own, has logged in to Ada's from `ip`
/// and created a key and an invitation.
private struct House: Sendable {
  static let ip = "192.0.2.77"

  let world: World
  let account: UUID
  let ada: User
  let bob: User

  var pool: PostgresPool { world.pool }
  var erasures: PersonErasures { PersonErasures(pool: pool) }
  var sessions: Sessions {
    Sessions(pool: pool, passwords: World.hasher, attempts: world.attempts, lifetime: .seconds(60))
  }

  init(_ pool: PostgresPool, bobs role: String = "admin") async throws {
    world = World(pool, hasMail: true)
    let password = Password(World.password)!
    (account, ada) = try await world.accounts.create(
      name: "Account", email: EmailAddress("ada@example.com")!, password: password, by: .owner(ip: "192.0.2.1"))
    (_, bob) = try await world.accounts.create(
      name: "Bobs place", email: EmailAddress("bob@example.com")!, password: password, by: .owner(ip: Self.ip))
    try await add(bob, role)
    let session = try await session(of: bob, from: Self.ip)
    _ = try await world.keys.create(.plain, for: account, by: session.caller(ip: Self.ip))
    try await invite("eve@example.com", by: session, from: Self.ip)
  }

  func add(_ user: User, _ role: String) async throws {
    try await pool.script(
      "insert into memberships (account_id, user_id, role) values ('\(account)', '\(user.id)', '\(role)')")
  }

  func session(of user: User, from ip: String = "192.0.2.1") async throws -> MemberSession {
    try await sessions.open(for: user, in: account, from: Origin(ip: ip, userAgent: "browser of \(user.email)")).session
  }

  func invite(_ email: String, by session: MemberSession, from ip: String) async throws {
    _ = try await Invitations(
      pool: pool, passwords: World.hasher, attempts: world.attempts, outbox: world.outbox
    ).invite(EmailAddress(email)!, as: .viewer, into: account, by: session, ip: ip)
  }

  /// The tables that contain a text anywhere.
  func tables(with text: String) async throws -> [String] {
    let tables = try await pool.lines(
      """
      select relname from pg_class
      where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition order by 1
      """)
    var found: [String] = []
    for table in tables
    where try await pool.number("select count(*) from \(table) t where t::text ilike '%\(text)%'") > 0 {
      found.append(table)
    }
    return found
  }

  func verify(expecting heads: [AuditHead] = []) async throws -> (AuditVerification, [AuditOutcome]) {
    var outcomes: [AuditOutcome] = []
    let verification = try await AuditChains(pool: pool).verify(expecting: heads) { outcomes.append($0) }
    return (verification, outcomes)
  }

  func problems() async throws -> [AuditFinding.Problem] {
    try await verify().1.compactMap { if case .finding(let finding) = $0 { finding.problem } else { nil } }
  }
}

@Suite("Erasing a person")
struct PersonErasuresTests {
  @Test("erasing removes a person from all tables, and keeps the chains intact up to heads that were saved before")
  func everywhere() async throws {
    try await withPool { pool in
      let house = try await House(pool)
      let (_, before) = try await house.verify()
      let heads = before.compactMap { if case .intact(let head) = $0 { head } else { nil } }
      #expect(heads.count == 2)
      #expect(try await house.tables(with: "bob@example.com").count > 4)
      let erasure = try await house.erasures.erase(house.bob.id, by: World.caller)
      #expect(erasure.isFinished && erasure.redactedEventCount == 4)
      for text in ["bob@example.com", House.ip, "Bobs place"] {
        #expect(try await house.tables(with: text) == [], "\(text)")
      }
      // Only the id is left.
      #expect(
        try await house.tables(with: house.bob.id.text) == ["api_keys", "audit_events", "erasures", "invitations"])
      let (after, outcomes) = try await house.verify(expecting: heads)
      #expect(after.isIntact && after.redactedCount == erasure.redactedEventCount)
      let told = outcomes.compactMap { if case .redaction(_, _, _, let count) = $0 { count } else { nil } }
      #expect(told.reduce(0, +) == erasure.redactedEventCount && told.count == 2)
      // Ada's events are unchanged.
      #expect(try await pool.number("select count(*) from audit_events where actor_name = 'ada@example.com'") > 0)
      #expect(try await pool.number("select count(*) from audit_events where ip = '192.0.2.1'") > 0)
    }
  }

  @Test("erasing removes their address from details as from reasons, including those of earlier versions")
  func details() async throws {
    try await withPool { pool in
      let house = try await House(pool)
      let ada = try await house.session(of: house.ada)
      _ = try await Members(pool: pool).setRole(.owner, of: house.bob.id, in: house.account, by: ada, ip: "192.0.2.1")
      // As versions without details recorded it.
      try await pool.script(
        """
        insert into audit_events
          (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason)
        values (gen_random_uuid(), '\(house.account)', 'user', '\(house.ada.id)', 'ada@example.com',
          'member.role_changed', 'user', '\(house.bob.id)', 'Bob@Example.com: from viewer to admin')
        """)
      let (_, before) = try await house.verify()
      let heads = before.compactMap { if case .intact(let head) = $0 { head } else { nil } }
      _ = try await house.erasures.erase(house.bob.id, by: World.caller, SupportReason(text: "bob@example.com asked"))
      #expect(try await house.tables(with: "bob@example.com") == [])
      let columns = "coalesce(reason, '-') || ' | ' || coalesce(detail, '-')"
      #expect(
        try await pool.lines(
          """
          select \(columns) from audit_events where action = 'member.role_changed' order by seq
          """) == ["- | erased person: from admin to owner", "erased person: from viewer to admin | -"])
      // The invitation that Bob made is revoked for the stated reason, and the detail has whom it was for.
      #expect(
        try await pool.lines("select \(columns) from audit_events where action = 'invitation.revoked'") == [
          "erased person asked | eve@example.com"
        ])
      let summaries = try await pool.lines("select \(columns) from audit_events where action = 'audit.redacted'")
      #expect(summaries.count == 3 && summaries.allSatisfy { $0.hasPrefix("- | ") && $0.contains(" events, SHA-256 ") })
      #expect(try await house.verify(expecting: heads).0.isIntact)
    }
  }

  @Test("erasing removes former addresses, except those that belong to somebody else by now")
  func formerAddresses() async throws {
    try await withPool { pool in
      let house = try await House(pool)
      try await pool.script("update users set email = 'robert@example.com' where id = '\(house.bob.id)'")
      _ = try await house.session(of: User(id: house.bob.id, email: "robert@example.com"))
      try await pool.script("update users set email = 'bobby@example.com' where id = '\(house.bob.id)'")
      _ = try await house.world.makeAccount("robert@example.com")
      try await house.invite("robert@example.com", by: try await house.session(of: house.ada), from: "192.0.2.1")
      _ = try await house.erasures.erase(house.bob.id, by: World.caller)
      for text in ["bob@example.com", "bobby@example.com", House.ip] {
        #expect(try await house.tables(with: text) == [], "\(text)")
      }
      #expect(try await house.tables(with: "robert@example.com").contains("invitations"))
      #expect(
        try await pool.number("select count(*) from audit_events where actor_name = 'robert@example.com'") == 0)
      #expect(try await house.verify().0.isIntact)
    }
  }

  @Test("two people in one event can both be erased, and the event records both redactions")
  func twice() async throws {
    try await withPool { pool in
      let house = try await House(pool, bobs: "owner")
      let members = Members(pool: pool)
      _ = try await members.setRole(
        .admin, of: house.bob.id, in: house.account, by: try await house.session(of: house.ada), ip: "192.0.2.1")
      let (_, carol) = try await house.world.accounts.create(
        name: "Carol", email: EmailAddress("carol@example.com")!, password: Password(World.password)!,
        by: .other(World.caller))
      try await house.add(carol, "owner")
      _ = try await house.erasures.erase(house.bob.id, by: World.caller)
      _ = try await house.erasures.erase(house.ada.id, by: World.caller)
      #expect(
        try await pool.lines(
          """
          select actor_name || ', ' || detail || ', ' || cardinality(redacted_by) from audit_events
          where action = 'member.role_changed'
          """) == ["erased person, erased person: from owner to admin, 2"])
      #expect(try await house.tables(with: "ada@example.com") == [])
      let (verification, _) = try await house.verify()
      #expect(verification.isIntact && verification.redactedCount > 1)
    }
  }

  @Test("erasing is refused, and changes nothing, while an account with other members or keys has no other owner")
  func lastOwner() async throws {
    try await withPool { pool in
      let house = try await House(pool)
      func refused() async throws {
        let events = try await pool.number("select count(*) from audit_events")
        await #expect(throws: PortalError.lastOwner) {
          try await house.erasures.erase(house.ada.id, by: World.caller)
        }
        #expect(try await pool.number("select count(*) from audit_events") == events)
        #expect(try await pool.number("select count(*) from erasures") == 0)
      }
      try await refused()
      try await pool.script("delete from memberships where user_id = '\(house.bob.id)'")
      try await refused()
      try await pool.script("update api_keys set revoked_at = now()")
      // What a backend has put into the account may name the person.
      try await pool.script(
        """
        update accounts set external_id = 'ada', metadata = '{"name":"Ada"}' where id = '\(house.account)';
        insert into account_requests (account_id, key_hash, request_hash, shown_account)
        select id, sha256('a'), sha256('b'), metadata from accounts where external_id = 'ada'
        """)
      let erasure = try await house.erasures.erase(house.ada.id, by: World.caller)
      #expect(erasure.isFinished)
      #expect(
        try await pool.lines(
          """
          select concat(name, external_id, metadata, (select count(*) from account_requests))
          from accounts where deleted_at is not null
          """) == ["erased account0"])
      #expect(try await house.world.actions(on: house.account).contains("account.deleted"))
      #expect(try await house.verify().0.isIntact)
    }
  }

  @Test("erasing an unknown person is refused, and erasing an erased one changes nothing")
  func nobody() async throws {
    try await withPool { pool in
      let house = try await House(pool)
      await #expect(throws: PortalError.notFound) {
        try await house.erasures.erase(.version7(), by: World.caller)
      }
      let first = try await house.erasures.erase(house.bob.id, by: World.caller)
      let count = try await pool.number("select count(*) from audit_events")
      let again = try await house.erasures.erase(house.bob.id, by: World.caller)
      #expect(again.erasedAt == first.erasedAt && again.isFinished && again.redactedEventCount == 0)
      #expect(try await pool.number("select count(*) from audit_events") == count)
    }
  }

  @Test("the job finishes an erasure that was interrupted after its first part, even in a trail of many steps")
  func resumed() async throws {
    try await withPool { pool in
      let house = try await House(pool)
      try await pool.script(
        """
        insert into audit_events (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, ip)
        select gen_random_uuid(), '\(house.account)', 'user', '\(house.bob.id)', 'bob@example.com', 'x', 'x',
          '\(House.ip)'
        from generate_series(1, 12000)
        """)
      _ = try await pool.query(BeginErasure(userID: house.bob.id), as: .identity)
      #expect(try await house.tables(with: "bob@example.com").contains("audit_events"))
      let jobs = Jobs(pool: pool, instance: "here", retention: Retention(), observer: Observer([]))
      let job = try #require(jobs.all.first { $0.name == "erasures" })
      #expect(await jobs.run(job, isForced: true) == .done(1))
      #expect(await jobs.run(job, isForced: true) == .done(0))
      #expect(try await house.tables(with: "bob@example.com") == [])
      #expect(try await house.tables(with: House.ip) == [])
      let (verification, outcomes) = try await house.verify()
      #expect(verification.isIntact && verification.redactedCount > 12_000)
      // Three steps of the account's trail, and Bob's own.
      #expect(outcomes.count { if case .redaction = $0 { true } else { false } } == 4)
    }
  }

  @Test("erasing a person while they act leaves nothing of them, in any order, and does not deadlock")
  func concurrent() async throws {
    try await withPool { pool in
      let house = try await House(pool)
      let session = try await house.session(of: house.bob, from: House.ip)
      let password = Password(World.password)!
      let outcomes = await concurrently(48) { index in
        switch index % 6 {
        case 0, 1:
          _ = try await house.world.keys.create(.plain, for: house.account, by: session.caller(ip: House.ip))
        case 2:
          _ = try await house.sessions.logIn(
            email: "bob@example.com", password: password, from: Origin(ip: House.ip))
        case 3: _ = try await house.sessions.endOthers(of: session, ip: House.ip)
        case 4: _ = try await house.erasures.erase(house.bob.id, by: World.caller)
        default: try await house.invite("guest\(index)@example.com", by: session, from: House.ip)
        }
      }
      #expect(
        outcomes.errors.allSatisfy {
          $0 is PortalError || ($0 as? PostgresError)?.violates("audit_events_actor_present") == true
        }, "\(outcomes.errors)")
      _ = try await house.erasures.erase(house.bob.id, by: World.caller)
      for text in ["bob@example.com", House.ip] {
        #expect(try await house.tables(with: text) == [], "\(text)")
      }
      #expect(try await pool.number("select count(*) from sessions where user_id = '\(house.bob.id)'") == 0)
      #expect(try await house.problems() == [])
      #expect(
        try await pool.number("select deadlocks from pg_stat_database where datname = current_database()") == 0)
    }
  }

  @Test("no event of an erased person can be written, wherever it is in its statement")
  func lateAmongOthers() async throws {
    try await withPool { pool in
      let house = try await House(pool)
      _ = try await house.erasures.erase(house.bob.id, by: World.caller)
      for place in 1...3 {
        let error = await #expect(throws: PostgresError.self) {
          try await pool.script(
            """
            insert into audit_events (id, account_id, actor_kind, actor_id, actor_name, action, target_kind)
            select gen_random_uuid(), '\(house.account)', 'user',
              case number when \(place) then '\(house.bob.id)'::uuid else gen_random_uuid() end, 'x', 'x', 'x'
            from generate_series(1, 3) number
            """)
        }
        #expect(error?.violates("audit_events_actor_present") == true)
      }
    }
  }

  @Test("an action after the erasure, by a session that was looked up before, is refused and rolled back")
  func late() async throws {
    try await withPool { pool in
      let house = try await House(pool)
      let session = try await house.session(of: house.bob)
      _ = try await house.erasures.erase(house.bob.id, by: World.caller)
      let before = try await pool.number("select count(*) from api_keys")
      let error = await #expect(throws: PostgresError.self) {
        _ = try await house.world.keys.create(.plain, for: house.account, by: session.caller(ip: House.ip))
      }
      #expect(error?.violates("audit_events_actor_present") == true)
      #expect(try await pool.number("select count(*) from api_keys") == before)
      #expect(try await house.tables(with: "bob@example.com") == [])
    }
  }

  // MARK: Forgery

  /// Erases Bob, then edits the trail with the triggers off.
  private func forge(_ sql: @Sendable (House) -> String) async throws -> [AuditFinding.Problem] {
    try await withPool { pool in
      let house = try await House(pool)
      _ = try await house.erasures.erase(house.bob.id, by: World.caller)
      #expect(try await house.problems() == [])
      try await pool.script(
        "set session_replication_role = replica; \(sql(house)); set session_replication_role = default")
      return try await house.problems()
    }
  }

  @Test("an edited event that claims to be redacted is found, whichever redaction it names")
  func claimed() async throws {
    for recorder in ["1", "3", "99999", "(select max(seq) from audit_events where action = 'audit.redacted')"] {
      let found = try await forge { house in
        """
        update audit_events set reason = 'nothing happened' where account_id = '\(house.account)' and seq = 1;
        update audit_events event set redacted_by = array[\(recorder)]::bigint[],
          redacted_hashes = array[audit_event_hash(event)]
        where account_id = '\(house.account)' and seq = 1
        """
      }
      #expect(!found.isEmpty, "\(recorder)")
    }
  }

  @Test("every edit of a redacted event is found, even with new hashes, and so are restored values")
  func edited() async throws {
    #expect(
      try await forge {
        "update audit_events set action = 'y' where account_id = '\($0.account)' and action = 'key.created'"
      } == [.edited])
    #expect(
      try await forge { house in
        """
        update audit_events set action = 'y' where account_id = '\(house.account)' and action = 'key.created';
        update audit_events event set redacted_hashes = array[audit_event_hash(event)]
        where account_id = '\(house.account)' and action = 'y'
        """
      } == [.otherRedaction])
    #expect(
      try await forge { house in
        """
        update audit_events set redacted_by = '{}', redacted_hashes = '{}', actor_name = 'bob@example.com',
          ip = '\(House.ip)'
        where account_id = '\(house.account)' and action = 'key.created'
        """
      } == [.otherRedaction])
    #expect(
      try await forge {
        "update audit_events set redacted_by = '{}' where account_id = '\($0.account)' and action = 'key.created'"
      }.contains(.edited))
  }

  @Test("no statement redacts events without the functions for it, not even the owner's")
  func refused() async throws {
    try await withPool { pool in
      let house = try await House(pool)
      for change in [
        "actor_name = 'erased person'", "ip = null", "reason = 'erased person'", "reason = null",
        "detail = 'erased person'", "detail = null", "reason = detail, detail = null", "detail = reason, reason = null",
        "actor_name = 'erased person', action = 'x'", "redacted_by = '{9}'",
      ] {
        let error = await #expect(throws: PostgresError.self) {
          try await pool.script("update audit_events set \(change) where account_id = '\(house.account)'")
        }
        #expect(error?.message.contains("append-only") == true, "\(change)")
      }
      for role in DatabaseRole.allCases {
        let error = await #expect(throws: PostgresError.self) {
          try await pool.script(
            "set local role \(role.rawValue); update audit_events set actor_name = 'erased person'")
        }
        #expect(error?.sqlState == "42501")
      }
      #expect(try await house.problems() == [])
    }
  }
}
