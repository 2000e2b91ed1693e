import Foundation
import Synchronization

/// Hashes passwords on threads of its own, few at a time: neither an event loop nor the cooperative pool ever waits for
/// it, and a flood of logins cannot take more than these threads and their memory.
package final class PasswordHasher: Sendable {
  /// Calls that may wait for a thread; one more is refused.
  private static let waitingCountMax = 64

  private let cost: ScryptCost
  private let queue: OperationQueue
  private let waitingCount = Atomic<Int>(0)
  /// Compared against when there is no such user, so that the answer takes as long.
  private let decoy: PasswordHash

  package init(cost: ScryptCost = .standard, threadCount: Int = 2) {
    self.cost = cost
    queue = OperationQueue()
    queue.name = "password-hashing"
    queue.maxConcurrentOperationCount = threadCount
    queue.qualityOfService = .utility
    decoy = PasswordHash(.random(), cost: cost)
  }

  package func hash(_ password: Password) async throws(PortalError) -> PasswordHash {
    try await run { [cost] in PasswordHash(password, cost: cost) }
  }

  /// Whether `password` is the stored one; with nil it is not, after the same time. `renewed` is the hash to store from
  /// now on, if the stored one was made with another cost.
  func verify(
    _ password: Password, against stored: PasswordHash?
  ) async throws(PortalError) -> (isMatch: Bool, renewed: PasswordHash?) {
    try await run { [cost, decoy] in
      guard (stored ?? decoy).matches(password), let stored else { return (false, nil) }
      return (true, stored.cost == cost ? nil : PasswordHash(password, cost: cost))
    }
  }

  private func run<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async throws(PortalError) -> Value {
    defer { waitingCount.subtract(1, ordering: .relaxed) }
    guard waitingCount.add(1, ordering: .relaxed).newValue <= Self.waitingCountMax else {
      throw .tooManyRequests(retryAfterSeconds: 5)
    }
    return await withCheckedContinuation { continuation in
      queue.addOperation { continuation.resume(returning: work()) }
    }
  }
}
