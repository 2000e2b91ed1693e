import Foundation
import Synchronization

/// Slows down the guessing of passwords: a bounded number of failures per client address and per e-mail address within a
/// sliding window. Local to the instance.
package final class LoginThrottle: Sendable {
  package struct Limits: Sendable {
    package var failuresPerEmailMax = 10
    package var failuresPerAddressMax = 50
    package var windowSeconds = 300
    /// Names remembered at once; beyond that the oldest windows go first.
    package var entryCountMax = 100_000

    package init() {}
  }

  private let limits: Limits
  private let windows = Mutex<[String: SlidingWindow]>([:])

  package init(_ limits: Limits = Limits()) { self.limits = limits }

  /// Throws `.tooManyRequests` when either has failed too often; called before the password is looked at.
  func check(email: String, address: String?, at now: Date) throws(PortalError) {
    let wait = windows.withLock { windows in
      names(email, address).map { name, limit in
        windows[name]?.peek(cost: 1, limit: limit, at: now.milliseconds).retryAfterSeconds ?? 0
      }.max() ?? 0
    }
    if wait > 0 { throw .tooManyRequests(retryAfterSeconds: wait) }
  }

  func failed(email: String, address: String?, at now: Date) {
    windows.withLock { windows in
      for (name, limit) in names(email, address) {
        windows[name, default: SlidingWindow(seconds: limits.windowSeconds)]
          .admit(cost: 1, limit: limit, at: now.milliseconds)
      }
      if windows.count > limits.entryCountMax { windows = windows.filter { !$0.value.isOver(at: now.milliseconds) } }
      if windows.count > limits.entryCountMax { windows = [:] }
    }
  }

  func succeeded(email: String) {
    windows.withLock { $0["email " + email] = nil }
  }

  private func names(_ email: String, _ address: String?) -> [(String, Int)] {
    [("email " + email, limits.failuresPerEmailMax)]
      + (address.map { [("address " + $0, limits.failuresPerAddressMax)] } ?? [])
  }
}
