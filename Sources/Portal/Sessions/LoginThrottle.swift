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

  private struct State {
    var windows: [String: (window: SlidingWindow, failedAt: Date)] = [:]
    /// Attempts under way, by name; none is kept at zero.
    var pending: [String: Int] = [:]
  }

  private let limits: Limits
  private let state = Mutex(State())

  package init(_ limits: Limits = Limits()) { self.limits = limits }

  /// Runs a login. What throws `.invalidCredentials` counts as a failure, and so does, meanwhile, what is under way: many
  /// guesses at once are no more than as many in turn.
  func attempt<Value>(
    email: String, address: String?, _ login: () async throws -> Value
  ) async throws -> Value {
    try begin(names(email, address), at: Date())
    defer { end(names(email, address)) }
    do {
      let value = try await login()
      succeeded(email: email)
      return value
    } catch PortalError.invalidCredentials {
      failed(email: email, address: address, at: Date())
      throw PortalError.invalidCredentials
    }
  }

  /// Throws `.tooManyRequests` when either has failed too often. For whoever only wants to know.
  func check(email: String, address: String?, at now: Date) throws(PortalError) {
    try state.withLock { state throws(PortalError) in try Self.check(names(email, address), state, at: now) }
  }

  func failed(email: String, address: String?, at now: Date) {
    state.withLock { state in
      for (name, limit) in names(email, address) {
        state.windows[name, default: (SlidingWindow(seconds: limits.windowSeconds), now)].failedAt = now
        state.windows[name]?.window.admit(cost: 1, limit: limit, at: now.milliseconds)
      }
      if state.windows.count > limits.entryCountMax { forget(&state, at: now) }
    }
  }

  func succeeded(email: String) {
    state.withLock { $0.windows[Self.name(email)] = nil }
  }

  private func begin(_ names: [(name: String, limit: Int)], at now: Date) throws(PortalError) {
    try state.withLock { state throws(PortalError) in
      try Self.check(names, state, at: now)
      for (name, _) in names { state.pending[name, default: 0] += 1 }
    }
  }

  private func end(_ names: [(name: String, limit: Int)]) {
    state.withLock { state in
      for (name, _) in names {
        let count = state.pending[name] ?? 0
        state.pending[name] = count > 1 ? count - 1 : nil
      }
    }
  }

  private static func check(
    _ names: [(name: String, limit: Int)], _ state: State, at now: Date
  ) throws(PortalError) {
    var wait = 0
    for (name, limit) in names {
      let decision = state.windows[name]?.window.peek(cost: 1, limit: limit, at: now.milliseconds)
      wait = max(wait, decision?.retryAfterSeconds ?? 0)
      // Those under way will soon have failed, or not.
      if (decision?.remaining ?? limit) <= state.pending[name] ?? 0 { wait = max(wait, 1) }
    }
    if wait > 0 { throw .tooManyRequests(retryAfterSeconds: wait) }
  }

  /// Those whose window is over, and if that does not make room, the older half.
  private func forget(_ state: inout State, at now: Date) {
    state.windows = state.windows.filter { !$0.value.window.isOver(at: now.milliseconds) }
    guard state.windows.count > limits.entryCountMax else { return }
    let kept = state.windows.sorted { $0.value.failedAt > $1.value.failedAt }.prefix(limits.entryCountMax / 2)
    state.windows = Dictionary(uniqueKeysWithValues: Array(kept))
  }

  private static func name(_ email: String) -> String { "email " + email }

  private func names(_ email: String, _ address: String?) -> [(name: String, limit: Int)] {
    [(Self.name(email), limits.failuresPerEmailMax)]
      + (address.map { [("address " + $0, limits.failuresPerAddressMax)] } ?? [])
  }
}
