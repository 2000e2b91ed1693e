import Foundation
import Synchronization
import Testing

@testable import Portal

@Suite("PasswordHasher")
struct PasswordHasherTests {
  /// Takes some milliseconds per hash.
  private static let slow = ScryptCost(logN: 11, r: 8, p: 2)
  private static let quick = ScryptCost(logN: 4, r: 8, p: 1)
  private let password = Password(presented: "correct horse battery")

  @Test("a hash has the hasher's cost, and verifies")
  func roundTrip() async throws {
    let hasher = PasswordHasher(cost: Self.quick)
    let hash = try await hasher.hash(password)
    #expect(hash.cost == Self.quick)
    let (isMatch, renewed) = try await hasher.verify(password, against: hash)
    #expect(isMatch && renewed == nil)
    let wrong = try await hasher.verify(Password(presented: "wrong"), against: hash)
    #expect(!wrong.isMatch && wrong.renewed == nil)
  }

  @Test("a right password whose hash has another cost is hashed again; a wrong one is not")
  func renewed() async throws {
    let old = try await PasswordHasher(cost: Self.quick).hash(password)
    let hasher = PasswordHasher(cost: ScryptCost(logN: 5, r: 8, p: 1))
    let renewed = try #require(try await hasher.verify(password, against: old).renewed)
    #expect(renewed.cost?.logN == 5 && renewed.matches(password))
    #expect(try await hasher.verify(Password(presented: "wrong"), against: old).renewed == nil)
  }

  @Test("a hash of a password as typed matches the same typed form, and is renewed with the prepared form")
  func asTyped() async throws {
    let hasher = PasswordHasher(cost: Self.quick)
    let decomposed = Password(presented: "de\u{301}ja\u{300} vu encore")
    let composed = Password(presented: "d\u{E9}j\u{E0} vu encore")
    let old = PasswordHash(try #require(decomposed.asTyped), cost: Self.quick)
    #expect(try await !hasher.verify(composed, against: old).isMatch)
    let (isMatch, renewed) = try await hasher.verify(decomposed, against: old)
    let new = try #require(renewed)
    #expect(isMatch)
    for typed in [composed, decomposed] {
      let (isMatch, renewed) = try await hasher.verify(typed, against: new)
      #expect(isMatch && renewed == nil)
    }
    let wrong = try await hasher.verify(Password(presented: "de\u{301}ja\u{300} vu"), against: old)
    #expect(!wrong.isMatch && wrong.renewed == nil)
  }

  /// The time of the answer must not reveal who has an account.
  @Test("without a stored hash no password matches, and verifying takes as long")
  func decoy() async throws {
    let hasher = PasswordHasher(cost: Self.slow)
    let stored = try await hasher.hash(password)
    // Alternating, and the shortest of many, because other load on the machine lengthens both.
    var (known, unknown) = (Duration.seconds(60), Duration.seconds(60))
    for _ in 0..<20 {
      for candidate in [stored, nil] {
        let start = ContinuousClock.now
        #expect(try await !hasher.verify(Password(presented: "wrong"), against: candidate).isMatch)
        let duration = ContinuousClock.now - start
        if candidate == nil { unknown = min(unknown, duration) } else { known = min(known, duration) }
      }
    }
    #expect(unknown > known / 4)
  }

  @Test(
    "in a flood sixty-four calls wait and the rest are refused immediately; afterwards calls are accepted as before")
  func flood() async throws {
    let hasher = PasswordHasher(cost: Self.slow, threadCount: 1)
    for _ in 0..<2 {
      let outcomes = await concurrently(300) { _ in try await hasher.hash(password) }
      #expect(outcomes.values.count >= 64)
      #expect(
        outcomes.errors.count > 0 && outcomes.count(of: .tooManyRequests(retryAfterSeconds: 5)) == outcomes.errors.count
      )
      #expect(outcomes.values.count + outcomes.errors.count == 300)
    }
    #expect(try await hasher.verify(password, against: hasher.hash(password)).isMatch)
  }

  /// Without the helper it would take a minute: the threads' share is a three-hundredth of a processor or less.
  @Test("passwords are hashed even if all processors are always busy", .timeLimit(.minutes(1)))
  func starved() async throws {
    let hasher = PasswordHasher(
      cost: ScryptCost(logN: 15, r: 8, p: 1), threadCount: 1, patience: .milliseconds(100))
    let processors = BusyProcessors(for: .seconds(25))
    defer { processors.rest() }
    let hash = try await hasher.hash(password)
    #expect(processors.areBusy && hash.matches(password))
  }

  @Test("cancelled callers release their places")
  func cancelled() async throws {
    let hasher = PasswordHasher(cost: Self.quick, threadCount: 1)
    for _ in 0..<5 {
      let calls = (0..<64).map { _ in Task { try await hasher.hash(password) } }
      for call in calls { call.cancel() }
      for call in calls { _ = await call.result }
    }
    let outcomes = await concurrently(64) { _ in try await hasher.hash(password) }
    #expect(outcomes.values.count == 64)
  }
}

/// Threads that keep all processors busy.
private final class BusyProcessors: Sendable {
  private let end: ContinuousClock.Instant
  private let isResting = Atomic(false)

  init(for duration: Duration) {
    end = .now + duration
    for _ in 0..<2 * ProcessInfo.processInfo.activeProcessorCount {
      Thread.detachNewThread { [self] in while areBusy, !isResting.load(ordering: .relaxed) {} }
    }
  }

  var areBusy: Bool { .now < end }

  func rest() { isResting.store(true, ordering: .relaxed) }
}

extension PasswordHasher {
  fileprivate func verify(
    _ password: Password, against stored: PasswordHash?
  ) async throws -> (isMatch: Bool, renewed: PasswordHash?) {
    try await withPlace { await $0.verify(password, against: stored) }
  }
}
