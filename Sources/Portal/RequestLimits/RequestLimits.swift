package import Foundation
import Synchronization

/// Limits the requests to the portal, per instance: by session, by address if there is no session, and by service
/// token.
package struct RequestLimits: Sendable {
  /// Requests per minute; 0 means unlimited.
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

  /// A client with one address of a block of this length is assumed to have all of them.
  private static let ipv6PrefixLength = 64

  /// Limits customers and staff, by session ID. Here and below, nil means unlimited.
  package let session: RequestLimit<UUID>?
  /// Limits service tokens, by ID, on all routes except those of verification.
  package let token: RequestLimit<UUID>?
  /// Limits service tokens, by ID, on the routes of verification.
  package let verification: RequestLimit<UUID>?
  /// By IPv4 address or IPv6 /64. All addresses that cannot be parsed share a limit.
  private let address: RequestLimit<AddressBlock?>?

  package init(_ perMinute: PerMinute, clock: DatabaseClock, observer: Observer) {
    session = RequestLimit(.session, perMinute.session, clock, observer)
    address = RequestLimit(.address, perMinute.address, clock, observer)
    token = RequestLimit(.token, perMinute.token, clock, observer)
    verification = RequestLimit(.verification, perMinute.verification, clock, observer)
  }

  /// Counts a request that is not authenticated. Throws `.rateLimited` beyond the limit. A request without an address
  /// is not counted: it comes over the unix socket from a proxy that names none, and a shared limit would let one
  /// client lock out the others.
  package func countAddress(_ text: String?) throws(PortalError) {
    guard let address, let text else { return }
    try address.count(AddressBlock(text)?.neighbourhood(ipv6PrefixLength: Self.ipv6PrefixLength))
  }
}

/// A limit that applies to each of many subjects.
package final class RequestLimit<Subject: Hashable & Sendable>: Sendable {
  /// The number of subjects that are tracked, which takes about 15 MB.
  private static var trackedCountMax: Int { 65_536 }

  private let refusal: RequestRefusal
  private let limit: RateLimit
  private let clock: DatabaseClock
  private let observer: Observer
  private let windows = Mutex(RequestWindows<Subject>(countMax: RequestLimit.trackedCountMax))

  /// Nil if `perMinute` is 0.
  init?(_ refusal: RequestRefusal, _ perMinute: Int, _ clock: DatabaseClock, _ observer: Observer) {
    guard perMinute > 0 else { return nil }
    self.refusal = refusal
    limit = RateLimit(
      name: refusal.rawValue, limit: perMinute, windowSeconds: RequestWindows<Subject>.windowSeconds)
    self.clock = clock
    self.observer = observer
  }

  /// Counts a request. Throws `.rateLimited` beyond the limit, and does not count it then.
  package func count(_ subject: Subject) throws(PortalError) {
    let now = clock.now.milliseconds
    let decision = windows.withLock { $0.admit(subject, limit: limit.limit, at: now) }
    if decision.isAdmitted { return }
    observer.observe(.requestRefused(refusal))
    throw .rateLimited(RateLimitDecision.Standing(limit: limit, window: decision))
  }

  /// Counts a request that was answered after ``hasRoom(_:)``. Every other thread that called that in between may have
  /// one request answered beyond the limit.
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
