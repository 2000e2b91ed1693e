import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Changing a key")
struct UpdateKeyTests {
  @Test("concurrent changes and a revocation leave the key revoked, with no change after the revocation")
  func revokeMeanwhile() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      for round in 0..<20 {
        let id = try await world.makeKey(account).key.id
        let outcomes = await concurrently(4) { index -> Bool in
          if index == 0 {
            _ = try await world.keys.revoke(id, of: account, by: World.caller)
          } else {
            _ = try await world.keys.update(
              id, of: account, KeyChanges(name: "n\(round)-\(index)", isEnabled: index == 1), by: World.caller)
          }
          return true
        }
        #expect(outcomes.values.count + outcomes.count(of: .keyNotActive) == 4)
        #expect(try await world.keys.find(id, of: account).status(at: Date()) == .revoked)
        let actions = try await pool.lines(
          "select action from audit_events where target_id = '\(id)' order by seq")
        #expect(actions.last == "key.revoked" && actions.count == outcomes.values.count + 1)
      }
    }
  }

  @Test("if the audit event cannot be written, nothing is changed or revoked")
  func auditInSameTransaction() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let before = try await world.makeKey(account).key
      try await pool.script("alter table audit_events add constraint closed check (actor_name <> 'test') not valid")
      await #expect(throws: PostgresError.self) {
        try await world.keys.update(before.id, of: account, KeyChanges(name: "x"), by: World.caller)
      }
      await #expect(throws: PostgresError.self) { try await world.keys.revokeAll(of: account, by: World.caller) }
      #expect(try await world.keys.list(of: account).items == [before])
    }
  }

  @Test("the database increments the revision for actual changes, and only for these")
  func revision() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      func revision() async throws -> Int { try await world.keys.find(id, of: account).revision }
      #expect(try await revision() == 1)
      try await pool.script("update api_keys set name = 'x'; update api_keys set name = 'x'")
      #expect(try await revision() == 2)
      try await pool.script("update api_keys set revision = 1")
      #expect(try await revision() == 3)
    }
  }

  @Test("the database also limits descriptions, tags, metadata and creators of keys")
  func constraints() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await world.makeKey(try await world.makeAccount())
      for change in [
        "description = repeat('x', 501)", "tags = array_fill('x'::text, array[17])", "metadata = '[]'",
        "metadata = 'x'", "metadata = '{\"a\":\"' || repeat('x', 4090) || '\"}'", "created_by_kind = 'somebody'",
        "created_by_name = null",
      ] {
        await #expect(throws: PostgresError.self, "\(change)") {
          try await pool.script("update api_keys set \(change)")
        }
      }
    }
  }

  @Test("one statement revokes all keys, even ten thousand, and a concurrent roll leaves no key unrevoked")
  func revokeAll() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let id = try await world.makeKey(account).key.id
      try await pool.script(
        """
        insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes)
        select gen_random_uuid(), '\(account)', 'Key', 'lk_live_abcd', sha256(n::text::bytea), 'live', '{a}'
        from generate_series(1, 10000) n
        """)
      let outcomes = await concurrently(2) { index -> Int in
        if index == 0 { return try await world.keys.revokeAll(of: account, by: World.caller).count }
        _ = try await world.keys.roll(id, of: account, graceSeconds: 60, by: World.caller)
        return 0
      }
      let revoked = outcomes.values.max() ?? 0
      #expect(revoked >= 10_000)
      #expect(outcomes.values.count + outcomes.count(of: .keyNotActive) == 2)
      let rest = try await world.keys.revokeAll(of: account, by: World.caller).count
      #expect(rest <= 1)
      #expect(try await pool.number("select count(*) from api_keys where revoked_at is null") == 0)
      #expect(try await world.actions(on: account).count { $0 == "key.revoked" } == revoked + rest)
    }
  }
  @Test("all keys of an account are revoked, each with its event, also if one statement does not reach them all")
  func many() async throws {
    try await withPool { pool async throws in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.insertKeys(upTo: RevokeAllKeys.countMax + 1, account)
      let count = try await world.keys.revokeAll(of: account, by: World.caller).count
      #expect(count == RevokeAllKeys.countMax + 1)
      #expect(try await pool.number("select count(*) from api_keys where revoked_at is null") == 0)
      #expect(try await world.actions(on: account).count { $0 == "key.revoked" } == count)
    }
  }
}
