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
    try await pool.type(
      "update attempt_counts set blocked_until = blocked_until + interval '1 hour' where blocked_until > 'epoch'")
  }

  // MARK: Logging in

  @Test(
    "who logs in is found by the token, with account, role and expiry",
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

  @Test("who has an address that was kept before there was one form of it logs in as before, whoever has that form")
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
        try await pool.type("update users set email = '\(kept)' where email = '\(email)'")
      }
      for ((kept, _), account) in zip(people, accounts) {
        let login = try await sessions.logIn(email: kept.uppercased(), password: right, from: Origin())
        #expect(login.session.account.id == account && login.session.email.hasSameBytes(as: kept))
      }
      let staff = try await makeStaff(pool, "third@example.com")
      try await pool.type("update staff set email = 'user@b\u{FC}cher.example'")
      let login = try await sessions.logInStaff(
        email: "User@B\u{FC}cher.example", password: right, from: Origin())
      #expect(login.session.member.id == staff.id)
    }
  }

  @Test("spellings of one address are one when guesses are counted")
  func spellingsCounted() async throws {
    try await withPool { pool in
      let sessions = sessions(pool)
      for email in ["user@b\u{FC}cher.example", "user@bu\u{308}cher.example", "user@xn--bcher-kva.example"] {
        await #expect(throws: PortalError.invalidCredentials) {
          try await sessions.logIn(email: email, password: wrong, from: Origin(ip: "192.0.2.1"))
        }
      }
      // One for the user from there, one for the user, one for the place.
      let counts = try await pool.lines("select attempt_count from attempt_counts")
      #expect(counts == ["3", "3", "3"])
    }
  }

  @Test("a password that was hashed as it was typed opens once more, and from then on however it is typed")
  func earlierPassword() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let sessions = sessions(pool)
      let (decomposed, composed) = ("de\u{301}ja\u{300} vu encore", "d\u{E9}j\u{E0} vu encore")
      let old = PasswordHash(try #require(Password(presented: decomposed).asTyped), cost: World.cost)
      try await pool.type("update users set password_hash = '\(old.text)'")
      await #expect(throws: PortalError.invalidCredentials) {
        try await sessions.logIn(email: "ada@example.com", password: Password(presented: composed), from: Origin())
      }
      for typed in [decomposed, composed, decomposed] {
        _ = try await sessions.logIn(email: "ada@example.com", password: Password(presented: typed), from: Origin())
      }
      #expect(try await pool.lines("select password_hash from users") != [old.text])
    }
  }

  @Test("each login is a session of its own; the database holds their hashes only")
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

  @Test("an unknown address and a wrong password are refused alike, to the last failure and beyond")
  func refusedAlike() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let sessions = sessions(pool)
      func answers(_ email: String) async throws -> [PortalError] {
        var answers: [PortalError] = []
        for number in 0..<7 {
          // However slow the machine is.
          if number == 5 { try await lengthenDelays(pool) }
          do {
            _ = try await sessions.logIn(email: email, password: wrong, from: Origin())
          } catch let error as PortalError {
            answers.append(error)
          }
        }
        return answers
      }
      // What an answer costs in statements and in hashing is the same, so that its time does not tell.
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

  @Test("who has failed too often is refused with the right password, too, in any spelling of the address")
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

  /// The guesses that are under way count, or the bound is none.
  @Test("two hundred guesses at once are not more than the limit")
  func concurrentGuesses() async throws {
    try await withStoppedClock { pool in
      _ = try await World(pool).makeAccount()
      // A hasher of its own, whose places it may take.
      let sessions = sessions(pool, cost: ScryptCost(logN: 5, r: 8, p: 1))
      let outcomes = await concurrently(200) { _ in
        try await sessions.logIn(email: "ada@example.com", password: wrong, from: Origin())
      }
      #expect(outcomes.values.isEmpty && outcomes.errors.allSatisfy { $0 is PortalError })
      #expect(outcomes.count(of: .invalidCredentials) <= 5)
    }
  }

  @Test("a password that was stored with another cost is stored with the present one after a login")
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

  @Test("ten logins at once with a hash of another cost all succeed, and one of them renews it")
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

  @Test("a session ends at its expiry, at logging out, and with the membership; logging out again does nothing")
  func ends() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let sessions = sessions(pool)
      let ends: [(MemberSession) async throws -> Void] = [
        { try await sessions.logOut($0, ip: nil) },
        { _ in try await pool.type("update sessions set expires_at = now()") },
        { _ in try await pool.type("delete from memberships") },
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
      await #expect(throws: PortalError.invalidCredentials, "nobody without an account") {
        try await sessions.logIn(email: "ada@example.com", password: right, from: Origin())
      }
    }
  }

  @Test("logging out ends that session only")
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

  @Test("a token that is no session's is refused: malformed without a look-up, unknown after one")
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

  @Test("a suspended account's people can log in, and are told")
  func suspended() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      try await pool.type("update accounts set suspended_at = now()")
      let login = try await sessions(pool).logIn(email: "ada@example.com", password: right, from: Origin())
      #expect(login.session.account.suspendedAt != nil)
    }
  }

  // MARK: Staff

  @Test("staff and customers are two worlds, even with one e-mail address: neither's password or token opens the other")
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

  @Test("a disabled member of staff is out at once, and does not come in again; so is one whose session is over")
  func staffEnds() async throws {
    try await withPool { pool in
      _ = try await makeStaff(pool)
      let sessions = sessions(pool)
      let token = try await sessions.logInStaff(email: "grace@example.com", password: right, from: Origin()).token
      try await pool.type("update staff_sessions set expires_at = now()")
      await #expect(throws: PortalError.unauthenticated) { try await sessions.findStaff(token) }
      let next = try await sessions.logInStaff(email: "grace@example.com", password: right, from: Origin()).token
      try await pool.type("update staff set disabled_at = now()")
      await #expect(throws: PortalError.unauthenticated) { try await sessions.findStaff(next) }
      await #expect(throws: PortalError.invalidCredentials) {
        try await sessions.logInStaff(email: "grace@example.com", password: right, from: Origin())
      }
    }
  }

  @Test("a customer's failures do not keep a member of staff of the same address out")
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
