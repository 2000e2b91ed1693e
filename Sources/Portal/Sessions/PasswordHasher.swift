import DequeModule
import Foundation
import Synchronization

/// Hashes passwords on threads of its own, few at a time: neither an event loop nor the cooperative pool ever waits for
/// it, and a flood of logins cannot take more than these threads and their memory. The threads have a low priority, so
/// that what answers verifications goes first wherever there are not enough processors for all.
package final class PasswordHasher: Sendable {
  /// Places for callers, those included whose password is being hashed; one more caller is refused.
  private static let placeCountMax = 64
  /// Seconds after which who is refused may try again: by then about half of the places are free again.
  private static let retryAfterSeconds = 5

  private let cost: ScryptCost
  private let queue = HashingQueue()
  private let takenPlaceCount = Atomic<Int>(0)
  /// Compared against when there is no such user, so that the answer takes as long.
  private let decoy: PasswordHash

  package init(cost: ScryptCost = .standard, threadCount: Int = 2) {
    self.cost = cost
    decoy = PasswordHash(.random(), cost: cost)
    for _ in 0..<threadCount { queue.startThread() }
  }

  deinit { queue.close() }

  /// The right to have something hashed.
  package struct Place: Sendable {
    fileprivate let hasher: PasswordHasher

    package func hash(_ password: Password) async -> PasswordHash {
      await hasher.run { [cost = hasher.cost] in PasswordHash(password, cost: cost) }
    }

    /// Whether `password` is the stored one; with nil it is not, after the same time. `renewed` is the hash to store from
    /// now on, if the stored one was made with another cost.
    func verify(_ password: Password, against stored: PasswordHash?) async -> (isMatch: Bool, renewed: PasswordHash?) {
      await hasher.run { [cost = hasher.cost, decoy = hasher.decoy] in
        guard (stored ?? decoy).matches(password), let stored else { return (false, nil) }
        return (true, stored.cost == cost ? nil : PasswordHash(password, cost: cost))
      }
    }
  }

  /// Runs `body` with a place, or throws `.tooManyRequests` at once: who cannot be served costs nothing more, least of all
  /// a statement.
  package func withPlace<Value>(_ body: (Place) async throws -> Value) async throws -> Value {
    defer { takenPlaceCount.subtract(1, ordering: .relaxed) }
    guard takenPlaceCount.add(1, ordering: .relaxed).newValue <= Self.placeCountMax else {
      throw PortalError.tooManyRequests(retryAfterSeconds: Self.retryAfterSeconds)
    }
    return try await body(Place(hasher: self))
  }

  package func hash(_ password: Password) async throws -> PasswordHash {
    try await withPlace { await $0.hash(password) }
  }

  private func run<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      queue.add { continuation.resume(returning: work()) }
    }
  }
}

/// What waits to be hashed, and the threads that do it. They end when it is closed and empty.
private final class HashingQueue: Sendable {
  /// Of the threads, from -20 (first) to 19 (last): a tenth of a processor where somebody else wants all of it.
  private static let niceness: Int32 = 10

  private let work = Mutex(Deque<@Sendable () -> Void>())
  private let isClosed = Atomic(false)
  private let threadCount = Atomic<Int>(0)
  private let semaphore = DispatchSemaphore(value: 0)

  func startThread() {
    threadCount.add(1, ordering: .relaxed)
    let thread = Thread { [self] in
      // On Linux, zero is this thread alone.
      setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, Self.niceness)
      while let next = next() { next() }
    }
    thread.name = "passwords"
    thread.start()
  }

  func add(_ next: @escaping @Sendable () -> Void) {
    work.withLock { $0.append(next) }
    semaphore.signal()
  }

  func close() {
    isClosed.store(true, ordering: .releasing)
    for _ in 0..<threadCount.load(ordering: .relaxed) { semaphore.signal() }
  }

  /// Waits for work; nil for none any more.
  private func next() -> (@Sendable () -> Void)? {
    while true {
      semaphore.wait()
      if let next = work.withLock({ $0.popFirst() }) { return next }
      if isClosed.load(ordering: .acquiring) { return nil }
    }
  }
}
