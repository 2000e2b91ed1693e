import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Credentials")
struct CredentialsTests {
  private let newPassword = Password("another horse battery")!

  /// With its own hasher: fifty concurrent calls nearly fill one, so it cannot be shared with other tests.
  private func makeCredentials(_ world: World) -> Credentials {
    Credentials(
      pool: world.pool, passwords: PasswordHasher(cost: World.cost), attempts: world.attempts, outbox: world.outbox)
  }

  /// A token in the state in which the mail sender leaves it.
  private func makeToken(
    _ purpose: OneTimeToken.Purpose, _ pool: PostgresPool, email: String = "ada@example.com", subjectID: UUID? = nil
  ) async throws -> Secret {
    let mail = Mail(id: .version7(), kind: .invitation, recipient: email, subjectID: subjectID)
    try await pool.execute(EnqueueMail(mail: mail, isOpen: true))
    let token = Secret.random(prefix: purpose.prefix)
    let user = try await pool.query(FindMailUser(email: email)).first
    #expect(
      try await pool.query(
        InsertOneTimeToken(mailID: mail.id, token: token.hash, purpose: purpose, userID: user?.id)) == [true])
    try await pool.execute(FinishMail(id: mail.id, state: .sent))
    return token
  }

  @Test("of fifty concurrent uses of one reset token, one succeeds", arguments: 1...3)
  func resetOnce(round: Int) async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await world.makeAccount()
      let token = try await makeToken(.passwordReset, pool)
      let credentials = makeCredentials(world)
      let outcomes = await concurrently(50) { _ in
        try await credentials.resetPassword(token, to: newPassword, from: nil)
      }
      #expect(outcomes.values.count == 1 && outcomes.count(of: .invalidToken) == 49)
      #expect(try await world.actions(on: account) == ["account.created", "user.password_reset"])
      #expect(try await pool.number("select count(*) from mails where kind = 'password_changed'") == 1)
    }
  }

  @Test("if fifty reset tokens of a user are used concurrently, one succeeds and the others become void")
  func resetOneOfMany() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      let account = try await world.makeAccount()
      var tokens: [Secret] = []
      for number in 0..<50 {
        if number % 5 == 0 { try await pool.script("delete from mails") }
        tokens.append(try await makeToken(.passwordReset, pool))
      }
      let all = tokens
      let credentials = makeCredentials(world)
      let outcomes = await concurrently(50) { number in
        try await credentials.resetPassword(all[number], to: newPassword, from: nil)
      }
      #expect(outcomes.values.count == 1 && outcomes.count(of: .invalidToken) == 49)
      #expect(try await world.actions(on: account) == ["account.created", "user.password_reset"])
      #expect(try await pool.number("select count(*) from one_time_tokens where used_at is null") == 0)
    }
  }

  @Test("of fifty concurrent confirmations of one sign-up, one creates the account", arguments: 1...3)
  func confirmOnce(round: Int) async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      try await world.credentials.requestSignUp(
        name: "Acme", email: EmailAddress("ada@example.com")!, password: newPassword)
      let signup = UUID(uuidString: try await pool.text("select id from signups")!)
      let token = try await makeToken(.signUp, pool, subjectID: signup)
      let credentials = makeCredentials(world)
      let outcomes = await concurrently(50) { _ in try await credentials.verifyEmail(token, from: nil) }
      #expect(outcomes.values.count == 1 && outcomes.count(of: .invalidToken) == 49)
      #expect(try await pool.number("select count(*) from accounts") == 1)
      #expect(try await pool.number("select count(*) from users where email_verified_at is not null") == 1)
      #expect(try await pool.number("select count(*) from signups") == 0)
    }
  }

  @Test("of two sign-ups with one address, the first to be confirmed becomes the account")
  func twoSignUps() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      var tokens: [Secret] = []
      for name in ["One", "Two"] {
        try await world.credentials.requestSignUp(
          name: name, email: EmailAddress("ada@example.com")!, password: newPassword)
        let signup = UUID(uuidString: try await pool.text("select id from signups where account_name = '\(name)'")!)
        tokens.append(try await makeToken(.signUp, pool, subjectID: signup))
      }
      try await world.credentials.verifyEmail(tokens[1], from: nil)
      await #expect(throws: PortalError.invalidToken) { try await world.credentials.verifyEmail(tokens[0], from: nil) }
      #expect(try await pool.lines("select name from accounts") == ["Two"])
    }
  }

  @Test("confirming a sign-up gives emailTaken if a user has taken the address in the meantime")
  func takenMeanwhile() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      try await world.credentials.requestSignUp(
        name: "Acme", email: EmailAddress("ada@example.com")!, password: newPassword)
      let signup = UUID(uuidString: try await pool.text("select id from signups")!)
      let token = try await makeToken(.signUp, pool, subjectID: signup)
      _ = try await world.makeAccount()
      await #expect(throws: PortalError.emailTaken) { try await world.credentials.verifyEmail(token, from: nil) }
      #expect(try await pool.number("select count(*) from accounts") == 1)
    }
  }

  @Test("a token is valid only for its purpose, its lifetime and its address")
  func limits() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      _ = try await world.makeAccount()
      let (reset, verify) = (try await makeToken(.passwordReset, pool), try await makeToken(.emailVerification, pool))
      let credentials = world.credentials
      for token in [verify, Secret.random(prefix: "lk_reset"), Secret(presented: ""), Secret(presented: "lk_reset_")] {
        await #expect(throws: PortalError.invalidToken) {
          try await credentials.resetPassword(token, to: newPassword, from: nil)
        }
      }
      for token in [reset, Secret.random(prefix: "lk_verify"), Secret.random(prefix: "lk_signup")] {
        await #expect(throws: PortalError.invalidToken) { try await credentials.verifyEmail(token, from: nil) }
      }
      #expect(
        try await pool.lines(
          "select purpose || ' ' || round(extract(epoch from expires_at - created_at)) from one_time_tokens order by 1")
          == ["email_verification 86400", "password_reset 1800"])
      try await pool.script("update one_time_tokens set expires_at = now()")
      await #expect(throws: PortalError.invalidToken) {
        try await credentials.resetPassword(reset, to: newPassword, from: nil)
      }
      await #expect(throws: PortalError.invalidToken) { try await credentials.verifyEmail(verify, from: nil) }
      try await pool.script(
        "update one_time_tokens set expires_at = now() + interval '1 hour'; update users set email = 'new@example.com'")
      await #expect(throws: PortalError.invalidToken) {
        try await credentials.resetPassword(reset, to: newPassword, from: nil)
      }
      await #expect(throws: PortalError.invalidToken) { try await credentials.verifyEmail(verify, from: nil) }
      #expect(try await pool.number("select count(*) from one_time_tokens where used_at is not null") == 0)
    }
  }

  @Test("a reset deletes unsent mails for another reset, and no token is created for them")
  func takesBack() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      _ = try await world.makeAccount()
      let token = try await makeToken(.passwordReset, pool)
      try await world.credentials.requestReset(EmailAddress("ada@example.com")!, from: nil)
      let claimed = try await pool.query(ClaimMails(lease: .seconds(60), count: 1))
      try await world.credentials.resetPassword(token, to: newPassword, from: nil)
      #expect(
        try await pool.query(
          InsertOneTimeToken(
            mailID: try #require(claimed.first).mail.id, token: Secret.random(prefix: "lk_reset").hash,
            purpose: .passwordReset, userID: nil)
        ).isEmpty)
      #expect(try await pool.number("select count(*) from mails where kind = 'password_reset'") == 0)
    }
  }

  /// The time of the answer must not reveal who has an account: the statements are the same, and so is the hashing of
  /// passwords, which takes nearly all of the time.
  @Test("a request for an unknown address does the same work, and leaves as many rows, as for a user's address")
  func neutral() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      _ = try await world.makeAccount()
      func work(_ email: String, _ ask: (EmailAddress) async throws -> Void) async throws -> [Int] {
        let before = (pool.statistics.batchCount, pool.statistics.statementCount)
        try await ask(EmailAddress(email)!)
        return [Int(pool.statistics.batchCount - before.0), Int(pool.statistics.statementCount - before.1)]
      }
      for ask in [
        { try await world.credentials.requestReset($0, from: "192.0.2.1") },
        { try await world.credentials.requestSignUp(name: "a", email: $0, password: newPassword) },
      ] {
        // Prepares the statements first, because that happens only once.
        _ = try await work("tom@example.com", ask)
        let (known, unknown) = (try await work("ada@example.com", ask), try await work("eve@example.com", ask))
        #expect(known == unknown && known[0] > 0)
      }
      for table in ["mails", "signups"] {
        let column = table == "mails" ? "recipient" : "email"
        let counts = try await pool.lines("select count(*) from \(table) group by \(column)")
        #expect(counts.count == 3 && Set(counts).count == 1, "\(table)")
      }
    }
  }
}
