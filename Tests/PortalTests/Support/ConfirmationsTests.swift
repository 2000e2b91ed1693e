import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("All keys of an account, and the second member of staff")
struct ConfirmationsTests {
  private let grace = Caller(actor: .staff(id: .numbered(7), name: "Grace"), ip: "192.0.2.9")
  private let hedy = Caller(actor: .staff(id: .numbered(8), name: "Hedy"))
  private let reason = SupportReason(text: "leaked on a forum", ticket: "SUP-1")

  private func aliveCount(_ pool: PostgresPool, _ account: UUID) async throws -> Int {
    try await pool.number("select count(*) from api_keys where account_id = '\(account)' and revoked_at is null")
  }

  private func ask(_ world: World, _ account: UUID, by caller: Caller? = nil) async throws -> StaffConfirmation {
    let outcome = try await world.desk.revokeKeys(of: account, by: caller ?? grace, reason)
    guard case .waits(let confirmation) = outcome else { throw PortalError.notFound }
    return confirmation
  }

  private func revokedAtOnce(_ world: World, _ account: UUID, by caller: Caller? = nil) async throws -> Int? {
    guard case .done(let count, _) = try await world.desk.revokeKeys(of: account, by: caller ?? grace, reason) else {
      return nil
    }
    return count
  }

  // MARK: Alone

  @Test("25 keys are revoked immediately, in one statement and with the reason, including expired and disabled ones")
  func alone() async throws {
    try await withPool { pool in
      let world = World(pool)
      let (account, other) = (try await world.makeAccount(), try await world.makeAccount("eve@example.com"))
      let issued = try await world.makeKey(account)
      _ = try await world.makeKey(other)
      try await world.insertKeys(upTo: 25, account)
      try await pool.script(
        """
        update api_keys set expires_at = now()
        where ctid in (select min(ctid) from api_keys where account_id = '\(account)');
        update api_keys set disabled_at = now()
        where ctid in (select max(ctid) from api_keys where account_id = '\(account)');
        delete from invalidation_log
        """)
      #expect(try await revokedAtOnce(world, account) == 25)
      #expect(try await aliveCount(pool, account) == 0)
      #expect(try await aliveCount(pool, other) == 1)
      #expect(try await pool.number("select count(*) from invalidation_log") == 1)
      #expect(try await world.makeVerifier().verify(VerificationRequest(hash: issued.secret.hash)).code == .revoked)
      let events = try await world.audit.list(of: account, page: PageRequest(limit: 25)).items
      #expect(events.count { $0.action == "key.revoked" } == 25)
      #expect(events.allSatisfy { $0.actorName == "Grace" && $0.reason == reason.text && $0.ticket == "SUP-1" })
      #expect(events.allSatisfy { $0.ip == "192.0.2.9" })
      #expect(try await revokedAtOnce(world, account) == 0)
      #expect(try await world.actions(on: account).count == 27)
      #expect(try await world.desk.confirmations() == [])
      await #expect(throws: PortalError.notFound) {
        try await world.desk.revokeKeys(of: .version7(), by: grace, reason)
      }
    }
  }

  // MARK: Together

  @Test("none of 26 keys is revoked until another member of staff confirms within a day; the trail has both")
  func confirmed() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.insertKeys(upTo: 26, account)
      let confirmation = try await ask(world, account)
      #expect(confirmation.accountID == account && confirmation.accountName == "Account")
      #expect(confirmation.keyCount == 26 && confirmation.reason == reason)
      #expect(confirmation.requesterID == .numbered(7) && confirmation.requesterName == "Grace")
      #expect(abs(confirmation.expiresAt.timeIntervalSince(confirmation.createdAt) - 86_400) < 1)
      #expect(try await world.desk.confirmations() == [confirmation])
      #expect(try await aliveCount(pool, account) == 26)

      // Further requests return the pending one.
      let rows = try await pool.number("select count(*) from audit_events")
      for caller in [grace, hedy] { #expect(try await ask(world, account, by: caller) == confirmation) }
      await #expect(
        throws: PortalError.forbidden(reason: "You requested this revocation; another member of staff must confirm it.")
      ) { try await world.desk.confirm(confirmation.id, by: grace) }
      #expect(try await world.desk.confirmations() == [confirmation])
      #expect(try await aliveCount(pool, account) == 26)
      #expect(try await pool.number("select count(*) from audit_events") == rows)

      #expect(try await world.desk.confirm(confirmation.id, by: hedy).keyCount == 26)
      #expect(try await aliveCount(pool, account) == 0)
      #expect(try await world.desk.confirmations() == [])
      for caller in [grace, hedy] {
        await #expect(throws: PortalError.notFound) { try await world.desk.confirm(confirmation.id, by: caller) }
        await #expect(throws: PortalError.notFound) { try await world.desk.withdraw(confirmation.id, by: caller) }
      }
      #expect(
        try await pool.lines(
          """
          select action || ' ' || actor_name || ' ' || reason || ' ' || ticket || ' ' || count(*)
          from audit_events where target_kind in ('key', 'confirmation') group by action, actor_name, reason, ticket
          order by min(seq)
          """) == [
            "revocation.requested Grace leaked on a forum SUP-1 1", "key.revoked Hedy leaked on a forum SUP-1 26",
            "revocation.confirmed Hedy leaked on a forum SUP-1 1",
          ])
      #expect(
        try await pool.lines("select distinct target_id from audit_events where target_kind = 'confirmation'")
          == [confirmation.id.text])
    }
  }

  @Test("a confirmation revokes all unrevoked keys at that time, including new ones, however few are left")
  func changedBetween() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.insertKeys(upTo: 26, account)
      let more = try await ask(world, account)
      try await world.insertKeys(upTo: 30, account)
      #expect(try await ask(world, account).keyCount == 26)
      #expect(try await world.desk.confirm(more.id, by: hedy).keyCount == 30)

      try await world.insertKeys(upTo: 26, account)
      let none = try await ask(world, account)
      _ = try await world.keys.revokeAll(of: account, by: World.caller)
      #expect(try await world.desk.confirm(none.id, by: hedy).keyCount == 0)
      #expect(try await world.actions(on: account).last == "revocation.confirmed")
    }
  }

  @Test("a request by one member of staff revokes the keys alone if few enough are left, and withdraws the pending one")
  func superseded() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.insertKeys(upTo: 26, account)
      let confirmation = try await ask(world, account)
      _ = try await world.desk.revokeKey(
        UUID(uuidString: try await pool.text("select id from api_keys limit 1")!)!, by: grace, reason)
      #expect(try await revokedAtOnce(world, account) == 25)
      #expect(try await world.desk.confirmations() == [])
      await #expect(throws: PortalError.notFound) { try await world.desk.confirm(confirmation.id, by: hedy) }
      #expect(try await world.actions(on: account).last == "revocation.withdrawn")
    }
  }

  @Test("a request that nobody confirmed within a day expires and can be replaced; the job deletes it")
  func expired() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.insertKeys(upTo: 26, account)
      let first = try await ask(world, account)
      try await pool.script("update staff_confirmations set expires_at = now()")
      #expect(try await world.desk.confirmations() == [])
      await #expect(throws: PortalError.notFound) { try await world.desk.confirm(first.id, by: hedy) }
      await #expect(throws: PortalError.notFound) { try await world.desk.withdraw(first.id, by: hedy) }
      #expect(try await aliveCount(pool, account) == 26)
      let second = try await ask(world, account, by: hedy)
      #expect(second.id != first.id && second.requesterName == "Hedy")

      let jobs = Jobs(pool: pool, instance: "here", retention: Retention(), observer: Observer([]))
      let job = try #require(jobs.all.first { $0.name == "staff-confirmations" })
      #expect(await jobs.run(job, isForced: true) == .done(0))
      try await pool.script("update staff_confirmations set expires_at = now()")
      #expect(await jobs.run(job, isForced: true) == .done(1))
      #expect(try await pool.number("select count(*) from staff_confirmations") == 0)
    }
  }

  @Test("nothing is requested, confirmed or withdrawn if the trail or the mail cannot be written")
  func sameTransaction() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await world.makeAccount()
      try await world.insertKeys(upTo: 26, account)
      let confirmation = try await ask(world, account)
      for table in ["mails", "audit_events"] {
        try await pool.script("alter table \(table) add constraint closed check (false) not valid")
        await #expect(throws: PostgresError.self) { try await world.desk.confirm(confirmation.id, by: hedy) }
        #expect(try await world.desk.confirmations() == [confirmation])
        #expect(try await aliveCount(pool, account) == 26)
        if table == "mails" { try await pool.script("alter table mails drop constraint closed") }
      }
      await #expect(throws: PostgresError.self) { try await world.desk.withdraw(confirmation.id, by: hedy) }
      #expect(try await world.desk.confirmations() == [confirmation])
      try await pool.script("delete from staff_confirmations")
      await #expect(throws: PostgresError.self) { try await world.desk.revokeKeys(of: account, by: grace, reason) }
      #expect(try await world.desk.confirmations() == [])
    }
  }

  // MARK: At the same time

  @Test("twenty concurrent requests make one; twenty concurrent confirmations revoke once")
  func once() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.insertKeys(upTo: 26, account)
      let asked = await concurrently(20) { index in
        try await ask(world, account, by: Caller(actor: .staff(id: .numbered(index), name: "Staff \(index)")))
      }
      #expect(asked.errors.isEmpty && Set(asked.values.map(\.id)).count == 1)
      let confirmation = asked.values[0]
      let confirmed = await concurrently(20) { index in
        try await world.desk.confirm(
          confirmation.id, by: Caller(actor: .staff(id: .numbered(100 + index), name: "Staff"))
        ).keyCount
      }
      #expect(confirmed.values == [26] && confirmed.count(of: .notFound) == 19)
      let actions = try await world.actions(on: account)
      #expect(actions.count { $0 == "key.revoked" } == 26)
      #expect(actions.count { $0 == "revocation.requested" } == 1)
      #expect(actions.count { $0 == "revocation.confirmed" } == 1)
      #expect(try await AuditChains(pool: pool).verify { _ in }.isIntact)
    }
  }

  @Test("of a concurrent confirmation and withdrawal exactly one happens and is recorded")
  func confirmOrWithdraw() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let (roundCount, hedy) = (50, hedy)
      var confirmedCount = 0
      for round in 0..<roundCount {
        try await world.insertKeys(upTo: 26, account)
        let id = try await ask(world, account).id
        let isConfirmFirst = Bool.random()
        let outcomes = await concurrently(2) { index in
          guard (index == 0) == isConfirmFirst else {
            try await world.desk.withdraw(id, by: hedy)
            return false
          }
          _ = try await world.desk.confirm(id, by: hedy)
          return true
        }
        #expect(outcomes.values.count == 1 && outcomes.count(of: .notFound) == 1, "round \(round)")
        let isConfirmed = outcomes.values == [true]
        confirmedCount += isConfirmed ? 1 : 0
        #expect(try await aliveCount(pool, account) == (isConfirmed ? 0 : 26), "round \(round)")
        let last = try await world.actions(on: account).last
        #expect(last == (isConfirmed ? "revocation.confirmed" : "revocation.withdrawn"), "round \(round)")
      }
      #expect((1..<roundCount).contains(confirmedCount), "both orders should have occurred")
      let actions = try await world.actions(on: account)
      #expect(actions.count { $0 == "key.revoked" } == 26 * confirmedCount)
    }
  }

  @Test("confirming while the customer creates keys revokes each key that was created before")
  func confirmAndCreate() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await pool.script("update plans set key_cap = 100")
      let account = try await world.makeAccount()
      try await world.insertKeys(upTo: 26, account)
      let (id, hedy) = (try await ask(world, account).id, hedy)
      let outcomes = await concurrently(21) { index in
        if index == 10 { return try await world.desk.confirm(id, by: hedy).keyCount }
        try await world.makeKey(account)
        return 0
      }
      #expect(outcomes.errors.isEmpty)
      let revokedCount = outcomes.values.reduce(0, +)
      #expect(try await aliveCount(pool, account) == 46 - revokedCount)
      // Keys that were created after the confirmation are also recorded after it.
      let actions = try await world.actions(on: account)
      let place = try #require(actions.firstIndex(of: "revocation.confirmed"))
      #expect(actions[place...].count { $0 == "key.created" } == 46 - revokedCount)
    }
  }

  @Test("confirming while the requester revokes alone revokes the keys once, by one of the two")
  func confirmAndRevokeAlone() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let (roundCount, hedy, grace, reason) = (20, hedy, grace, reason)
      var confirmedCount = 0
      for round in 0..<roundCount {
        try await world.insertKeys(upTo: 26, account)
        let id = try await ask(world, account).id
        try await pool.script(
          """
          update api_keys set revoked_at = now()
          where id in (select id from api_keys where revoked_at is null limit 1)
          """
        )
        let isConfirmFirst = round.isMultiple(of: 2)
        let outcomes = await concurrently(2) { index in
          if (index == 0) == isConfirmFirst {
            return (isConfirmed: true, count: try await world.desk.confirm(id, by: hedy).keyCount)
          }
          guard case .done(let count, _) = try await world.desk.revokeKeys(of: account, by: grace, reason) else {
            throw PortalError.keyNotActive
          }
          return (isConfirmed: false, count: count)
        }
        let isConfirmed = outcomes.values.contains { $0.isConfirmed }
        confirmedCount += isConfirmed ? 1 : 0
        #expect(outcomes.errors.count == outcomes.count(of: .notFound), "round \(round)")
        #expect(outcomes.values.count == (isConfirmed ? 2 : 1), "round \(round)")
        #expect(outcomes.values.map(\.count).sorted() == (isConfirmed ? [0, 25] : [25]), "round \(round)")
        #expect(try await aliveCount(pool, account) == 0, "round \(round)")
        let last = try await world.actions(on: account).last
        #expect(last == (isConfirmed ? "revocation.confirmed" : "revocation.withdrawn"), "round \(round)")
        #expect(try await world.desk.confirmations() == [], "round \(round)")
      }
      print("confirm and revoke alone: \(roundCount) rounds, confirmed in \(confirmedCount)")
      let actions = try await world.actions(on: account)
      #expect(actions.count { $0 == "key.revoked" } == 25 * roundCount)
      #expect(actions.count { $0 == "revocation.confirmed" } == confirmedCount)
      #expect(actions.count { $0 == "revocation.withdrawn" } == roundCount - confirmedCount)
    }
  }

  @Test("confirming while the customer revokes all keys revokes each key once, and both succeed")
  func confirmAndRevokeAll() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      let (roundCount, hedy) = (20, hedy)
      for round in 0..<roundCount {
        try await world.insertKeys(upTo: 26, account)
        let id = try await ask(world, account).id
        let isConfirmFirst = round.isMultiple(of: 2)
        let outcomes = await concurrently(2) { index in
          if (index == 0) == isConfirmFirst { return try await world.desk.confirm(id, by: hedy).keyCount }
          return try await world.keys.revokeAll(of: account, by: World.caller).count
        }
        #expect(outcomes.errors.isEmpty && outcomes.values.sorted() == [0, 26], "round \(round)")
        #expect(try await aliveCount(pool, account) == 0, "round \(round)")
      }
      let actions = try await world.actions(on: account)
      #expect(actions.count { $0 == "key.revoked" } == 26 * roundCount)
      #expect(actions.count { $0 == "revocation.confirmed" } == roundCount)
      #expect(try await AuditChains(pool: pool).verify { _ in }.isIntact)
    }
  }

  @Test(
    "confirming while the owner deletes the account deletes it, revokes each key once, and does not deadlock")
  func confirmAndDelete() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let (roundCount, hedy) = (20, hedy)
      var confirmedCount = 0
      for round in 0..<roundCount {
        // The owner, who is in no other account, is deleted with it, so that the address is free again.
        let account = try await world.makeAccount()
        try await world.insertKeys(upTo: 26, account)
        let id = try await ask(world, account).id
        let owner = try await Owner(world)
        let isConfirmFirst = round.isMultiple(of: 2)
        let outcomes = await concurrently(2) { index in
          if (index == 0) == isConfirmFirst {
            return (isConfirmed: true, count: try await world.desk.confirm(id, by: hedy).keyCount)
          }
          return (isConfirmed: false, count: try await owner.deleteAccount())
        }
        let isConfirmed = outcomes.values.contains { $0.isConfirmed }
        confirmedCount += isConfirmed ? 1 : 0
        #expect(outcomes.errors.count == outcomes.count(of: .notFound), "round \(round)")
        #expect(outcomes.values.map(\.count).sorted() == (isConfirmed ? [0, 26] : [26]), "round \(round)")
        #expect(try await aliveCount(pool, account) == 0, "round \(round)")
        #expect(
          try await pool.number("select count(*) from accounts where id = '\(account)' and deleted_at is not null") == 1
        )
        let actions = try await world.actions(on: account)
        #expect(actions.last == "account.deleted", "round \(round)")
        #expect(actions.count { $0 == "key.revoked" } == 26, "round \(round)")
        #expect(actions.contains("revocation.confirmed") == isConfirmed, "round \(round)")
      }
      print("confirm and delete: \(roundCount) rounds, confirmed in \(confirmedCount)")
    }
  }

  // MARK: Deleted accounts

  @Test("a pending request for a deleted account is not listed, and cannot be confirmed or withdrawn")
  func deleted() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      try await world.insertKeys(upTo: 26, account)
      let id = try await ask(world, account).id
      #expect(try await Owner(world).deleteAccount() == 26)
      #expect(try await world.desk.confirmations() == [])
      let rows = try await pool.number("select count(*) from audit_events")
      await #expect(throws: PortalError.notFound) { try await world.desk.confirm(id, by: hedy) }
      await #expect(throws: PortalError.notFound) { try await world.desk.withdraw(id, by: grace) }
      await #expect(throws: PortalError.notFound) { try await world.desk.revokeKeys(of: account, by: grace, reason) }
      #expect(try await pool.number("select count(*) from audit_events") == rows)
    }
  }
}

/// The owner of the account that was created last, with a session.
private struct Owner: Sendable {
  let world: World
  let session: MemberSession
  /// Computed in advance, because it takes longer than everything else.
  let proof: CredentialChanges.Proof

  init(_ world: World) async throws {
    self.world = world
    let sessions = Sessions(
      pool: world.pool, passwords: World.hasher, attempts: world.attempts, lifetime: .seconds(600))
    let login = try await sessions.logIn(
      email: "ada@example.com", password: Password(presented: World.password), from: Origin())
    session = try await sessions.find(login.token)
    proof = try await sessions.credentialChanges.prove(Password(presented: World.password), of: session)
  }

  /// Deletes the account. Returns the number of keys revoked with it.
  func deleteAccount() async throws -> Int {
    try await world.deletion.delete(proof, of: session, ip: nil).revokedKeyCount
  }
}
