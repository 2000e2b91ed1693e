import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("Attempts")
struct AttemptsTests {
  private static let ada = "ada@example.com"
  private static let home = "192.0.2.1"

  private func logIn(_ name: String = ada, from address: String? = home) -> Attempt {
    Attempt(.logIn, of: name, from: address)
  }

  /// The seconds that the attempt has to wait; nil if it was admitted, and therefore counted.
  private func wait(_ attempts: Attempts, _ attempt: Attempt) async throws -> Int? {
    do {
      try await attempts.admit(attempt)
      return nil
    } catch PortalError.tooManyRequests(let seconds) {
      return seconds
    }
  }

  private func pass(_ seconds: Int, _ pool: PostgresPool) async throws {
    try await pool.script("update clock.moment set moment = moment + interval '\(seconds) s'")
  }

  /// Makes attempts until one has to wait. Returns the number of admitted attempts.
  private func failUntilRefused(_ attempts: Attempts, _ attempt: (Int) -> Attempt) async throws -> Int {
    var count = 0
    while count < 1_000, try await wait(attempts, attempt(count)) == nil { count += 1 }
    return count
  }

  @Test("five attempts are free; each further one doubles the wait, up to a quarter of an hour, to the second")
  func grows() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      for _ in 0..<5 { #expect(try await wait(attempts, logIn()) == nil) }
      for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        #expect(try await wait(attempts, logIn()) == expected)
        if expected > 1 {
          // One second early is too early.
          try await pass(expected - 1, pool)
          #expect(try await wait(attempts, logIn()) == 1)
        }
        try await pass(1, pool)
        #expect(try await wait(attempts, logIn()) == nil)
      }
    }
  }

  @Test("refused attempts are not counted, however many there are")
  func refusedIsNotCounted() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      for _ in 0..<5 { try await attempts.admit(logIn()) }
      for _ in 0..<20 { #expect(try await wait(attempts, logIn()) == 1) }
      #expect(try await pool.number("select max(attempt_count) from attempt_counts") == 5)
    }
  }

  @Test("counting starts again after an hour without an attempt")
  func forgets() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      for _ in 0..<5 { #expect(try await wait(attempts, logIn()) == nil) }
      try await pass(3_500, pool)
      #expect(try await wait(attempts, logIn()) == nil)
      #expect(try await wait(attempts, logIn()) == 2)
      try await pass(3_601, pool)
      for _ in 0..<5 { #expect(try await wait(attempts, logIn()) == nil) }
      #expect(try await wait(attempts, logIn()) == 1)
    }
  }

  @Test("a success clears only the failures of this user from this block")
  func success() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      for name in [Self.ada, "eve@example.com"] {
        for _ in 0..<4 { try await attempts.admit(logIn(name)) }
      }
      try await attempts.succeeded(try await attempts.admit(logIn()))
      for _ in 0..<5 { #expect(try await wait(attempts, logIn()) == nil) }
      #expect(try await wait(attempts, logIn()) == 1)
      #expect(try await wait(attempts, logIn("eve@example.com")) == nil)
      #expect(try await wait(attempts, logIn("eve@example.com")) == 1)
    }
  }

  @Test(
    "a block may fail fifty times with any names, and an attacker gains no attempts by logging in to their own account")
  func block() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      var (failures, waited) = (0, 0)
      while failures < 60 {
        // Logs in to the attacker's own account after each guess.
        for (name, isRight) in [("\(failures)@example.com", false), ("mallory@example.com", true)] {
          while true {
            do {
              let admission = try await attempts.admit(logIn(name))
              if isRight { try await attempts.succeeded(admission) } else { failures += 1 }
              break
            } catch PortalError.tooManyRequests(let seconds) {
              waited += seconds
              try await pass(seconds, pool)
            }
          }
        }
      }
      // A success cuts off the last delay, or it is waited for; in total the delays double all the same.
      #expect(waited >= 512)
      #expect(try await wait(attempts, logIn(from: "192.0.2.2")) == nil)
    }
  }

  @Test("the addresses of an IPv6 /64 are one block; another /64 and each IPv4 address are separate blocks")
  func blocks() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      let refused = try await failUntilRefused(attempts) { logIn(from: "2001:db8:0:1:\($0)::1") }
      #expect(refused == 5)
      #expect(try await wait(attempts, logIn(from: "2001:db8:0:1:ffff:ffff:ffff:ffff")) == 1)
      #expect(try await wait(attempts, logIn(from: "2001:db8:0:2::1")) == nil)
      for _ in 0..<5 { #expect(try await wait(attempts, logIn(from: "::ffff:192.0.2.1")) == nil) }
      #expect(try await wait(attempts, logIn(from: "192.0.2.1")) == 1)
      #expect(try await wait(attempts, logIn(from: "192.0.2.2")) == nil)
    }
  }

  @Test("guesses from very many addresses are slowed down, but not the user at a block with an earlier login")
  func noLockout() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      try await attempts.succeeded(try await attempts.admit(logIn()))
      #expect(try await failUntilRefused(attempts) { logIn(from: "198.51.100.\($0)") } == 20)
      // The attack continues until the delay is at its maximum.
      for number in 0..<20 {
        try await pass(300, pool)
        try await attempts.admit(logIn(from: "203.0.113.\(number)"))
      }
      #expect(try await wait(attempts, logIn(from: "203.0.113.99")) == 300)
      for _ in 0..<10 { try await attempts.succeeded(try await attempts.admit(logIn())) }
      #expect(
        try await wait(attempts, logIn(from: "203.0.113.99")) == 300, "the user's logins must not help the attacker")
      // The user's own mistakes count in their block.
      #expect(try await failUntilRefused(attempts) { _ in logIn() } == 5)
      #expect(try await wait(attempts, logIn("eve@example.com", from: "203.0.113.99")) == nil)
    }
  }

  @Test("an attack does not keep the user from requesting a password reset from a block with an earlier login")
  func resetsAtHome() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      func reset(from address: String) -> Attempt { Attempt(.passwordReset, of: Self.ada, from: address) }
      try await attempts.succeeded(try await attempts.admit(logIn()))
      #expect(try await failUntilRefused(attempts) { reset(from: "198.51.100.\($0)") } == 20)
      #expect(try await wait(attempts, reset(from: "203.0.113.1")) == 1)
      #expect(try await wait(attempts, reset(from: Self.home)) == nil)
    }
  }

  @Test("a user who has proven the mailbox can log in from there immediately, even during an attack")
  func proved() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      #expect(try await failUntilRefused(attempts) { logIn(from: "198.51.100.\($0)") } == 20)
      #expect(try await wait(attempts, logIn()) == 1)
      try await attempts.proved(logIn())
      for _ in 0..<5 { #expect(try await wait(attempts, logIn()) == nil) }
      #expect(try await wait(attempts, logIn(from: "198.51.100.99")) == 1)
    }
  }

  @Test("a block is no longer known for a user ninety days after the login")
  func known() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      try await attempts.succeeded(try await attempts.admit(logIn()))
      try await pass(89 * 86_400, pool)
      #expect(try await failUntilRefused(attempts) { logIn(from: "198.51.100.\($0)") } == 20)
      #expect(try await wait(attempts, logIn()) == nil)
      try await pass(2 * 86_400, pool)
      #expect(try await failUntilRefused(attempts) { logIn(from: "198.51.100.\($0)") } == 20)
      #expect(try await wait(attempts, logIn()) == 1)
    }
  }

  @Test("two hundred concurrent attempts count like two hundred consecutive ones", arguments: 1...5)
  func concurrent(_ round: Int) async throws {
    try await withStoppedClock { pool in
      let outcomes = await concurrently(200) { number in
        try await Attempts(pool: pool).admit(
          Attempt(.logIn, of: Self.ada, from: number.isMultiple(of: 3) ? Self.home : "192.0.2.\(number)"))
      }
      let count = try await pool.number("select max(attempt_count) from attempt_counts")
      #expect(outcomes.values.count == 20 && count == 20)
      #expect(outcomes.errors.allSatisfy { if case PortalError.tooManyRequests = $0 { true } else { false } })
    }
  }

  @Test("admitting and settling concurrently leaves no counts behind and never deadlocks", arguments: 1...5)
  func settledConcurrently(_ round: Int) async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      let outcomes = await concurrently(40) { number in
        let admission = try await attempts.admit(
          Attempt(.logIn, of: "\(number % 4)@example.com", from: "192.0.2.\(number)"))
        if number.isMultiple(of: 2) {
          try await attempts.succeeded(admission)
        } else {
          try await attempts.takeBack(admission)
        }
      }
      #expect(outcomes.errors.isEmpty)
      let counted = try await pool.number("select sum(attempt_count) from attempt_counts")
      let known = try await pool.number("select count(*) from attempt_counts where known_until > now()")
      #expect(counted == 0 && known == 20)
    }
  }

  @Test("attempts at the second factor, and at the password within a session, count per user across all addresses")
  func withinUser() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      for kind in [Attempt.Kind.secondFactor, .stepUp] {
        let count = try await failUntilRefused(attempts) { Attempt(kind, of: "1", from: "192.0.2.\($0)") }
        #expect(count == 5)
        #expect(try await wait(attempts, Attempt(kind, of: "2", from: nil)) == nil)
      }
      #expect(try await wait(attempts, logIn("1")) == nil)
    }
  }

  @Test("each kind is counted separately; without an address no block is counted")
  func apart() async throws {
    try await withStoppedClock { pool in
      let attempts = Attempts(pool: pool)
      for kind in [Attempt.Kind.logIn, .staffLogIn, .passwordReset] {
        let count = try await failUntilRefused(attempts) { _ in Attempt(kind, of: Self.ada, from: Self.home) }
        #expect(count == 5)
      }
      for number in 0..<60 {
        #expect(try await wait(attempts, Attempt(.logIn, of: "\(number)@example.com", from: nil)) == nil)
      }
    }
  }

  @Test("the job deletes rows that no longer delay anything, and keeps known blocks; no row contains typed text")
  func expires() async throws {
    try await withPool { pool in
      let attempts = Attempts(pool: pool)
      try await attempts.succeeded(try await attempts.admit(logIn()))
      try await attempts.admit(logIn("eve@example.com", from: "192.0.2.9"))
      let rows = try await pool.lines("select c::text from attempt_counts c").joined()
      #expect(!rows.contains("ada") && !rows.contains("192.0.2"))
      let job = try #require(Job.all(Retention(), Outbox(isOpen: false)).first { $0.name == "attempts" })
      let run = JobRun(name: job.name, pool: pool, caller: World.caller)
      #expect(try await job.perform(run) == 0)
      try await age("3601 s", pool)
      let count = try await pool.number("select count(*) from attempt_counts")
      #expect(try await job.perform(run) == count - 1)
      #expect(try await pool.number("select count(*) from attempt_counts where known_until > now()") == 1)
      try await age("91 days", pool)
      #expect(try await job.perform(run) == 1)
    }
  }

  /// Makes the stored rows older by `interval`.
  private func age(_ interval: String, _ pool: PostgresPool) async throws {
    try await pool.script(
      """
      update attempt_counts set forgotten_at = forgotten_at - interval '\(interval)',
        known_until = known_until - interval '\(interval)'
      """)
  }
}
