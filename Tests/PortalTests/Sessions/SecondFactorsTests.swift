import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Second factors")
struct SecondFactorsTests {
  private static let box = SecretBox(base64: Data(repeating: 7, count: 32).base64EncodedString())
  private let password = Password(presented: World.password)

  /// With its own hasher, because a test may take all its places.
  private func sessions(
    _ pool: PostgresPool, box: SecretBox? = box, clock: DatabaseClock = DatabaseClock()
  ) -> Sessions {
    Sessions(
      pool: pool, passwords: PasswordHasher(cost: World.cost), attempts: Attempts(pool: pool), box: box,
      lifetime: .seconds(3_600), clock: clock)
  }

  private func logIn(
    _ sessions: Sessions, _ code: String? = nil, _ email: String = "ada@example.com"
  ) async throws -> IssuedSession<MemberSession> {
    try await sessions.logIn(email: email, password: password, code: code, from: Origin())
  }

  /// Creates a user with a second factor in use, set up some minutes ago.
  private func enrol(
    _ pool: PostgresPool, _ sessions: Sessions
  ) async throws -> (factor: TOTP, codes: [RecoveryCode], login: IssuedSession<MemberSession>) {
    _ = try await World(pool).makeAccount()
    let session = try await logIn(sessions).session
    let factor = try await sessions.secondFactors.start(password, of: session)
    let (codes, login) = try await sessions.secondFactors.confirm(
      factor.code(atStep: TOTP.step(at: Date())), of: session, ip: nil)
    try await letTimePass(pool)
    return (factor, codes, login)
  }

  /// Makes used codes valid again, and ends all delays, as if time had passed.
  private func letTimePass(_ pool: PostgresPool) async throws {
    try await pool.script("update second_factors set last_step = 0; truncate attempt_counts")
  }

  private func present(_ factor: TOTP) -> String { factor.code(atStep: TOTP.step(at: Date())) }

  @Test("with a second factor in use, login requires both the password and a code")
  func logIn() async throws {
    try await withPool { pool in
      let sessions = sessions(pool)
      let (factor, _, _) = try await enrol(pool, sessions)
      let before = try await pool.number("select count(*) from sessions")
      await #expect(throws: PortalError.secondFactorRequired) { try await logIn(sessions) }
      await #expect(throws: PortalError.secondFactorInvalid) { try await logIn(sessions, "000000") }
      await #expect(throws: PortalError.invalidCredentials) {
        try await sessions.logIn(
          email: "ada@example.com", password: Password(presented: "wrong"), code: present(factor), from: Origin())
      }
      #expect(try await pool.number("select count(*) from sessions") == before)
      #expect(try await logIn(sessions, present(factor)).session.email == "ada@example.com")
    }
  }

  @Test("a code is valid once, and no code of an earlier step after it; the code that confirmed counts as used")
  func once() async throws {
    try await withPool { pool in
      let uptime = ContinuousClock.now
      let clock = DatabaseClock(uptime: { uptime })
      let sessions = sessions(pool, clock: clock)
      let (factor, _, _) = try await enrol(pool, sessions)
      let step = TOTP.step(at: clock.now.date)
      let person = try await logIn(sessions, factor.code(atStep: step)).session.personID
      for earlier in [step, step - 1] {
        await #expect(throws: PortalError.secondFactorInvalid) {
          try await sessions.secondFactors.use(
            factor.code(atStep: earlier), of: MemberSession.self, person, nil)
        }
      }
      _ = try await sessions.secondFactors.use(
        factor.code(atStep: step + 1), of: MemberSession.self, person, nil)
    }
  }

  @Test("of fifty concurrent uses of one code, one succeeds", arguments: 1...5)
  func parallelCodes(_ round: Int) async throws {
    try await withPool { pool in
      let sessions = sessions(pool)
      let (factor, _, login) = try await enrol(pool, sessions)
      let (code, person) = (present(factor), login.session.personID)
      try await pool.script("drop function admit_attempt; \(Self.unthrottled)")
      let outcomes = await concurrently(50) { _ in
        try await sessions.secondFactors.use(
          code, of: MemberSession.self, person, nil)
      }
      #expect(outcomes.values.count == 1 && outcomes.count(of: .secondFactorInvalid) == 49)
    }
  }

  @Test("of fifty concurrent uses of one recovery code, one succeeds; the other codes remain valid", arguments: 1...5)
  func parallelRecoveryCodes(_ round: Int) async throws {
    try await withPool { pool in
      let sessions = sessions(pool)
      let (_, codes, login) = try await enrol(pool, sessions)
      try await pool.script("drop function admit_attempt; \(Self.unthrottled)")
      let (code, person) = (codes[3].reveal(), login.session.personID)
      let outcomes = await concurrently(50) { _ in
        try await sessions.secondFactors.use(
          code, of: MemberSession.self, person, nil)
      }
      #expect(outcomes.values.count == 1 && outcomes.count(of: .secondFactorInvalid) == 49)
      #expect(try await sessions.secondFactors.status(of: login.session).recoveryCodeCount == 9)
      for other in codes.indices where other != 3 { _ = try await logIn(sessions, codes[other].reveal()) }
      #expect(try await sessions.secondFactors.status(of: login.session).recoveryCodeCount == 0)
    }
  }

  /// Fifty concurrent attempts would be throttled, and then nothing would race.
  private static let unthrottled = """
    create function admit_attempt(
      pair uuid, waived uuid, ids uuid[], free_counts integer[], delay_maxima integer[], forget_seconds integer[],
      out wait_seconds integer, out is_known boolean
    ) language sql as 'select 0, false'
    """

  @Test("guessing codes is throttled per user, across all addresses; a right code clears the count")
  func throttled() async throws {
    try await withPool { pool in
      let sessions = sessions(pool)
      let (factor, _, _) = try await enrol(pool, sessions)
      for number in 0..<5 {
        await #expect(throws: PortalError.secondFactorInvalid) {
          try await sessions.logIn(
            email: "ada@example.com", password: password, code: "000000", from: Origin(ip: "192.0.2.\(number)"))
        }
      }
      try await pool.script(
        "update attempt_counts set blocked_until = now() + interval '1 hour' where attempt_count = 5")
      await #expect {
        try await sessions.logIn(
          email: "ada@example.com", password: password, code: present(factor), from: Origin(ip: "192.0.2.9"))
      } throws: {
        if case PortalError.tooManyRequests = $0 { true } else { false }
      }
      try await pool.script("update attempt_counts set blocked_until = 'epoch'")
      _ = try await logIn(sessions, present(factor))
      // If the count had remained, these attempts would have to wait.
      for _ in 0..<5 {
        await #expect(throws: PortalError.secondFactorInvalid) { try await logIn(sessions, "000000") }
      }
    }
  }

  @Test("an attacker with the password can make the user wait for the second factor only until the password changes")
  func released() async throws {
    try await withPool { pool in
      let sessions = sessions(pool)
      let (factor, codes, login) = try await enrol(pool, sessions)
      for _ in 0..<5 { await #expect(throws: PortalError.secondFactorInvalid) { try await logIn(sessions, "000000") } }
      let bucket = Attempt(.secondFactor, of: login.session.personID.text, from: nil).own.id
      try await pool.script(
        """
        update attempt_counts set attempt_count = 0, blocked_until = 'epoch' where id <> '\(bucket)';
        update attempt_counts set blocked_until = now() + interval '1 hour' where id = '\(bucket)'
        """)
      await #expect {
        try await logIn(sessions, present(factor))
      } throws: {
        if case PortalError.tooManyRequests = $0 { true } else { false }
      }
      let session = try await sessions.find(login.token)
      let next = Password("another horse battery")!
      _ = try await sessions.credentialChanges.changePassword(password, to: next, of: session, ip: nil)
      let again = try await sessions.logIn(
        email: "ada@example.com", password: next, code: codes[0].reveal(), from: Origin())
      #expect(again.session.user.email == "ada@example.com")
    }
  }

  @Test("a right password without a code is not counted as a guess")
  func askingIsFree() async throws {
    try await withPool { pool in
      let sessions = sessions(pool)
      let (factor, _, _) = try await enrol(pool, sessions)
      for _ in 0..<12 {
        await #expect(throws: PortalError.secondFactorRequired) { try await logIn(sessions) }
      }
      _ = try await logIn(sessions, present(factor))
    }
  }

  @Test("the database reveals neither secret nor recovery codes; without the key only recovery codes work")
  func sealed() async throws {
    try await withPool { pool in
      let sessions = sessions(pool)
      let (factor, codes, _) = try await enrol(pool, sessions)
      let rows = try await pool.lines("select f::text from second_factors f").joined()
      #expect(!rows.contains(factor.secret.map { String(format: "%02x", $0) }.joined()))
      #expect(!rows.contains(factor.reveal()))
      for code in codes {
        #expect(!rows.contains(code.reveal()) && !rows.contains(code.reveal().replacing("-", with: "")))
      }
      let wrong = SecretBox(base64: Data(repeating: 8, count: 32).base64EncodedString())
      for (box, index) in [(nil, 0), (wrong, 1)] {
        let others = self.sessions(pool, box: box)
        for _ in 0..<7 {
          await #expect {
            try await logIn(others, present(factor))
          } throws: {
            if case PortalError.unavailable = $0 { true } else { false }
          }
        }
        try await letTimePass(pool)
        _ = try await logIn(others, codes[index].reveal())
      }
    }
  }

  // MARK: Key rotation

  private let observations = Observations()

  private func key(_ byte: UInt8) -> String { Data(repeating: byte, count: 32).base64EncodedString() }

  /// Runs the job as on an instance with this box.
  private func sealAnew(_ pool: PostgresPool, _ box: SecretBox?) async throws -> Jobs.Outcome {
    let jobs = Jobs(
      pool: pool, instance: "here", retention: Retention(), observer: Observer([observations.sink]), box: box)
    return await jobs.run(try #require(jobs.all.first { $0.name == "second-factors" }), isForced: true)
  }

  @Test(
    "login works before, during and after key rotation, and then without the old key")
  func rotation() async throws {
    try await withPool { pool in
      let new = try #require(SecretBox(base64: key(8)))
      let both = try #require(new.opening(previous: key(7)))
      let (factor, _, _) = try await enrol(pool, sessions(pool))
      func use(_ box: SecretBox?) async throws {
        try await letTimePass(pool)
        _ = try await logIn(sessions(pool, box: box), present(factor))
      }
      try await use(Self.box)
      // Servers that still seal under the old key can open what other servers seal under the new one.
      try await use(Self.box?.opening(previous: key(8)))
      await #expect(
        throws: PortalError.unavailable(
          reason: "a second factor was sealed with neither SECRET_KEY nor SECRET_KEY_PREVIOUS")
      ) { try await use(new) }
      try await use(both)
      #expect(try await sealAnew(pool, both) == .done(1))
      #expect(observations.count { $0 == .secretsSealedAnew(secrets: 1) } == 1)
      #expect(observations.count { $0 == .previousKeyUnused } == 1)
      try await use(both)
      #expect(try await sealAnew(pool, both) == .done(0))
      try await use(new)
      try await use(Self.box?.opening(previous: key(8)))
      await #expect {
        try await use(Self.box)
      } throws: {
        if case PortalError.unavailable = $0 { true } else { false }
      }
    }
  }

  @Test("a second factor that is being set up during key rotation can be confirmed, and only its secret is changed")
  func rotationWhileSettingUp() async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let session = try await logIn(sessions(pool)).session
      let factor = try await sessions(pool).secondFactors.start(password, of: session)
      let columns = "user_id, confirmed_at, created_at, last_step, recovery_code_hashes"
      let before = try await pool.lines("select row(\(columns)) from second_factors")
      let both = try #require(SecretBox(base64: key(8))?.opening(previous: key(7)))
      #expect(try await sealAnew(pool, both) == .done(1))
      #expect(try await pool.lines("select row(\(columns)) from second_factors") == before)
      _ = try await sessions(pool, box: both).secondFactors.confirm(present(factor), of: session, ip: nil)
    }
  }

  @Test("a confirmation succeeds during a concurrent key rotation", arguments: 1...20)
  func racingRotation(_ round: Int) async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let session = try await logIn(sessions(pool)).session
      let factor = try await sessions(pool).secondFactors.start(password, of: session)
      let both = try #require(SecretBox(base64: key(8))?.opening(previous: key(7)))
      let outcomes = await concurrently(2) { number -> Jobs.Outcome? in
        if number == 0 { return try await sealAnew(pool, both) }
        _ = try await sessions(pool, box: both).secondFactors.confirm(present(factor), of: session, ip: nil)
        return nil
      }
      #expect(outcomes.errors.isEmpty && outcomes.values.compactMap(\.self) == [.done(1)])
    }
  }

  @Test("secrets that no key opens are left alone and reported by the job; the rest are sealed again")
  func unreadable() async throws {
    try await withPool { pool in
      _ = try await enrol(pool, sessions(pool))
      // More than one batch. A secret that was sealed for another person does not open with any key.
      try await pool.script(
        """
        insert into users (id, email, password_hash)
        select gen_random_uuid(), n || '@example.com', '' from generate_series(1, \(SealingKeys.batchCountMax + 1)) n;
        insert into second_factors (user_id, sealed_secret)
        select users.id, sealed_secret from users, second_factors where email like '%@example.com' and email ~ '^[0-9]'
        """)
      let before = try await pool.lines(
        "select sealed_secret from second_factors where confirmed_at is null order by 1")
      let both = try #require(SecretBox(base64: key(8))?.opening(previous: key(7)))
      let refusal = SealingKeys.Unreadable(secretCount: SealingKeys.batchCountMax + 1)
      #expect(try await sealAnew(pool, both) == .failed("\(refusal)"))
      #expect(observations.count { $0 == .secretsSealedAnew(secrets: 1) } == 1)
      #expect(observations.count { $0 == .previousKeyUnused } == 0)
      let after = try await pool.lines("select sealed_secret from second_factors where confirmed_at is null order by 1")
      #expect(after == before)
    }
  }

  @Test("without a previous key there is nothing to do")
  func noPreviousKey() async throws {
    try await withPool { pool in
      _ = try await enrol(pool, sessions(pool))
      for box in [nil, Self.box, SecretBox(base64: key(8))] { #expect(try await sealAnew(pool, box) == .done(0)) }
      #expect(observations.count { $0 == .previousKeyUnused } == 0)
    }
  }

  @Test(
    "changing the password or enabling a second factor leaves no session of a concurrent login",
    arguments: 1...50)
  func racingLogins(_ round: Int) async throws {
    try await withPool { pool in
      _ = try await World(pool).makeAccount()
      let sessions = sessions(pool)
      let session = try await logIn(sessions).session
      let isPassword = round.isMultiple(of: 2)
      let factor = isPassword ? nil : try await sessions.secondFactors.start(password, of: session)
      let next = Password(presented: "another horse battery")
      let outcomes = await concurrently(4) { number in
        if number > 0 { return try await logIn(sessions) }
        guard let factor else {
          return try await sessions.credentialChanges.changePassword(password, to: next, of: session, ip: nil)
        }
        return try await sessions.secondFactors.confirm(present(factor), of: session, ip: nil).login
      }
      // Earlier logins have been ended, and later ones were refused.
      #expect(try await pool.lines("select id from sessions") == [session.id.text])
      for error in outcomes.errors {
        #expect([.invalidCredentials, .secondFactorRequired].contains(error as? PortalError))
      }
    }
  }
}
