import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("Chains of audit events")
struct AuditChainsTests {
  private func verify(
    _ pool: PostgresPool, _ trail: AuditTrail? = nil, expecting heads: [AuditHead] = []
  ) async throws -> [AuditOutcome] {
    var outcomes: [AuditOutcome] = []
    let verification = try await AuditChains(pool: pool).verify(trail, expecting: heads) { outcomes.append($0) }
    let findingCount = outcomes.count { if case .finding = $0 { true } else { false } }
    #expect(verification.findingCount == findingCount)
    return outcomes
  }

  private func findings(
    _ pool: PostgresPool, _ trail: AuditTrail? = nil, expecting heads: [AuditHead] = []
  ) async throws -> [String] {
    try await verify(pool, trail, expecting: heads).compactMap { outcome in
      guard case .finding(let finding) = outcome else { return nil }
      return "\(finding.seq.map { "\($0)" } ?? "-"): \(finding.problem)"
    }
  }

  // MARK: Writing

  @Test("concurrent changes, with and without the account's lock, form one chain without gaps and without a deadlock")
  func races() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let sessions = Sessions(
        pool: pool, passwords: World.hasher, attempts: Attempts(pool: pool), lifetime: .seconds(60))
      let user = User(
        id: UUID(uuidString: try await pool.text("select id from users where email = 'ada@example.com'")!)!,
        email: "ada@example.com")
      let rolled = try await world.makeKeys(20, one).map(\.key.id)
      let reason = SupportReason(text: "because")
      let outcomes = await concurrently(160) { index in
        switch index % 8 {
        case 0: try await world.makeKey(other)
        case 1: _ = try await sessions.open(for: user, in: one)
        case 2: _ = try await world.keys.roll(rolled[index / 8], of: one, graceSeconds: 60, by: World.caller)
        case 3: _ = try await world.keys.revoke(rolled[index / 8], of: one, by: World.caller)
        case 4: try await world.accounts.setSharedLimit(index + 1, .fast, of: one, by: World.caller)
        case 5: _ = try await world.tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller)
        case 6:
          _ = try await world.desk.setSuspension(of: other, to: index % 16 == 6, by: World.caller, reason)
        default:
          try await pool.script(
            """
            insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
            select gen_random_uuid(), account, 'command', 'psql', 'x', 'x'
            from unnest(array['\(min(one.text, other.text))', '\(max(one.text, other.text))']::uuid[]) account
            """)
        }
      }
      // Keys that were revoked first cannot be rolled, and suspended accounts and full ones get no keys.
      let refusals = outcomes.errors.filter { $0 is PortalError }
      #expect(outcomes.errors.count == refusals.count, "\(outcomes.errors)")
      #expect(try await findings(pool) == [])
      #expect(
        try await pool.lines("select count(*) = max(seq) from audit_events group by account_id") == [
          "true", "true", "true",
        ])
      #expect(try await pool.number("select count(*) from audit_events where account_id is null") == 20)
      #expect(
        try await pool.number("select deadlocks from pg_stat_database where datname = current_database()") == 0)
    }
  }

  @Test(
    """
    events that are inserted with psql are chained, including many rows of several accounts in one statement, and \
    their own numbers are ignored
    """
  )
  func typed() async throws {
    try await withPool { pool in
      let world = World(pool)
      _ = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      try await pool.script(
        """
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind, seq, prev_hash, hash)
        select gen_random_uuid(), account.id, 'command', 'psql', 'x', 'x', 77, sha256('a'), sha256('b')
        from generate_series(1, 10), (select id from accounts union all select null) account
        """)
      #expect(try await findings(pool) == [])
      #expect(
        try await pool.lines("select max(seq) from audit_events group by account_id order by 1") == ["10", "11", "11"])
    }
  }

  @Test("a change that is rolled back leaves no gap")
  func rollback() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.makeKeys(24, account)
      let outcomes = await concurrently(10) { _ in try await world.makeKey(account) }
      #expect(outcomes.errors.count == 9)
      try await pool.script(
        """
        begin;
        insert into audit_events (id, actor_kind, actor_name, action, target_kind) values (gen_random_uuid(), 'job', '',
          '', '');
        rollback
        """)
      try await world.makeKey(try await world.makeAccount("bob@example.com"))
      #expect(try await findings(pool) == [])
      #expect(try await pool.number("select max(seq) from audit_events") == 26)
    }
  }

  @Test(
    "an insert that adds no event because of a conflict leaves no gap")
  func conflict() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      // One of the two rows is the existing event.
      try await pool.script(
        """
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
        select case number when 1 then id else gen_random_uuid() end, account_id, actor_kind, actor_name, 'x',
          target_kind
        from audit_events, generate_series(1, 2) number where account_id = '\(account)'
        on conflict do nothing
        """)
      try await world.makeKey(account)
      #expect(try await world.actions(on: account) == ["account.created", "x", "key.created"])
      #expect(try await findings(pool) == [])
    }
  }

  @Test("events that a statement skips, or that are rolled back to a savepoint, leave no gap")
  func leftOut() async throws {
    try await withPool { pool in
      let account = try await World(pool).makeAccount()
      try await pool.script(
        """
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
        select case when number % 3 = 0 then known.id else gen_random_uuid() end, account_id, 'job', 'x', 'x', 'x'
        from generate_series(1, 30) number, (
          select id, account_id from audit_events where account_id = '\(account)') known
        order by number
        on conflict do nothing
        """)
      let insert = """
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
        select gen_random_uuid(), '\(account)', 'job', 'x', 'x', 'x' from generate_series(1, 3)
        """
      try await pool.script("begin; \(insert); savepoint here; \(insert); rollback to here; \(insert); commit")
      #expect(try await findings(pool) == [])
      #expect(try await pool.number("select max(seq) from audit_events where account_id = '\(account)'") == 27)
    }
  }

  @Test(
    "a forged setting latchkey.audit_chain cannot break the chain",
    arguments: [
      // Another hash, another number, the end of another trail, and no end at all.
      (#"regexp_replace(current_setting('latchkey.audit_chain'), '[0-9a-f]{64}$', repeat('ab', 32))"#, true),
      (#"regexp_replace(current_setting('latchkey.audit_chain'), ' \d+ ([0-9a-f]{64})$', ' 70 \1')"#, true),
      ("gen_random_uuid() || ' 1 1 ' || repeat('ab', 32)", false), ("''", false), ("'x'", false),
    ])
  func forgedSetting(_ setting: String, _ isRefused: Bool) async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let insert = """
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
        select gen_random_uuid(), '\(account)', 'job',
          case number when 2 then set_config('latchkey.audit_chain', \(setting), true) else 'x' end, 'x', 'x'
        from generate_series(1, 3) number
        """
      if isRefused {
        let error = await #expect(throws: PostgresError.self) { try await pool.script(insert) }
        #expect(error?.sqlState == "23000")
      } else {
        try await pool.script(insert)
      }
      try await world.makeKey(account)
      #expect(try await findings(pool) == [])
      #expect(
        try await pool.number("select max(seq) from audit_events where account_id = '\(account)'")
          == (isRefused ? 2 : 5))
    }
  }

  @Test("events with all kinds of fields have the hash of their encoding")
  func encoding() async throws {
    try await withPool { pool in
      let account = try await World(pool).makeAccount()
      try await pool.script(
        """
        insert into audit_events
          (id, account_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, reason, ticket, detail, ip)
        select gen_random_uuid(), case when number % 2 = 0 then '\(account)'::uuid end, 'job',
          case when number % 3 = 0 then gen_random_uuid() end, repeat(chr(31 + number), number % 5), 'x\\', 'ü',
          case when number % 5 <> 0 then gen_random_uuid() end,
          case when number % 7 <> 0 then repeat('€\\', number % 4) end,
          case when number % 11 <> 0 then '\\x' || number end,
          case when number % 2 = 0 then repeat('é\\', number % 3) end,
          case number % 6 when 0 then inet '192.0.2.1' when 1 then '10.0.0.0/8' when 2 then '2001:db8::1'
            when 3 then '2001:db8::/32' when 4 then '::ffff:192.0.2.1' end
        from generate_series(1, 300) number
        """)
      #expect(try await findings(pool) == [])
      #expect(
        try await pool.number("select count(*) from audit_events event where hash <> audit_event_hash(event)") == 0)
    }
  }

  @Test("events of several trails in one statement are chained in the statement's order")
  func oneStatement() async throws {
    try await withPool { pool in
      let world = World(pool)
      let accounts = [try await world.makeAccount(), try await world.makeAccount("bob@example.com")]
      let trails = accounts.map { "'\($0)'::uuid" } + ["null"]
      try await pool.script(
        """
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind, reason, ip)
        select gen_random_uuid(), (array[\(trails.joined(separator: ","))])[1 + abs(hashint4(number)) % 3], 'job',
          'brought',
          number::text, 'x', case when number % 2 = 0 then 'ü' end, case when number % 5 = 0 then inet '192.0.2.1' end
        from generate_series(1, 600) brought (number) order by brought.number
        """)
      let counts = try await pool.lines(
        """
        select count(*) || ' ' || bool_and(in_order) from (
          select account_id,
            seq > coalesce(lag(seq) over (partition by account_id order by action::integer), 0) as in_order
          from audit_events where actor_name = 'brought') events
        group by account_id order by account_id nulls last
        """)
      #expect(counts.count == 3 && counts.allSatisfy { $0.hasSuffix("true") }, "\(counts)")
      #expect(try await findings(pool) == [])
      try await world.makeKey(accounts[0])
      #expect(try await findings(pool) == [])
    }
  }

  @Test("a statement writes the head of a trail once, however many events it inserts")
  func oneHead() async throws {
    try await withPool { pool in
      let account = try await World(pool).makeAccount()
      let writes = try await pool.withConnection { connection in
        // The count may include transactions that this connection has just ended.
        let count = "select n_tup_upd from pg_stat_xact_user_tables where relname = 'audit_heads'"
        try await connection.executeScript("begin")
        let before = try await connection.text(count).flatMap { Int($0) } ?? 0
        try await connection.executeScript(
          """
          insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
          select gen_random_uuid(), '\(account)', 'job', 'x', 'x', 'x' from generate_series(1, 1000)
          """)
        let after = try await connection.text(count).flatMap { Int($0) } ?? 0
        try await connection.executeScript("commit")
        return after - before
      }
      #expect(writes == 1)
      #expect(try await findings(pool) == [])
    }
  }

  @Test("concurrent statements of many events form one chain")
  func manyStatements() async throws {
    try await withPool { pool async throws in
      let account = try await World(pool).makeAccount()
      let outcomes = await concurrently(12) { _ async throws in
        for _ in 0..<5 {
          try await pool.script(
            """
            insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
            select gen_random_uuid(), '\(account)', 'job', 'x', 'x', 'x' from generate_series(1, 20)
            """)
        }
      }
      #expect(outcomes.errors.isEmpty)
      #expect(try await pool.number("select max(seq) from audit_events where account_id = '\(account)'") == 1_201)
      #expect(try await findings(pool) == [])
    }
  }

  @Test("an event that was forged after the head is not continued", arguments: [1, 3])
  func forgedBehindHead(_ count: Int) async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await pool.script(
        """
        set session_replication_role = replica;
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind, seq, prev_hash, hash)
        select gen_random_uuid(), '\(account)', 'job', 'x', 'x', 'x', head.seq + number, head.hash, sha256('x')
        from audit_heads head, generate_series(1, \(count)) number where account_id = '\(account)';
        reset session_replication_role
        """)
      let error = await #expect(throws: PostgresError.self) { try await world.makeKey(account) }
      #expect(error?.sqlState == "23000")
      let found = try await findings(pool)
      #expect(found.contains { $0.hasPrefix("2") }, "\(found)")
    }
  }

  @Test(
    "heads are written by events alone; even a superuser is refused",
    arguments: [
      "update audit_heads set seq = seq", "update audit_heads set hash = sha256('a')", "delete from audit_heads",
      "truncate audit_heads", "insert into audit_heads values (gen_random_uuid(), 1, sha256('a'))",
    ])
  func heads(_ change: String) async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let error = await #expect(throws: PostgresError.self) { try await pool.script(change) }
      #expect(error?.sqlState == "42501")
      #expect(try await findings(pool) == [])
    }
  }

  @Test("a role that may only add events needs no right to the heads, and cannot shadow their table")
  func rights() async throws {
    try await withPool { pool in
      let account = try await World(pool).makeAccount()
      let role = "writer_\(UUID().uuidString.prefix(8).lowercased())"
      try await pool.script(
        """
        create role \(role);
        grant latchkey_portal to \(role);
        grant temporary on database \(try await pool.text("select current_database()") ?? "") to \(role);
        """)
      try await pool.withConnection { connection in
        try await connection.executeScript(
          """
          set role \(role);
          set latchkey.account_id = '\(account)';
          create temporary table audit_heads (account_id uuid, seq bigint, hash bytea);
          insert into audit_heads values ('\(account)', 70, sha256('a'));
          insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
            values (gen_random_uuid(), '\(account)', 'user', 'x', 'x', 'x');
          reset role;
          drop table pg_temp.audit_heads;
          """)
        let error = await #expect(throws: PostgresError.self) {
          try await connection.executeScript("set role \(role); update audit_heads set seq = 7")
        }
        #expect(error?.sqlState == "42501")
        try await connection.executeScript("reset role; drop owned by \(role); drop role \(role)")
      }
      #expect(try await findings(pool) == [])
      #expect(try await pool.number("select max(seq) from audit_events") == 2)
    }
  }

  // MARK: Tampering

  /// Runs `change` with the triggers off, and returns the findings. Ada's trail has the numbers 1 to 6; `:it` is the id
  /// of her account.
  private func tampered(_ change: String) async throws -> [String] {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.makeKeys(5, account)
      _ = try await world.makeKeys(2, try await world.makeAccount("bob@example.com"))
      _ = try await world.tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller)
      #expect(try await findings(pool) == [])
      try await pool.script(
        """
        set session_replication_role = replica;
        drop index audit_events_chain_unique;
        \(change.replacing(":it", with: "'\(account)'"));
        """)
      let all = try await findings(pool)
      // The findings are in this chain alone, and the same if only this chain is verified.
      let alone = try await findings(pool, .account(account))
      if !change.contains("set account_id") { #expect(all == alone) }
      return all
    }
  }

  @Test(
    "an edited event is found, whichever field was edited",
    arguments: [
      "id = gen_random_uuid()", "at = at + interval '1 microsecond'", "actor_kind = 'staff'",
      "actor_id = gen_random_uuid()", "actor_name = actor_name || ' '", "action = 'key.revoked'",
      "target_kind = 'account'", "target_id = gen_random_uuid()", "target_id = null", "reason = ''", "ticket = 'T-1'",
      "detail = ''", "detail = 'from viewer to admin'", "ip = '::1'", "hash = sha256('a')", "prev_hash = sha256('a')",
    ])
  func edited(_ change: String) async throws {
    let found = try await tampered("update audit_events set \(change) where account_id = :it and seq = 3")
    #expect(found.contains { $0.hasPrefix("3: its fields do not match its hash") }, "\(found)")
    #expect(!found.contains { $0.hasPrefix("1") || $0.hasPrefix("2") || $0.hasPrefix("5") }, "\(found)")
  }

  @Test(
    "an edited event with a recomputed hash is found at the next event, or at the head",
    arguments: [
      (1, "2: does not continue"), (3, "4: does not continue"), (6, "6: the chain's head has another hash"),
    ])
  func rehashed(_ seq: Int, _ expected: String) async throws {
    let found = try await tampered(
      """
      update audit_events set reason = 'nothing' where account_id = :it and seq = \(seq);
      update audit_events event set hash = audit_event_hash(event) where account_id = :it and seq = \(seq)
      """)
    #expect(found.count == 1 && found[0].hasPrefix(expected), "\(found)")
  }

  @Test(
    "removed events are found, including the last ones",
    arguments: [
      ("seq = 1", "2: event 1 is missing"), ("seq = 3", "4: event 3 is missing"),
      ("seq between 2 and 4", "5: events 2 to 4 are missing"), ("seq = 6", "-: event 6 is missing at the end"),
      ("seq > 2", "-: events 3 to 6 are missing at the end"), ("true", "-: events 1 to 6 are missing at the end"),
    ])
  func removed(_ which: String, _ expected: String) async throws {
    let found = try await tampered("delete from audit_events where account_id = :it and \(which)")
    #expect(found.count == 1 && found[0].hasPrefix(expected), "\(found)")
  }

  @Test("swapped events are found")
  func swapped() async throws {
    let found = try await tampered(
      "update audit_events set seq = 7 - seq where account_id = :it and seq in (3, 4)")
    #expect(found.contains { $0.hasPrefix("3: ") } && found.contains { $0.hasPrefix("4: ") }, "\(found)")
    let rehashed = try await tampered(
      """
      update audit_events set seq = 7 - seq where account_id = :it and seq in (3, 4);
      update audit_events event set hash = audit_event_hash(event) where account_id = :it
      """)
    #expect(rehashed.contains { $0.hasPrefix("3: does not continue") }, "\(rehashed)")
  }

  @Test("an event that was moved to another account is found in both trails")
  func moved() async throws {
    let found = try await tampered(
      """
      update audit_events set account_id = (select id from accounts where id <> :it) where account_id = :it and seq = 3
      """)
    #expect(found.contains { $0.hasPrefix("4: event 3 is missing") }, "\(found)")
    #expect(found.contains { $0.hasPrefix("3: its number is taken or out of order") }, "\(found)")
  }

  @Test(
    "an inserted event is found: with an existing number, after the last event, and before the first",
    arguments: [
      (4, "4: its number is taken"), (7, "7: is beyond the chain's head"),
      (0, "0: its number is taken or out of order"),
    ])
  func inserted(_ seq: Int, _ expected: String) async throws {
    let found = try await tampered(
      """
      insert into audit_events (id, account_id, seq, actor_kind, actor_name, action, target_kind, prev_hash, hash)
        select gen_random_uuid(), account_id, \(seq), 'user', 'x', 'x', 'x', hash, hash from audit_events
        where account_id = :it and seq = least(greatest(\(seq) - 1, 1), 6);
      update audit_events event set hash = audit_event_hash(event) where account_id = :it and actor_name = 'x'
      """)
    #expect(found.contains { $0.hasPrefix(expected) }, "\(found)")
  }

  @Test("a head that was removed or set back is found")
  func headTampered() async throws {
    let removed = try await tampered("delete from audit_heads where account_id = :it")
    #expect(removed.count == 1 && removed[0].hasPrefix("-: the chain has no head"), "\(removed)")
    let setBack = try await tampered("update audit_heads set seq = 5 where account_id = :it")
    #expect(setBack.count == 1 && setBack[0].hasPrefix("6: is beyond the chain's head"), "\(setBack)")
  }

  @Test("removing the last events and setting back the head is found with a head that was kept elsewhere")
  func kept() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.makeKeys(3, account)
      guard case .intact(let head)? = try await verify(pool, .account(account)).first else {
        Issue.record("not intact")
        return
      }
      try await world.makeKey(account)
      #expect(try await findings(pool, expecting: [head]) == [])
      try await pool.script(
        """
        set session_replication_role = replica;
        delete from audit_events where seq > 3;
        update audit_heads set (seq, hash) = (select seq, hash from audit_events where seq = 3)
        """)
      #expect(try await findings(pool) == [])
      #expect(
        try await findings(pool, expecting: [head]) == ["4: does not have the expected hash, \(head.hash)"])
      try await pool.script("set session_replication_role = replica; delete from audit_events; delete from audit_heads")
      #expect(try await findings(pool) == [])
      #expect(try await findings(pool, expecting: [head]).count == 1)
    }
  }

  @Test("long chains are verified in parts, in one snapshot, while events are added")
  func long() async throws {
    try await withPool { pool in
      let account = try await World(pool).makeAccount()
      let insert = """
        insert into audit_events (id, account_id, actor_kind, actor_name, action, target_kind)
        select gen_random_uuid(), '\(account)', 'command', 'psql', 'x', 'x' from generate_series(1, 3500)
        """
      try await pool.script(insert)
      var steps: [Int] = []
      let verification = try await AuditChains(pool: pool).verify(progress: { steps.append($0) }) { _ in }
      #expect(verification == AuditVerification(chainCount: 1, eventCount: 3_501, findingCount: 0))
      #expect(steps == [1_000, 2_000, 3_000, 3_501])
      async let adding: Void = pool.script(insert)
      while try await AuditChains(pool: pool).verify(nil, { _ in }).eventCount == 3_501 {}
      try await adding
      #expect(try await findings(pool) == [])
    }
  }
}
