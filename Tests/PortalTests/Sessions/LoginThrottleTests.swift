import Foundation
import Testing

@testable import Portal

@Suite("LoginThrottle")
struct LoginThrottleTests {
  /// The beginning of a window of five minutes.
  private let start = Date(timeIntervalSince1970: 1_800_000_000)
  private let ada = "ada@example.com"
  private let grace = "grace@example.com"

  private func throttle(_ change: (inout LoginThrottle.Limits) -> Void = { _ in }) -> LoginThrottle {
    var limits = LoginThrottle.Limits()
    limits.failuresPerEmailMax = 3
    limits.failuresPerAddressMax = 5
    change(&limits)
    return LoginThrottle(limits)
  }

  /// The seconds to wait, nil if there are none.
  private func wait(
    _ throttle: LoginThrottle, _ email: String, _ address: String? = nil, after seconds: Double = 0
  ) -> Int? {
    do {
      try throttle.check(email: email, address: address, at: start.addingTimeInterval(seconds))
      return nil
    } catch PortalError.tooManyRequests(let retryAfterSeconds) {
      return retryAfterSeconds
    } catch {
      Issue.record(error)
      return nil
    }
  }

  private func fail(_ throttle: LoginThrottle, _ email: String, _ address: String? = nil, times: Int = 1) {
    for _ in 0..<times { throttle.failed(email: email, address: address, at: start) }
  }

  @Test("after its failures an e-mail address has to wait, from wherever it is tried; others don't")
  func perEmail() {
    let throttle = throttle()
    for address in ["192.0.2.1", "192.0.2.2", nil] {
      #expect(wait(throttle, ada, address) == nil)
      fail(throttle, ada, address)
    }
    for address in ["192.0.2.1", "192.0.2.9", nil] { #expect(wait(throttle, ada, address) != nil) }
    #expect(wait(throttle, grace, "192.0.2.1") == nil)
  }

  @Test("after its failures with any e-mail addresses a client has to wait; others don't")
  func perAddress() {
    let throttle = throttle()
    for number in 0..<5 {
      #expect(wait(throttle, ada, "192.0.2.1") == nil)
      fail(throttle, "nobody\(number)@example.com", "192.0.2.1")
    }
    #expect(wait(throttle, ada, "192.0.2.1") != nil)
    #expect(wait(throttle, ada, "192.0.2.2") == nil)
    #expect(wait(throttle, ada, nil) == nil)
  }

  @Test("looking alone counts as no failure")
  func checkTakesNothing() {
    let throttle = throttle()
    for _ in 0..<100 { #expect(wait(throttle, ada, "192.0.2.1") == nil) }
  }

  @Test("after the seconds that it names one may try again, and not before")
  func retryAfter() throws {
    let throttle = throttle()
    fail(throttle, ada, times: 3)
    let seconds = try #require(wait(throttle, ada))
    #expect((300...600).contains(seconds))
    #expect(wait(throttle, ada, after: Double(seconds) - 1) != nil)
    #expect(wait(throttle, ada, after: Double(seconds)) == nil)
  }

  @Test("of two reasons to wait the longer one counts")
  func longerWait() throws {
    let throttle = throttle { $0.failuresPerAddressMax = 1 }
    fail(throttle, ada, "192.0.2.1", times: 3)
    let seconds = try #require(wait(throttle, ada, "192.0.2.1"))
    #expect(wait(throttle, grace, "192.0.2.1") == seconds)
    #expect(try #require(wait(throttle, ada)) < seconds)
  }

  @Test("success forgets the failures of the e-mail address, but not those of the client")
  func success() {
    let throttle = throttle()
    fail(throttle, ada, "192.0.2.1", times: 3)
    throttle.succeeded(email: ada)
    #expect(wait(throttle, ada, "192.0.2.1") == nil)
    fail(throttle, grace, "192.0.2.1", times: 2)
    #expect(wait(throttle, ada, "192.0.2.1") != nil)
  }

  @Test("failures that go on while one has to wait do not make the wait longer")
  func noPunishment() {
    let throttle = throttle()
    fail(throttle, ada, times: 3)
    let seconds = wait(throttle, ada)
    fail(throttle, ada, times: 50)
    #expect(wait(throttle, ada) == seconds)
  }

  // MARK: Bounds

  @Test("of more names than it may remember, those whose windows are over go")
  func forgetsOver() {
    let throttle = throttle { $0.entryCountMax = 10 }
    for number in 0..<10 { throttle.failed(email: "\(number)", address: nil, at: start.addingTimeInterval(-900)) }
    fail(throttle, ada, times: 3)
    #expect(wait(throttle, ada) != nil)
  }

  /// Else whoever makes up enough names wipes the slate of the one that he is guessing at.
  @Test("if none is over the oldest go first: who has to wait has to wait still")
  func forgetsOldest() {
    let throttle = throttle { $0.entryCountMax = 10 }
    for number in 0..<10 { throttle.failed(email: "\(number)", address: nil, at: start.addingTimeInterval(-300)) }
    fail(throttle, ada, times: 3)
    #expect(wait(throttle, ada) != nil)
  }
}
