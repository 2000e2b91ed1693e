import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Idempotent creation of accounts")
struct AccountsOnceTests {
  private let token = UUID.version7()
  private let holder = Secret.random(prefix: "lk_svc")

  private func create(_ world: World, _ text: String = "create", externalID: String? = nil) async throws -> FirstAnswer
  {
    let id = UUID.version7()
    let request = try #require(
      IdempotentRequest(key: "once", of: token, request: text.utf8, accountID: id, holder: holder))
    return try await world.idempotency.once(request, creating: id) { transaction in
      let account = try await world.managed.create(
        ManagedAccountSettings(name: "Customer", externalID: externalID), id: id, by: World.caller, on: transaction)
      return FirstAnswer(objects: ["{\"name\":\"\(account.account.name)\"}"], newID: id, secret: nil)
    }
  }

  @Test("fifty concurrent creates with one idempotency key create one account and get the same answer")
  func races() async throws {
    try await withPool { pool async throws in
      let world = World(pool)
      let made = await concurrently(50) { _ in try await create(world, externalID: "cus_1") }
      #expect(made.errors.isEmpty, "\(made.errors)")
      #expect(Set(made.values.map(\.newID)).count == 1 && Set(made.values.map(\.objects)).count == 1)
      #expect(try await pool.number("select count(*) from accounts") == 1)
      #expect(try await pool.number("select count(*) from audit_events") == 1)
      await #expect(throws: PortalError.idempotencyConflict) { try await create(world, "other") }
    }
  }

  @Test("a refused request is not stored, and a stored answer is kept for a day, which the job ends")
  func kept() async throws {
    try await withPool { pool in
      let world = World(pool)
      let taken = try await create(world, externalID: "cus_1")
      try await pool.script("update account_requests set created_at = now() - interval '23 hours 59 minutes'")
      #expect(try await create(world, externalID: "cus_1").newID == taken.newID)
      try await pool.script("update account_requests set created_at = now() - interval '1 day'")
      await #expect(throws: PortalError.externalIDTaken) { try await create(world, externalID: "cus_1") }
      let next = try await create(world)
      #expect(next.newID != taken.newID)
      #expect(try await create(world).newID == next.newID)
      let jobs = Jobs(pool: pool, instance: "here", retention: Retention(), observer: Observer([]))
      let job = try #require(jobs.all.first { $0.name == "idempotency" })
      #expect(await jobs.run(job, isForced: true) == .done(1))
      #expect(try await pool.lines("select account_id from account_requests") == [next.newID.text])
    }
  }
}
