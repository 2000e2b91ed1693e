import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Idempotent creation and rolling of keys")
struct KeysOnceTests {
  private let holder = Secret.random(prefix: "lk_session")

  private func once(
    _ account: UUID, _ key: String = "once", _ text: String = "create", holder: Secret? = nil
  ) throws -> IdempotentRequest {
    try #require(
      IdempotentRequest(key: key, request: text.utf8, accountID: account, holder: holder ?? self.holder))
  }

  private func create(_ world: World, _ request: IdempotentRequest) async throws -> FirstAnswer {
    let now = try await world.keys.now()
    return try await world.idempotency.once(request, of: request.accountID) { transaction in
      let issued = try await world.keys.create(
        .plain, for: request.accountID, by: World.caller, at: now, on: transaction)
      return FirstAnswer(
        objects: ["\(issued.key.start ?? "") \(issued.key.status(at: Date()))"], newID: issued.key.id,
        secret: issued.secret)
    }
  }

  private func roll(_ world: World, _ id: UUID, _ request: IdempotentRequest) async throws -> FirstAnswer {
    let now = try await world.keys.now()
    return try await world.idempotency.once(request, of: request.accountID) { transaction in
      let (successor, predecessor, ended) = try await world.keys.roll(
        id, of: request.accountID, graceSeconds: 60, by: World.caller, at: now, on: transaction)
      return FirstAnswer(
        objects: ([successor.key, predecessor] + ended).map { $0.start ?? "" }, newID: successor.key.id,
        secret: successor.secret)
    }
  }

  @Test("fifty concurrent creates with one idempotency key create one key and get the same answer; rolls do, too")
  func races() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let made = await concurrently(50) { _ in try await create(world, once(account)) }
      #expect(made.errors.isEmpty, "\(made.errors)")
      #expect(Set(made.values.map(\.newID)).count == 1 && Set(made.values.map { $0.secret?.reveal() }).count == 1)
      #expect(Set(made.values.map(\.objects)).count == 1)
      let id = try #require(made.values.first?.newID)
      let rolled = await concurrently(50) { _ in try await roll(world, id, once(account, "roll", "roll")) }
      #expect(rolled.errors.isEmpty, "\(rolled.errors)")
      #expect(
        Set(rolled.values.map(\.newID)).count == 1 && Set(rolled.values.map { $0.secret?.reveal() }).count == 1)
      #expect(try await pool.number("select count(*) from api_keys") == 2)
      #expect(
        try await world.actions(on: account) == ["account.created", "key.created", "key.created", "key.rolled"])
    }
  }

  @Test("a roll that ended a key in its grace has that key in each answer, and ends it once")
  func ended() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      let first = try await roll(world, key.id, once(account, "first", "first"))
      #expect(first.objects.count == 2 && first.objects[1] == key.start)
      let second = try await roll(world, first.newID, once(account, "second", "second"))
      #expect(second.objects == [second.objects[0], first.objects[0], key.start ?? ""])
      let third = try await roll(world, second.newID, once(account, "third", "third"))
      let outcomes = await concurrently(20) { _ in
        try await roll(world, first.newID, once(account, "second", "second")).objects
      }
      #expect(outcomes.values == Array(repeating: second.objects, count: 20))
      #expect(try await world.keys.find(second.newID, of: account).status(at: Date()) == .active)
      #expect(try await world.keys.find(third.newID, of: account).status(at: Date()) == .active)
      #expect(try await world.actions(on: account).count { $0 == "key.revoked" } == 2)
    }
  }

  @Test("any operation is executed once, also one without a secret")
  func anyVerb() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let outcomes = await concurrently(20) { index in
        try await world.idempotency.once(once(account), of: account) { _ in
          FirstAnswer(objects: [#"{"number":\#(index)}"#], newID: .version7(), secret: nil)
        }
      }
      #expect(outcomes.errors.isEmpty, "\(outcomes.errors)")
      #expect(Set(outcomes.values.map(\.objects)).count == 1 && Set(outcomes.values.map(\.newID)).count == 1)
      #expect(try await pool.number("select count(*) from idempotent_requests") == 1)
    }
  }

  @Test("each of many concurrent idempotency keys creates one API key")
  func manyRaces() async throws {
    try await withPool { pool in
      let world = World(pool)
      let accounts = [try await world.makeAccount(), try await world.makeAccount("bob@example.com")]
      let made = await concurrently(120) { index in
        try await create(world, once(accounts[index % 2], "key \(index % 20)"))
      }
      #expect(made.errors.isEmpty, "\(made.errors)")
      #expect(Set(made.values.map(\.newID)).count == 20)
      #expect(try await pool.number("select count(*) from api_keys") == 20)
    }
  }

  @Test("a different request with the same key conflicts and changes nothing; in another account the key is free")
  func conflict() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (one, other) = (try await world.makeAccount(), try await world.makeAccount("bob@example.com"))
      let first = try await create(world, once(one))
      await #expect(throws: PortalError.idempotencyConflict) { try await create(world, once(one, "once", "other")) }
      await #expect(throws: PortalError.idempotencyConflict) {
        try await roll(world, first.newID, once(one, "once", "roll"))
      }
      await #expect(throws: PortalError.idempotencyConflict) {
        try await world.idempotency.firstAnswer(to: once(one, "once", "other"))
      }
      #expect(try await create(world, once(other)).newID != first.newID)
      #expect(try await pool.number("select count(*) from api_keys where rolled_at is null") == 2)
    }
  }

  @Test("a repeat gets the first answer, whatever has happened to the key, the account and its cap since")
  func first() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let first = try await create(world, once(account))
      #expect(first.objects[0].hasSuffix(" active"))
      _ = try await world.keys.revoke(first.newID, of: account, by: World.caller)
      _ = try await world.makeKeys(25, account)
      _ = try await world.desk.setSuspension(of: account, to: true, by: World.caller, SupportReason(text: "because"))
      let again = try await create(world, once(account))
      #expect(again.objects == first.objects && again.newID == first.newID)
      #expect(try await world.idempotency.firstAnswer(to: once(account))?.objects == first.objects)
    }
  }

  @Test("a refusal is not stored: once its reason is gone, the same request creates a key")
  func refusals() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let keys = try await world.makeKeys(25, account)
      await #expect(throws: PortalError.keyCapReached(cap: 25)) { try await create(world, once(account)) }
      await #expect(throws: PortalError.notFound) { try await roll(world, .version7(), once(account)) }
      #expect(try await world.idempotency.firstAnswer(to: once(account)) == nil)
      _ = try await world.keys.revoke(keys[0].key.id, of: account, by: World.caller)
      #expect(try await create(world, once(account)).secret != nil)
      await #expect(throws: PortalError.keyNotActive) { try await roll(world, keys[0].key.id, once(account, "roll")) }
      #expect(try await pool.number("select count(*) from idempotent_requests") == 1)
    }
  }

  @Test("if the answer or the audit event cannot be written, no key is created")
  func halfDone() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let key = try await world.makeKey(account).key
      for (table, check) in [("idempotent_requests", "false"), ("audit_events", "actor_name <> 'test'")] {
        try await pool.script("alter table \(table) add constraint closed check (\(check)) not valid")
        await #expect(throws: PostgresError.self) { try await create(world, once(account)) }
        await #expect(throws: PostgresError.self) { try await roll(world, key.id, once(account)) }
        try await pool.script("alter table \(table) drop constraint closed")
        #expect(try await world.keys.list(of: account).items == [key])
        #expect(try await pool.number("select count(*) from idempotent_requests") == 0)
      }
      #expect(try await create(world, once(account)).secret != nil)
    }
  }

  @Test("the secret is returned again for ten minutes, only to the same holder; the answer is kept for a day")
  func times() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let first = try await create(world, once(account))
      let jobs = Jobs(pool: pool, instance: "here", retention: Retention(), observer: Observer([]))
      let job = try #require(jobs.all.first { $0.name == "idempotency" })
      func age(_ interval: String, isSealed: Bool) async throws {
        try await pool.script("update idempotent_requests set created_at = now() - interval '\(interval)'")
        #expect(await jobs.run(job, isForced: true) == .done(isSealed ? 0 : 1))
        #expect(
          try await pool.lines("select sealed_secret is not null from idempotent_requests") == [
            isSealed ? "true" : "false"
          ])
      }
      let other = Secret.random(prefix: "lk_session")
      #expect(try await create(world, once(account)).secret?.reveal() == first.secret?.reveal())
      #expect(try await create(world, once(account, holder: other)).secret == nil)
      try await age("9 minutes 50 seconds", isSealed: true)
      #expect(try await create(world, once(account)).secret?.reveal() == first.secret?.reveal())
      // The limit also holds before the job has run.
      try await pool.script("update idempotent_requests set created_at = now() - interval '10 minutes'")
      #expect(try await create(world, once(account)).secret == nil)
      try await age("10 minutes", isSealed: false)
      try await pool.script("update idempotent_requests set created_at = now() - interval '23 hours 59 minutes'")
      #expect(await jobs.run(job, isForced: true) == .done(0))
      let late = try await create(world, once(account))
      #expect(late.newID == first.newID && late.objects == first.objects && late.secret == nil)
      try await pool.script("update idempotent_requests set created_at = now() - interval '1 day'")
      let next = try await create(world, once(account))
      #expect(next.newID != first.newID && next.secret != nil)
      #expect(try await create(world, once(account)).newID == next.newID)
      try await pool.script("update idempotent_requests set created_at = now() - interval '1 day'")
      #expect(await jobs.run(job, isForced: true) == .done(1))
      #expect(try await pool.number("select count(*) from idempotent_requests") == 0)
    }
  }

  @Test("a stored answer contains neither the secret, nor the client's key, nor the credential that opens the secret")
  func stored() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let made = try await create(world, once(account, "the client's own key"))
      let rolled = try await roll(world, made.newID, once(account, "another key of the client's"))
      let dump = try #require(try await pool.text("select string_agg(r::text, chr(10)) from idempotent_requests r"))
      #expect(dump.split(separator: "\n").count == 2)
      let secrets = [made.secret?.reveal(), rolled.secret?.reveal(), holder.reveal(), "the client", "another key"]
      for secret in secrets {
        let text = try #require(secret).suffix(20)
        #expect(!dump.contains(text))
        #expect(!dump.contains(text.utf8.map { String($0, radix: 16) }.joined()))
      }
    }
  }
}
