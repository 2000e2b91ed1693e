import DequeModule
import Foundation
import JSON
import Synchronization

/// Hashes passwords on threads of its own, few at a time: neither an event loop nor the cooperative pool ever waits for
/// it, and a flood of logins cannot take more than these threads and their memory. They run when nothing else wants
/// their processor, so that no verification waits for one. Where something always does, one more thread gets a tenth of
/// a processor, so that logins go on.
package final class PasswordHasher: Sendable {
  /// Places for callers, those included whose password is being hashed; one more caller is refused.
  private static let placeCountMax = 64
  /// Seconds after which who is refused may try again: by then about half of the places are free again.
  private static let retryAfterSeconds = 5

  private let cost: ScryptCost
  private let queue: HashingQueue
  private let takenPlaceCount = Atomic<Int>(0)
  /// Compared against when there is no such user, so that the answer takes as long.
  private let decoy: PasswordHash

  /// There are never more threads than processors that this process may use. After `patience` without one hashed
  /// password they are helped: with the standard cost and two threads that is about when they get less than a tenth of
  /// a processor.
  package init(cost: ScryptCost = .standard, threadCount: Int = 2, patience: Duration = .seconds(5)) {
    self.cost = cost
    decoy = PasswordHash(.random(), cost: cost)
    queue = HashingQueue(threadCount: min(threadCount, Self.processorCount ?? threadCount), patience: patience)
    queue.start()
  }

  deinit { queue.close() }

  /// The right to have something hashed.
  package struct Place: Sendable {
    fileprivate let hasher: PasswordHasher

    package func hash(_ password: Password) async -> PasswordHash {
      await hasher.run { [cost = hasher.cost] in PasswordHash(password, cost: cost) }
    }

    /// Whether `password` is the stored one, as it is prepared now or as it was typed; with nil it is not, after the
    /// same time. `renewed` is the hash to store from now on, if the stored one was made with another cost, or as it
    /// was typed.
    func verify(_ password: Password, against stored: PasswordHash?) async -> (isMatch: Bool, renewed: PasswordHash?) {
      await hasher.run { [cost = hasher.cost, decoy = hasher.decoy] in
        let compared = stored ?? decoy
        let isPrepared = compared.matches(password)
        // One more hash, of nobody as of somebody, and only for what is written in several ways.
        guard isPrepared || password.asTyped.map(compared.matches) ?? false, let stored else { return (false, nil) }
        return (true, isPrepared && stored.cost == cost ? nil : PasswordHash(password, cost: cost))
      }
    }
  }

  /// Runs `body` with a place, or throws `.tooManyRequests` at once: who cannot be served costs nothing more, least of
  /// all a statement.
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

  /// The processors that this process may use (proc(5)); nil where the system does not tell.
  ///
  /// Of two threads on one processor Linux (6.18) often lets the other one of the two follow, although a third is
  /// waiting that should go before either, and looks again at the next tick only: verifications waited up to four
  /// milliseconds.
  private static var processorCount: Int? {
    let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let mask = status?.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") }
    return mask.map { $0.drop { $0 != "\t" }.compactMap(\.hexDigitValue).reduce(0) { $0 + $1.nonzeroBitCount } }
  }

  private func run<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      // Two threads may do it; the first one answers.
      let waiting = Mutex<CheckedContinuation<Value, Never>?>(continuation)
      queue.add {
        let value = work()
        waiting.withLock { $0.take() }?.resume(returning: value)
      }
    }
  }
}

/// What waits to be hashed, and the threads that do it. They end when it is closed and empty.
private final class HashingQueue: Sendable {
  /// `SCHED_IDLE` of sched(7). A thread with a low priority alone would be let finish its slice, which is milliseconds.
  private static let idlePolicy: Int32 = 5
  /// From -20 (first) to 19 (last), of the thread that helps: a tenth of a processor where somebody else wants all of
  /// it.
  private static let helperNiceness: Int32 = 10

  private let backlog: Mutex<HashingBacklog<@Sendable () -> Void>>
  private let isClosed = Atomic(false)
  private let threadCount: Int
  private let semaphore = DispatchSemaphore(value: 0)
  private let helperSemaphore = DispatchSemaphore(value: 0)

  init(threadCount: Int, patience: Duration) {
    self.threadCount = threadCount
    backlog = Mutex(HashingBacklog(patience: patience))
  }

  func start() {
    // On Linux, zero is the calling thread alone.
    for _ in 0..<threadCount {
      Thread.detachNewThread { [self] in
        var parameters = sched_param()
        sched_setscheduler(0, Self.idlePolicy, &parameters)
        work()
      }
    }
    Thread.detachNewThread { [self] in
      setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, Self.helperNiceness)
      help()
    }
  }

  func add(_ work: @escaping @Sendable () -> Void) {
    let isFirst = backlog.withLock { $0.add(work, at: .now) }
    semaphore.signal()
    if isFirst { helperSemaphore.signal() }
  }

  func close() {
    isClosed.store(true, ordering: .releasing)
    for _ in 0..<threadCount { semaphore.signal() }
    helperSemaphore.signal()
  }

  private func work() {
    while true {
      semaphore.wait()
      if let begun = backlog.withLock({ $0.begin() }) {
        begun.work()
        backlog.withLock { $0.finish(begun, at: .now) }
      } else if isClosed.load(ordering: .acquiring) {
        return
      }
    }
  }

  private func help() {
    while true {
      switch backlog.withLock({ $0.help(at: .now) }) {
      case .work(let work): work()
      case .wait(let instant):
        _ = helperSemaphore.wait(timeout: .now() + ContinuousClock.now.duration(to: instant) / .seconds(1))
      case .rest:
        if isClosed.load(ordering: .acquiring) { return }
        helperSemaphore.wait()
      }
    }
  }
}
