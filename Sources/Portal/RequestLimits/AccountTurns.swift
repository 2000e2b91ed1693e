package import Foundation
import Synchronization

/// Limits the concurrent reads of each account, so that an account with many requests waits for its own reads and does
/// not exhaust the connections to PostgreSQL.
package final class AccountTurns: Sendable {
  private typealias Waiter = CheckedContinuation<Void, any Error>

  /// The number of reads per account that run concurrently, but at most half of the connections of the pool.
  package static let servedCountMax = 4
  /// The number of reads per account that wait.
  package static let waitingCountMax = 32

  private let state: Mutex<AccountTurnsState<Waiter>>
  private let lastNumber = Atomic<UInt64>(0)
  private let observer: Observer

  /// `poolSize` is the number of connections of the pool that the reads use.
  package init(poolSize: Int, observer: Observer) {
    state = Mutex(
      AccountTurnsState(
        servedCountMax: min(Self.servedCountMax, max(1, poolSize / 2)), waitingCountMax: Self.waitingCountMax))
    self.observer = observer
  }

  /// Runs `body` when it is its turn. Throws `.accountBusy` if too many reads wait, and `CancellationError` if the task
  /// is cancelled while it waits.
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
          // The task may have been cancelled before there was a waiter to dismiss.
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
