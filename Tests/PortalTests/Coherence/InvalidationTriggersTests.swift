import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

/// The rows of the invalidation log for a change, however it is made.
@Suite("Invalidation triggers")
struct InvalidationTriggersTests {
  /// The log from the start, one line per row.
  private func log(_ pool: PostgresPool) async throws -> [String] {
    try await pool.lines(
      """
      select concat_ws(' ', seq, kind, coalesce(account_id, token_id, namespace_id), key_id) from invalidation_log
      order by seq, kind, account_id
      """)
  }

  /// Starts a new log after a test's preparations.
  private func empty(_ pool: PostgresPool) async throws {
    try await pool.script("delete from invalidation_log; update invalidation_head set seq = 0")
  }

  @Test("a statement that touches one key logs the key; one that touches several logs their accounts, each once")
  func keys() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let key = try await world.makeKey(one).key.id
      _ = try await world.makeKeys(3, one)
      _ = try await world.makeKeys(2, other)
      try await empty(pool)
      try await pool.script("update api_keys set revoked_at = now() where id = '\(key)'")
      #expect(try await log(pool) == ["1 key \(one.text) \(key.text)"])
      try await empty(pool)
      try await pool.script("update api_keys set name = 'x'")
      #expect(Set(try await log(pool).map { $0.dropFirst(2) }) == ["account \(one.text)", "account \(other.text)"])
      try await empty(pool)
      try await pool.script("delete from api_keys where id = '\(key)'")
      #expect(try await log(pool) == ["1 key \(one.text) \(key.text)"])
    }
  }

  @Test("a key that moves to another account is logged under its former account")
  func moved() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let key = try await world.makeKey(one).key.id
      try await empty(pool)
      try await pool.script("update api_keys set account_id = '\(other)'")
      #expect(try await log(pool) == ["1 key \(one.text) \(key.text)"])
    }
  }

  @Test("accounts, service tokens and plans are logged; a plan and a truncated table as everything")
  func others() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let token = try await world.tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller).id
      try await empty(pool)
      try await pool.script("update accounts set suspended_at = now()")
      try await pool.script("update service_tokens set revoked_at = now()")
      try await pool.script("update plans set key_cap = 3")
      // Also what keys are granted.
      try await pool.script("truncate api_keys cascade")
      try await pool.script("delete from service_tokens")
      #expect(
        try await log(pool) == [
          "1 account \(account.text)", "2 service_token \(token.text)", "3 everything", "4 everything",
          "5 everything", "6 everything", "7 service_token \(token.text)",
        ])
    }
  }

  @Test("a namespace is logged when it or one of its overrides changes, once for a statement; truncating as everything")
  func limitNamespaces() async throws {
    try await withPool { pool in
      try await pool.script(
        """
        insert into limit_namespaces (id, name, name_hash)
        select md5(name)::uuid, name, sha256(convert_to(name, 'UTF8')) from unnest('{a,b}'::text[]) name
        """)
      #expect(try await pool.number("select count(*) from invalidation_log") == 1)
      try await empty(pool)
      let ids = try await pool.lines("select id from limit_namespaces order by name")
      #expect(ids.count == 2)
      try await pool.script(
        """
        insert into limit_overrides (id, namespace_id, identifier, limit_value, window_milliseconds)
        select gen_random_uuid(), id, n::text, 1, 1000 from limit_namespaces, generate_series(1, 2) n where name = 'a'
        """)
      #expect(try await log(pool) == ["1 limit_namespace \(ids[0])"])
      try await empty(pool)
      try await pool.script("update limit_overrides set namespace_id = '\(ids[1])' where identifier = '2'")
      #expect(Set(try await log(pool).map { $0.dropFirst(2) }) == Set(ids.map { "limit_namespace " + $0 }))
      try await empty(pool)
      try await pool.script("delete from limit_overrides where identifier = '2'")
      try await pool.script("update limit_namespaces set name = name where name = 'a'")
      #expect(try await log(pool) == ["1 limit_namespace \(ids[1])", "2 limit_namespace \(ids[0])"])
      try await empty(pool)
      try await pool.script("delete from limit_namespaces where name = 'b'")
      #expect(try await log(pool) == ["1 limit_namespace \(ids[1])"])
      try await empty(pool)
      try await pool.script("truncate limit_overrides")
      #expect(try await log(pool) == ["1 everything"])
    }
  }

  @Test("a statement that touches nothing logs nothing")
  func nothing() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await world.makeKey(try await world.makeAccount())
      try await empty(pool)
      try await pool.script(
        """
        update api_keys set name = 'x' where false; delete from accounts where false;
        insert into service_tokens select * from service_tokens where false
        """)
      #expect(try await log(pool) == [])
    }
  }

  /// Otherwise a history that has lost only new keys could not be distinguished from one that has them all.
  @Test("a statement that creates keys or service tokens logs one of them, however many it creates")
  func made() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await empty(pool)
      let key = try await world.makeKey(account).key.id
      let token = try await world.tokens.create(name: "gateway", permissions: [.verifyKeys], by: World.caller).id
      #expect(try await log(pool) == ["1 key \(account.text) \(key.text)", "2 service_token \(token.text)"])
      let copies = """
        insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes)
        select gen_random_uuid(), account_id, name, key_start, sha256(number::text::bytea), environment, scopes
        from api_keys, generate_series(1, 5) number
        """
      try await pool.script(copies)
      #expect(try await pool.number("select count(*) from invalidation_log") == 3)
      // The first two exist, three are new.
      try await pool.script(
        copies.replacing("(1, 5) number", with: "(4, 8) number where api_keys.id = '\(key)'")
          + " on conflict (key_hash) do update set name = 'again'")
      #expect(
        try await pool.lines("select kind from invalidation_log where seq > 3 order by kind") == ["account", "key"])
      #expect(try await pool.number("select seq from invalidation_head") == 5)
    }
  }

  /// As an operator imports keys, with psql.
  @Test("COPY into api_keys logs one of the keys and moves the head by one")
  func copied() async throws {
    try await withDatabase { database in
      try await PostgresPool.with(database.configuration) { pool in
        let account = try await World(pool).makeAccount()
        try await empty(pool)
        let before = try await pool.text("select mark from invalidation_head")
        let ids = (1...3).map { _ in UUID.version7() }
        let rows = ids.map { id in
          let hash = SecretHash(of: id.text.utf8).bytes.map { String(format: "%02x", $0) }.joined()
          return #"\#(id.text),\#(account.text),Key,lk_live_0000,\x\#(hash),live,{a}"#
        }
        let script = """
          copy api_keys (id, account_id, name, key_start, key_hash, environment, scopes) from stdin (format csv);
          \(rows.joined(separator: "\n"))
          \\.

          """
        let copied = try await run(
          "/usr/bin/env", ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", database.url], input: script)
        #expect(copied.status == 0, "\(copied)")
        #expect(try await pool.number("select count(*) from api_keys") == 3)
        let logged = try await log(pool)
        #expect(logged.count == 1 && ids.contains { logged == ["1 key \(account.text) \($0.text)"] }, "\(logged)")
        #expect(try await pool.number("select seq from invalidation_head") == 1)
        #expect(try await pool.text("select mark from invalidation_head") != before)
        #expect(try await pool.text("select follows from invalidation_log") == before)
      }
    }
  }

  @Test("a change that is rolled back logs nothing and leaves no gap")
  func rolledBack() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await world.makeKey(try await world.makeAccount())
      try await empty(pool)
      try await pool.script("update api_keys set name = 'a'")
      try await pool.script("begin; update api_keys set name = 'b'; rollback")
      try await pool.script("begin; savepoint s; update api_keys set name = 'c'; rollback to s; commit")
      try await pool.script("update api_keys set name = 'd'")
      #expect(try await log(pool).map { $0.prefix(2) } == ["1 ", "2 "])
      #expect(try await pool.number("select seq from invalidation_head") == 2)
    }
  }

  /// Otherwise a long transaction of support would block every revocation.
  @Test("an uncommitted change does not block the commit of another change")
  func deferred() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let keys = try await world.makeKeys(2, account).map(\.key.id)
      try await empty(pool)
      try await pool.withConnection { first in
        try await first.executeScript("begin; update api_keys set name = 'x' where id = '\(keys[0])'")
        try await pool.script("set lock_timeout = '5s'; update api_keys set name = 'y' where id = '\(keys[1])'")
        #expect(try await log(pool) == ["1 key \(account.text) \(keys[1].text)"])
        try await first.executeScript("commit")
      }
      #expect(try await log(pool).last == "2 key \(account.text) \(keys[0].text)")
    }
  }

  /// A sequence cannot guarantee this: a reader that sees the head at n has all rows up to n, for ever.
  @Test("with twenty concurrent writers, some of whose changes are rolled back, the log has no gaps and no late rows")
  func gapless() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let keys = try await world.makeKeys(20, account).map(\.key.id)
      try await empty(pool)
      async let writing = concurrently(20) { index in
        for round in 0..<8 {
          if round % 4 == 3 {
            try await pool.script("begin; update api_keys set name = 'x' where id = '\(keys[index])'; rollback")
          } else {
            try await pool.script(
              """
              begin;
              savepoint first;
              update api_keys set name = 'x' where id = '\(keys[index])';
              rollback to first;
              update api_keys set name = 'a\(round)' where id = '\(keys[index])';
              savepoint second;
              update api_keys set name = 'y' where id = '\(keys[index])';
              rollback to second;
              update api_keys set name = 'b\(round)' where id = '\(keys[index])';
              savepoint third;
              update api_keys set name = 'z' where id = '\(keys[index])';
              rollback to third;
              commit
              """)
          }
        }
      }
      var lookCount = 0
      var marks: [Int: Set<String>] = [:]
      while true {
        let isOver = try await pool.number("select seq from invalidation_head") == 20 * 6 * 2
        let missing = try await pool.number(
          "select head.seq - (select count(*) from invalidation_log where seq <= head.seq) from invalidation_head head")
        #expect(missing == 0)
        let head = try await pool.text("select seq || ' ' || mark from invalidation_head") ?? ""
        if let seq = head.split(separator: " ").first.flatMap({ Int($0) }) { marks[seq, default: []].insert(head) }
        lookCount += 1
        if isOver || lookCount > 100_000 { break }
      }
      #expect(await writing.errors.isEmpty)
      #expect(
        try await pool.number("select count(distinct seq) from invalidation_log where seq between 1 and 240") == 240)
      #expect(try await pool.number("select count(*) from invalidation_log") == 240)
      // A reader that saw the head at a number finds its mark at that time in the row of the next number.
      let links = Set(
        try await pool.lines(
          """
          select seq - 1 || ' ' || follows from invalidation_log
          union all select seq || ' ' || mark from invalidation_head
          """))
      #expect(links.count == 241)
      #expect(!marks.isEmpty && marks.values.allSatisfy { $0.count == 1 && links.isSuperset(of: $0) })
    }
  }

  /// Otherwise a crash could lose a revocation that was acknowledged.
  @Test("a change of a key waits for the disk, even if its session does not otherwise")
  func synchronousCommit() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await world.makeKey(try await world.makeAccount())
      for (setting, expected) in [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")] {
        try await pool.withConnection { connection in
          try await connection.executeScript(
            """
            begin; set local synchronous_commit = '\(setting)';
            update api_keys set revoked_at = now(); set constraints all immediate
            """)
          #expect(try await connection.text("select current_setting('synchronous_commit')") == expected)
          try await connection.executeScript("rollback")
        }
      }
    }
  }
}
