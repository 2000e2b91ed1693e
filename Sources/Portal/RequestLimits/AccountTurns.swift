package import Foundation
import Synchronization

/// Serves few reads of an account at a time, so that whoever asks for much at once waits for themselves, and not
/// everybody for a connection to PostgreSQL.
package final class AccountTurns: Sendable {
  private typealias Waiter = CheckedContinuation<Void, any Error>

  /// Of one account, if the pool has connections for more than twice as many; else half of the pool's.
  package static let servedCountMax = 4
  /// Of one account.
  package static let waitingCountMax = 32

  private let state: Mutex<AccountTurnsState<Waiter>>
  private let lastNumber = Atomic<UInt64>(0)
  private let observer: Observer

  /// For reads on a pool of so many connections.
  package init(poolSize: Int, observer: Observer) {
    state = Mutex(
      AccountTurnsState(
        servedCountMax: min(Self.servedCountMax, max(1, poolSize / 2)), waitingCountMax: Self.waitingCountMax))
    self.observer = observer
  }

  /// Runs `body` when it is its turn. Throws `.accountBusy` if too many wait, and `CancellationError` for whoever is
  /// cancelled while waiting.
  package func withTurn<Value>(of accountID: UUID, _ body: () async throws -> Value) async throws -> Value {
    try await begin(accountID)
    defer { state.withLock { $0.end(accountID) }?.resume() }
    return try await body()
  }

  private func begin(_ accountID: UUID) async throws {
    let number = lastNumber.add(1, ordering: .relaxed).newValue
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (waiter: Waiter) in
        switch state.withLock({ $0.arrive(accountID, number, waiter) }) {
        case .begins: waiter.resume()
        case .waits:
          observer.observe(.accountWaits)
          // The cancellation may have come before the waiter was there to be dismissed.
          if Task.isCancelled { dismiss(accountID, number) }
        case .refused:
          observer.observe(.requestRefused(.account))
          waiter.resume(throwing: PortalError.accountBusy)
        }
      }
    } onCancel: {
      dismiss(accountID, number)
    }
  }

  private func dismiss(_ accountID: UUID, _ number: UInt64) {
    state.withLock { $0.dismiss(accountID, number) }?.resume(throwing: CancellationError())
  }
}
