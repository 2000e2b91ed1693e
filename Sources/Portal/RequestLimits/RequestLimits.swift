package import Foundation
import Synchronization

/// What limits the requests of whoever asks the portal, on this instance alone: by session, by address where there is
/// none, and by service token.
package struct RequestLimits: Sendable {
  /// Requests in a minute; 0: as many as come.
  package struct PerMinute: Sendable, Equatable {
    package static let max = 1_000_000
    package static let none = PerMinute(session: 0, address: 0)

    package var session = 600
    package var address = 300
    package var token = 0
    package var verification = 0

    package init(session: Int = 600, address: Int = 300, token: Int = 0, verification: Int = 0) {
      self.session = session
      self.address = address
      self.token = token
      self.verification = verification
    }
  }

  /// Whoever has one address of a block of this length has all of them.
  private static let ipv6PrefixLength = 64

  /// Of customers and staff, by the session's id. Nil, as of the others: there is no such limit.
  package let session: RequestLimit<UUID>?
  /// Of service tokens, by id, on all routes but those of verification.
  package let token: RequestLimit<UUID>?
  /// Of service tokens, by id, on the routes of verification.
  package let verification: RequestLimit<UUID>?
  /// By IPv4 address or IPv6 /64. All that cannot be read are one.
  private let address: RequestLimit<AddressBlock?>?

  package init(_ perMinute: PerMinute, clock: DatabaseClock, observer: Observer) {
    session = RequestLimit(.session, perMinute.session, clock, observer)
    address = RequestLimit(.address, perMinute.address, clock, observer)
    token = RequestLimit(.token, perMinute.token, clock, observer)
    verification = RequestLimit(.verification, perMinute.verification, clock, observer)
  }

  /// Counts a request of somebody who is not known. Throws `.rateLimited` beyond the limit. One without an address does
  /// not count: it comes over the unix socket from a proxy that names none, and a limit for all that it sends would let
  /// one client keep out the others.
  package func countAddress(_ text: String?) throws(PortalError) {
    guard let address, let text else { return }
    try address.count(AddressBlock(text)?.neighbourhood(ipv6PrefixLength: Self.ipv6PrefixLength))
  }
}

/// One limit, of many subjects.
package final class RequestLimit<Subject: Hashable & Sendable>: Sendable {
  /// Subjects that are tracked; some 15 MB of them.
  private static var trackedCountMax: Int { 65_536 }

  private let refusal: RequestRefusal
  private let limit: RateLimit
  private let clock: DatabaseClock
  private let observer: Observer
  private let windows = Mutex(RequestWindows<Subject>(countMax: RequestLimit.trackedCountMax))

  /// Nil if there is none.
  init?(_ refusal: RequestRefusal, _ perMinute: Int, _ clock: DatabaseClock, _ observer: Observer) {
    guard perMinute > 0 else { return nil }
    self.refusal = refusal
    limit = RateLimit(
      name: refusal.rawValue, limit: perMinute, windowSeconds: RequestWindows<Subject>.windowSeconds)
    self.clock = clock
    self.observer = observer
  }

  /// Counts a request. Throws `.rateLimited` beyond the limit; then it does not count.
  package func count(_ subject: Subject) throws(PortalError) {
    let now = clock.now.milliseconds
    let decision = windows.withLock { $0.admit(subject, limit: limit.limit, at: now) }
    if decision.isAdmitted { return }
    observer.observe(.requestRefused(refusal))
    throw .rateLimited(RateLimitDecision(own: RateLimitDecision.Standing(limit: limit, window: decision)))
  }

  /// Counts a request that was answered after ``hasRoom(_:)``. Where other threads have asked in between, as many may
  /// be answered beyond the limit.
  package func note(_ subject: Subject) {
    let now = clock.now.milliseconds
    windows.withLock { _ = $0.admit(subject, limit: limit.limit, at: now) }
  }

  /// Whether ``count(_:)`` would let a request through.
  package func hasRoom(_ subject: Subject) -> Bool {
    let now = clock.now.milliseconds
    return windows.withLock { $0.hasRoom(subject, limit: limit.limit, at: now) }
  }
}
