import Foundation
import JSON
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Sessions")
struct SessionsTests {
  private let right = Password(presented: World.password)
  private let wrong = Password(presented: "wrong horse battery")

  private func sessions(_ pool: PostgresPool, cost: ScryptCost = World.cost) -> Sessions {
    Sessions(
      pool: pool, passwords: cost == World.cost ? World.hasher : PasswordHasher(cost: cost),
      attempts: Attempts(pool: pool), lifetime: .seconds(3_600))
  }

  private func makeStaff(_ pool: PostgresPool, _ email: String = "grace@example.com") async throws -> StaffMember {
    try await World(pool).accounts.createStaff(
      name: "Grace", email: EmailAddress(email)!, role: .support, password: right, by: World.caller)
  }

  private func lengthenDelays(_ pool: PostgresPool) async throws {
    try await pool.script(
      "update attempt_counts set blocked_until = blocked_until + interval '1 hour' where blocked_until > 'epoch'")
  }

  // MARK: Logging in

  @Test(
    "after login, the token finds the session with account, role and expiry",
    arguments: ["ada@example.com", " ADA@Example.COM "])
  func logIn(_ email: String) async throws {
    try await withPool { pool in
      let account = try await World(pool).makeAccount()
      let sessions = sessions(pool)
      let login = try await sessions.logIn(email: email, password: right, from: Origin())
      #expect(login.token.isWellFormed(prefix: "lk_session"))
      let session = try await sessions.find(login.token)
      #expect(session.user.email == "ada@example.com" && session.account.id == account && session.role == .owner)
      #expect(session.account.plan.keyCap == 25 && session.account.suspendedAt == nil)
      #expect(session.expiresAt == login.session.expiresAt)
      #expect((3_500...3_600).contains(session.expiresAt.timeIntervalSinceNow))
      #expect(session.caller(ip: "::1").actor == .user(id: session.user.id, email: "ada@example.com"))
    }
  }

  @Test("users whose address was stored before there was a canonical form can log in, whoever has the canonical form")
  func earlierAddress() async throws {
    try await withPool { pool in
      let world = World(pool)
      let sessions = sessions(pool)
      let people = [
        ("jose\u{301}@example.com", "one@example.com"), ("jos\u{E9}@example.com", "other@example.com"),
        ("user@b\u{FC}cher.example", "third@example.com"),
      ]
      var accounts: [UUID] = []
      for (kept, email) in people {
        accounts.append(try await world.makeAccount(email))
        try await pool.script("update users set email = '\(kept)' where email = '\(email)'")
      }
      for ((kept, _), account) in zip(people, accounts) {
        let login = try await sessions.logIn(email: kept.uppercased(), password: right, from: Origin())
        #expect(login.session.account.id == account && login.session.email.hasSameBytes(as: kept))
      }
      let staff = try await makeStaff(pool, "third@example.com")
      try await pool.script("update staff set email = 'user@b\u{FC}cher.example'")
      let login = try await sessions.logInStaff(
        email: "User@B\u{FC}cher.example", password: right, from: Origin())
      #expect(login.session.member.id == staff.id)
    }
  }

  @Test("guesses with different spellings of one address are counted together")
  func spellingsCounted() async throws {
    try await withPool { pool in
      let sessions = sessions(pool)
      for email in ["user@b\u{FC}cher.example", "user@bu\u{308}cher.example", "user@xn--bcher-kva.example"] {
        await #expect(throws: PortalError.invalidCredentials) {
          try await sessions.logIn(email: email, password: wrong, from: Origin(ip: "192.0.2.1"))
        }
      }
      // One row for the user from this block, one for the user, one for the block.
      let counts = try await pool.lines("select attempt_count from attempt_counts")
      #expect(counts == ["3", "3", "3"])
    }
  }

  @Test("a password that was hashed as typed still logs in, and from then on in any typed form")
  func earlierPassword() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let sessions = sessions(pool)
      let (decomposed, composed) = ("de\u{301}ja\u{300} vu encore", "d\u{E9}j\u{E0} vu encore")
      let old = PasswordHash(try #require(Password(presented: decomposed).asTyped), cost: World.cost)
      try await pool.script("update users set password_hash = '\(old.text)'")
      await #expect(throws: PortalError.invalidCredentials) {
        try await sessions.logIn(email: "ada@example.com", password: Password(presented: composed), from: Origin())
      }
      for typed in [decomposed, composed, decomposed] {
        _ = try await sessions.logIn(email: "ada@example.com", password: Password(presented: typed), from: Origin())
      }
      #expect(try await pool.lines("select password_hash from users") != [old.text])
    }
  }

  @Test("each login opens its own session; the database contains only hashes of the tokens")
  func storedHashed() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      _ = try await makeStaff(pool)
      let sessions = sessions(pool)
      let tokens = [
        try await sessions.logIn(email: "ada@example.com", password: right, from: Origin()).token,
        try await sessions.logIn(email: "ada@example.com", password: right, from: Origin()).token,
        try await sessions.logInStaff(email: "grace@example.com", password: right, from: Origin()).token,
      ].map { $0.reveal() }
      #expect(Set(tokens).count == 3)
      let rows = try await pool.lines(
        "select sessions::text from sessions union all select staff_sessions::text from staff_sessions")
      #expect(rows.count == 3)
      for token in tokens {
        #expect(!rows.contains { $0.contains(token.suffix(20)) })
        #expect(
          try await pool.number(
            """
            select count(*) from (
              select token_hash from sessions union all select token_hash from staff_sessions) hashes
            where token_hash = sha256('\(token)')
            """) == 1)
      }
    }
  }

  @Test("an unknown address and a wrong password get the same refusals, also once attempts have to wait")
  func refusedAlike() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let sessions = sessions(pool)
      func answers(_ email: String) async throws -> [PortalError] {
        var answers: [PortalError] = []
        for number in 0..<7 {
          // Even on a slow machine, the wait must not end before the next attempt.
          if number == 5 { try await lengthenDelays(pool) }
          do {
            _ = try await sessions.logIn(email: email, password: wrong, from: Origin())
          } catch let error as PortalError {
            answers.append(error)
          }
        }
        return answers
      }
      // An answer costs the same statements and the same hashing, so that its time reveals nothing.
      func cost(_ email: String) async throws -> [UInt64] {
        let before = (pool.statistics.batchCount, pool.statistics.statementCount)
        _ = try? await sessions.logIn(email: email, password: wrong, from: Origin(ip: "192.0.2.77"))
        return [UInt64(pool.statistics.batchCount - before.0), UInt64(pool.statistics.statementCount - before.1)]
      }
      _ = try await cost("tom@example.com")
      let costOfKnown = try await cost("ada@example.com")
      #expect(try await cost("nobody@example.com") == costOfKnown)
      let known = try await answers("ada@example.com")
      #expect(known.prefix(5).allSatisfy { $0 == .invalidCredentials })
      #expect(known.suffix(2).allSatisfy { if case .tooManyRequests = $0 { true } else { false } })
      for email in ["nobody@example.com", "no address", ""] {
        let unknown = try await answers(email)
        #expect(unknown.map { $0 == .invalidCredentials } == known.map { $0 == .invalidCredentials }, "\(email)")
      }
      #expect(try await pool.number("select count(*) from sessions") == 0)
    }
  }

  @Test("after too many failures even the right password is refused, in any spelling of the address")
  func throttled() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let sessions = sessions(pool)
      for email in ["ada@example.com", "ADA@example.com ", "Ada@example.com", " ada@example.com", "ada@EXAMPLE.com"] {
        await #expect(throws: PortalError.invalidCredentials) {
          try await sessions.logIn(email: email, password: wrong, from: Origin())
        }
      }
      try await lengthenDelays(pool)
      await #expect {
        try await sessions.logIn(email: "Ada@Example.com", password: right, from: Origin())
      } throws: {
        if case PortalError.tooManyRequests = $0 { true } else { false }
      }
    }
  }

  /// Guesses in progress count; otherwise there would be no limit.
  @Test("two hundred concurrent guesses do not exceed the limit")
  func concurrentGuesses() async throws {
    try await withStoppedClock { pool in
      _ = try await World(pool).makeAccount()
      // With its own hasher, because the guesses take all places.
      let sessions = sessions(pool, cost: ScryptCost(logN: 5, r: 8, p: 1))
      let outcomes = await concurrently(200) { _ in
        try await sessions.logIn(email: "ada@example.com", password: wrong, from: Origin())
      }
      #expect(outcomes.values.isEmpty && outcomes.errors.allSatisfy { $0 is PortalError })
      #expect(outcomes.count(of: .invalidCredentials) <= 5)
    }
  }

  @Test("a login renews a password hash that has another cost")
  func renewed() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      _ = try await makeStaff(pool)
      let sessions = sessions(pool, cost: ScryptCost(logN: 5, r: 8, p: 1))
      _ = try? await sessions.logIn(email: "ada@example.com", password: wrong, from: Origin())
      #expect(try await pool.text("select split_part(password_hash, '$', 3) from users") == "ln=4,r=8,p=1")
      for _ in 0..<2 {
        _ = try await sessions.logIn(email: "ada@example.com", password: right, from: Origin())
        _ = try await sessions.logInStaff(email: "grace@example.com", password: right, from: Origin())
      }
      for table in ["users", "staff"] {
        #expect(try await pool.text("select split_part(password_hash, '$', 3) from \(table)") == "ln=5,r=8,p=1")
      }
    }
  }

  @Test("ten concurrent logins with a hash of another cost all succeed")
  func renewedAtOnce() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let sessions = sessions(pool, cost: ScryptCost(logN: 5, r: 8, p: 1))
      let outcomes = await concurrently(10) { number in
        try await sessions.logIn(email: "ada@example.com", password: right, from: Origin(ip: "192.0.2.\(number)"))
      }
      #expect(outcomes.values.count == 10, "\(outcomes.errors)")
    }
  }

  // MARK: Being logged in

  @Test("a session ends at its expiry, at logout, and with the membership; logging out again does nothing")
  func ends() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let sessions = sessions(pool)
      let ends: [(MemberSession) async throws -> Void] = [
        { try await sessions.logOut($0, ip: nil) },
        { _ in try await pool.script("update sessions set expires_at = now()") },
        { _ in try await pool.script("delete from memberships") },
      ]
      var over: [MemberSession] = []
      for end in ends {
        let token = try await sessions.logIn(email: "ada@example.com", password: right, from: Origin()).token
        let session = try await sessions.find(token)
        #expect(session.role == .owner)
        try await end(session)
        await #expect(throws: PortalError.unauthenticated) { try await sessions.find(token) }
        over.append(session)
      }
      for session in over { try await sessions.logOut(session, ip: nil) }
      await #expect(throws: PortalError.invalidCredentials, "a person without an account cannot log in") {
        try await sessions.logIn(email: "ada@example.com", password: right, from: Origin())
      }
    }
  }

  @Test("logging out ends only that session")
  func logOutOne() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let sessions = sessions(pool)
      let one = try await sessions.logIn(email: "ada@example.com", password: right, from: Origin()).token
      let other = try await sessions.logIn(email: "ada@example.com", password: right, from: Origin()).token
      try await sessions.logOut(try await sessions.find(one), ip: nil)
      await #expect(throws: PortalError.unauthenticated) { try await sessions.find(one) }
      #expect(try await sessions.find(other).user.email == "ada@example.com")
    }
  }

  @Test("an invalid token is refused: without a look-up if malformed, after one if unknown")
  func unknownToken() async throws {
    try await withPool { pool in
      let sessions = sessions(pool)
      for text in ["", "lk_session_", Secret.random(prefix: "lk_svc").reveal(), String(repeating: "x", count: 10_000)] {
        await #expect(throws: PortalError.unauthenticated) { try await sessions.find(Secret(presented: text)) }
        await #expect(throws: PortalError.unauthenticated) { try await sessions.findStaff(Secret(presented: text)) }
      }
      #expect(pool.statistics.batchCount == 0)
      await #expect(throws: PortalError.unauthenticated) { try await sessions.find(.random(prefix: "lk_session")) }
      #expect(pool.statistics.batchCount == 1)
    }
  }

  @Test("members of a suspended account can log in, and the session reports the suspension")
  func suspended() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      try await pool.script("update accounts set suspended_at = now()")
      let login = try await sessions(pool).logIn(email: "ada@example.com", password: right, from: Origin())
      #expect(login.session.account.suspendedAt != nil)
    }
  }

  // MARK: Staff

  @Test(
    "staff and customers are separate even with the same e-mail address: passwords and tokens work only for their own")
  func apart() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount("grace@example.com")
      let sessions = sessions(pool)
      await #expect(throws: PortalError.invalidCredentials) {
        try await sessions.logInStaff(email: "grace@example.com", password: right, from: Origin())
      }
      let member = try await makeStaff(pool)
      let customer = try await sessions.logIn(email: "grace@example.com", password: right, from: Origin()).token
      let staff = try await sessions.logInStaff(email: "Grace@example.com", password: right, from: Origin())
      #expect(staff.session.member == member && staff.token.isWellFormed(prefix: "lk_staff"))
      #expect(try await sessions.findStaff(staff.token).member == member)
      await #expect(throws: PortalError.unauthenticated) { try await sessions.find(staff.token) }
      await #expect(throws: PortalError.unauthenticated) { try await sessions.findStaff(customer) }
      #expect(try await sessions.find(customer).role == .owner)
      try await sessions.logOut(staff.session, ip: nil)
      await #expect(throws: PortalError.unauthenticated) { try await sessions.findStaff(staff.token) }
    }
  }

  @Test("a disabled member of staff is logged out immediately and cannot log in; an expired session is refused")
  func staffEnds() async throws {
    try await withPool { pool in
      _ = try await makeStaff(pool)
      let sessions = sessions(pool)
      let token = try await sessions.logInStaff(email: "grace@example.com", password: right, from: Origin()).token
      try await pool.script("update staff_sessions set expires_at = now()")
      await #expect(throws: PortalError.unauthenticated) { try await sessions.findStaff(token) }
      let next = try await sessions.logInStaff(email: "grace@example.com", password: right, from: Origin()).token
      try await pool.script("update staff set disabled_at = now()")
      await #expect(throws: PortalError.unauthenticated) { try await sessions.findStaff(next) }
      await #expect(throws: PortalError.invalidCredentials) {
        try await sessions.logInStaff(email: "grace@example.com", password: right, from: Origin())
      }
    }
  }

  @Test("a customer's failures do not delay a member of staff with the same address")
  func throttledApart() async throws {
    try await withPool { pool in
      _ = try await makeStaff(pool)
      let sessions = sessions(pool)
      for _ in 0..<7 { _ = try? await sessions.logIn(email: "grace@example.com", password: wrong, from: Origin()) }
      #expect(
        try await sessions.logInStaff(email: "grace@example.com", password: right, from: Origin()).session.member.name
          == "Grace")
    }
  }
}
