import Foundation
import JSON
import Synchronization

/// Hashes passwords on a few threads of its own: neither an event loop nor the cooperative pool ever waits for it, and
/// a flood of logins cannot take more than these threads and their memory. The threads run only while a processor is
/// otherwise idle, so that no verification waits for them. If no processor is ever idle, one more thread gets a tenth
/// of one, so that logins continue to work.
package final class PasswordHasher: Sendable {
  /// Places for callers, including those whose password is being hashed. Further callers are refused.
  private static let placeCountMax = 64
  /// Seconds after which a refused caller may try again. By then about half of the places are free.
  private static let retryAfterSeconds = 5

  private let cost: ScryptCost
  private let queue: HashingQueue
  private let takenPlaceCount = Atomic<Int>(0)
  /// The password is compared with this if the user does not exist, so that the answer takes as long.
  private let decoy: PasswordHash

  /// There are never more threads than processors that this process may use. After `patience` without a hashed
  /// password the helper thread starts to work: with the standard cost and two threads, that is about when they get
  /// less than a tenth of a processor.
  package init(cost: ScryptCost = .standard, threadCount: Int = 2, patience: Duration = .seconds(5)) {
    self.cost = cost
    decoy = PasswordHash(.random(), cost: cost)
    queue = HashingQueue(threadCount: min(threadCount, Self.processorCount ?? threadCount), patience: patience)
    queue.start()
  }

  deinit { queue.close() }

  /// The right to have passwords hashed.
  package struct Place: Sendable {
    fileprivate let hasher: PasswordHasher

    package func hash(_ password: Password) async -> PasswordHash {
      await hasher.run { [cost = hasher.cost] in PasswordHash(password, cost: cost) }
    }

    /// `isMatch` is whether `password` is the stored one, as prepared or as typed. If `stored` is nil, it is false,
    /// after the same time. `renewed` is a new hash to store, if the stored one has another cost or is of the password
    /// as typed.
    func verify(_ password: Password, against stored: PasswordHash?) async -> (isMatch: Bool, renewed: PasswordHash?) {
      await hasher.run { [cost = hasher.cost, decoy = hasher.decoy] in
        let compared = stored ?? decoy
        let isPrepared = compared.matches(password)
        // The second hash is computed for unknown users, too, but only if the typed form differs from the prepared one.
        guard isPrepared || password.asTyped.map(compared.matches) ?? false, let stored else { return (false, nil) }
        return (true, isPrepared && stored.cost == cost ? nil : PasswordHash(password, cost: cost))
      }
    }
  }

  /// Runs `body` with a place, or throws `.tooManyRequests` immediately: a refused caller costs nothing more, in
  /// particular no round trip to the database.
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

  /// The number of processors that this process may use (proc(5)); nil if the system does not report it.
  ///
  /// If two of these threads share a processor, Linux (6.18) often switches from one to the other although a thread
  /// with precedence over both is waiting, and does not reconsider until the next tick: verifications waited up to four
  /// milliseconds.
  private static var processorCount: Int? {
    let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let mask = status?.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") }
    return mask.map { $0.drop { $0 != "\t" }.compactMap(\.hexDigitValue).reduce(0) { $0 + $1.nonzeroBitCount } }
  }

  private func run<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      // Two threads may do the same work; the first to finish resumes the caller.
      let waiting = Mutex<CheckedContinuation<Value, Never>?>(continuation)
      queue.add {
        let value = work()
        waiting.withLock { $0.take() }?.resume(returning: value)
      }
    }
  }
}

/// A queue of hashing work and its threads. They end once the queue is closed and empty.
private final class HashingQueue: Sendable {
  /// `SCHED_IDLE` of sched(7). A thread that merely has a low priority may finish its time slice of milliseconds.
  private static let idlePolicy: Int32 = 5
  /// The niceness of the helper thread, from -20 (first) to 19 (last): it gets a tenth of a processor that is otherwise
  /// fully used.
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
    // On Linux, zero means only the calling thread.
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
