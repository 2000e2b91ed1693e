import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Details of audit events")
struct AuditDetailsTests {
  /// The migration that adds the column.
  private static let migrationNumber = 27

  private static let account = UUID(uuidString: "00000000-0000-7000-8000-0000000000A1")!
  private static let people = ["ada", "bob", "eve"].enumerated().map { index, name in
    User(id: UUID(uuidString: "00000000-0000-7000-8000-0000000000B\(index)")!, email: name + "@example.com")
  }

  /// An account with three members. A version without details has recorded changes of their roles, and has erased Bob.
  private static let earlierTrail = """
    insert into accounts (id, name) values ('\(account)', 'Account');
    insert into users (id, email, password_hash) values
      \(people.map { "('\($0.id)', '\($0.email)', '')" }.joined(separator: ", "));
    insert into memberships (account_id, user_id, role)
      select '\(account)', id, case email when 'ada@example.com' then 'owner' else 'admin' end from users;
    insert into audit_events
      (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ip)
      select gen_random_uuid(), '\(account)', 'user', '\(people[0].id)', 'ada@example.com', 'member.role_changed',
        'user', id, email || ': from viewer to admin', '192.0.2.1'
      from users order by id;
    begin;
    select begin_erasure('\(people[1].id)');
    select go_on_erasing('\(people[1].id)');
    insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind, target_id, reason)
      select gen_random_uuid(), '\(account)', 'command', 'root', 'audit.redacted', 'user', '\(people[1].id)',
        redacted || ' events, SHA-256 ' || digest
      from redact_audit_events('\(people[1].id)', '\(account)', 0, 5000);
    select finish_erasure('\(people[1].id)');
    commit
    """

  /// A database with ``earlierTrail`` that was migrated since.
  private func withUpgradedPool(_ body: (PostgresPool) async throws -> Void) async throws {
    try await withPool(isSwept: false) { pool in
      try await pool.script("drop schema public cascade; create schema public")
      let files = try Migrations.embedded().files
      _ = try await Migrations(files.filter { $0.number < Self.migrationNumber }).apply(on: pool)
      try await pool.script(Self.earlierTrail)
      let before = try await pool.lines("select seq || encode(hash, 'hex') from audit_events order by seq")
      _ = try await Migrations(files).apply(on: pool)
      #expect(try await pool.lines("select seq || encode(hash, 'hex') from audit_events order by seq") == before)
      #expect(before.count == 4)
      try await body(pool)
    }
  }

  private func verify(_ pool: PostgresPool) async throws -> (AuditVerification, [AuditOutcome]) {
    var outcomes: [AuditOutcome] = []
    let verification = try await AuditChains(pool: pool).verify(.account(Self.account)) { outcomes.append($0) }
    return (verification, outcomes)
  }

  /// The number of redacted events in each recording event.
  private func recorded(_ outcomes: [AuditOutcome]) -> [Int] {
    outcomes.compactMap { if case .redaction(_, _, _, let count) = $0 { count } else { nil } }
  }

  private func findings(_ pool: PostgresPool) async throws -> [AuditFinding] {
    try await verify(pool).1.compactMap { if case .finding(let finding) = $0 { finding } else { nil } }
  }

  /// The reason and the detail of each event, in the order of the chain.
  private func texts(_ pool: PostgresPool) async throws -> [String] {
    try await pool.lines(
      "select coalesce(reason, '-') || ' | ' || coalesce(detail, '-') from audit_events where account_id is not null "
        + "order by seq")
  }

  private func tellRole(_ pool: PostgresPool, of user: User) async throws {
    let event = InsertAuditEvent.onMember(
      user.id, of: Self.account, .memberRoleChanged, by: World.caller,
      detail: AuditDetail("\(user.email): from admin to viewer"))
    _ = try await pool.pipeline(event, as: .account(Self.account))
  }

  @Test("events from before details keep their hashes and verify in one trail with those that have a detail")
  func upgraded() async throws {
    try await withUpgradedPool { pool in
      var expected = AuditVerification(chainCount: 1, eventCount: 4, findingCount: 0, redactedCount: 1)
      #expect(try await verify(pool).0 == expected)
      for user in Self.people { try await tellRole(pool, of: user) }
      // A server of an earlier version still runs and records an event.
      try await pool.script(
        """
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind, reason)
        values (gen_random_uuid(), '\(Self.account)', 'command', 'test', 'member.removed', 'user', 'eve@example.com')
        """)
      let (verification, outcomes) = try await verify(pool)
      expected.eventCount = 8
      #expect(verification == expected)
      #expect(recorded(outcomes) == [1])
      let texts = try await texts(pool)
      #expect(texts[0] == "ada@example.com: from viewer to admin | -")
      #expect(texts[1] == "erased person: from viewer to admin | -")
      #expect(texts[3].hasPrefix("1 events, SHA-256 ") && texts[3].hasSuffix(" | -"))
      #expect(
        texts[4...] == [
          "- | ada@example.com: from admin to viewer", "- | bob@example.com: from admin to viewer",
          "- | eve@example.com: from admin to viewer", "eve@example.com | -",
        ])
      let events = try await AuditEvents(pool: pool).list(of: Self.account, page: PageRequest()).items
      // Pages are in the order of ids, which those of these events that come from SQL have at random.
      #expect(events.map { ($0.reason ?? "-") + " | " + ($0.detail ?? "-") }.sorted() == texts.sorted())
    }
  }

  @Test("an erasure removes a person from the reasons and details of a trail, which stays intact")
  func erasure() async throws {
    try await withUpgradedPool { pool in
      for user in Self.people { try await tellRole(pool, of: user) }
      let erasure = try await PersonErasures(pool: pool).erase(Self.people[2].id, by: World.caller)
      #expect(erasure.isFinished && erasure.redactedEventCount == 2)
      let texts = try await texts(pool)
      #expect(texts[2] == "erased person: from viewer to admin | -")
      #expect(texts[6] == "- | erased person: from admin to viewer")
      #expect(texts.last?.hasPrefix("- | 2 events, SHA-256 ") == true)
      let (verification, outcomes) = try await verify(pool)
      #expect(verification.isIntact && verification.redactedCount == 3)
      #expect(recorded(outcomes) == [1, 2])
    }
  }

  @Test(
    "a detail that is edited, removed, added or moved is found",
    arguments: [
      (6, "detail = 'bob@example.com: from admin to owner'"), (6, "detail = null"), (6, "detail = ''"),
      (6, "reason = detail, detail = null"), (6, "ticket = detail, detail = null"), (6, "reason = detail"),
      (1, "detail = reason, reason = null"), (1, "detail = ''"), (4, "detail = reason, reason = null"),
    ])
  func tampered(_ seq: Int, _ change: String) async throws {
    try await withUpgradedPool { pool in
      for user in Self.people { try await tellRole(pool, of: user) }
      #expect(try await verify(pool).0.isIntact)
      try await pool.script(
        """
        set session_replication_role = replica;
        update audit_events set \(change) where account_id = '\(Self.account)' and seq = \(seq)
        """)
      let found = try await findings(pool)
      #expect(found.map(\.seq) == [seq] && found.map(\.problem) == [.edited], "\(found)")
      // With a recomputed hash it is found at the next event.
      try await pool.script(
        """
        set session_replication_role = replica;
        update audit_events event set hash = audit_event_hash(event)
        where account_id = '\(Self.account)' and seq = \(seq)
        """)
      let next = try await findings(pool)
      #expect(next.map(\.seq) == [seq + 1] && next.map(\.problem) == [.unlinked], "\(next)")
    }
  }

  @Test("a detail of more than 500 code points is cut off")
  func length() {
    #expect(AuditDetail.lengthMax == 500)
    for character in ["a", "🙈", "e\u{301}"] {
      let text = String(repeating: character, count: 501)
      #expect(AuditDetail(text).text.unicodeScalars.elementsEqual(text.unicodeScalars.prefix(500)))
    }
    #expect(AuditDetail("orders: from developer to admin").text == "orders: from developer to admin")
    #expect(AuditDetail("").text == "")
  }
}
