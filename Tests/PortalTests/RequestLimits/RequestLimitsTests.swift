import Foundation
import PortalTesting
import Testing

@testable import Portal

@Suite("RequestLimits")
struct RequestLimitsTests {
  private func limits(
    _ perMinute: RequestLimits.PerMinute, _ observations: Observations = Observations()
  ) -> RequestLimits {
    // The clock does not advance.
    let instant = ContinuousClock.now
    let clock = DatabaseClock(uptime: { instant }, machine: { Date(timeIntervalSince1970: 1_800_000_000) })
    return RequestLimits(perMinute, clock: clock, observer: Observer([observations.sink]))
  }

  private func isRefused(_ limits: RequestLimits, _ address: String?) -> Bool {
    do throws(PortalError) {
      try limits.countAddress(address)
      return false
    } catch {
      return true
    }
  }

  @Test(
    "IPv4 addresses count individually, IPv6 addresses by /64, and unparsable ones share a limit",
    arguments: [
      ("192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.2", false), ("192.0.2.1", "::ffff:192.0.2.1", true),
      ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true), ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
      ("2001:DB8:0:1::1", "2001:db8:0:1::1", true), ("unknown", "fe80::1%eth0", true),
      ("unknown", "192.0.2.1", false),
    ])
  func addresses(_ one: String, _ other: String, _ isSame: Bool) {
    let limits = limits(RequestLimits.PerMinute(address: 2))
    #expect(!isRefused(limits, one) && !isRefused(limits, one) && isRefused(limits, one))
    #expect(isRefused(limits, other) == isSame)
  }

  @Test("a request without an address is not counted")
  func noAddress() {
    let limits = limits(RequestLimits.PerMinute(address: 2))
    for _ in 0..<10 { #expect(!isRefused(limits, nil)) }
  }

  @Test("a refusal names the limit and is observed; without a limit nothing is counted")
  func refusal() throws {
    let observations = Observations()
    let limits = limits(RequestLimits.PerMinute(session: 1, address: 0, token: 0, verification: 0), observations)
    #expect(limits.token == nil && limits.verification == nil)
    for _ in 0..<10 { #expect(!isRefused(limits, "192.0.2.1")) }
    let session = try #require(limits.session)
    let id = UUID()
    try session.count(id)
    #expect(!session.hasRoom(id) && session.hasRoom(UUID()))
    let error = #expect(throws: PortalError.self) { try session.count(id) }
    guard case .rateLimited(let standing) = error else {
      Issue.record("unexpected error: \(String(describing: error))")
      return
    }
    #expect(standing.limit == RateLimit(name: "session", limit: 1, windowSeconds: 60))
    #expect(standing.window.retryAfterSeconds == 120 && standing.window.remaining == 0)
    #expect(observations.count(.requestRefused(.session)) == 1)
  }
}
