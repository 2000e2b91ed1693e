import CLibPQ
import Foundation
import HeapModule
import Synchronization

/// One thread that waits in `epoll_wait(2)` for the sockets of any number of connections, and is the executor of their
/// actors, so that only this thread touches a connection's state and a ready socket needs no thread change.
///
/// The thread ends when the loop is no longer referenced.
final class EventLoop: SerialExecutor, TaskExecutor {
  /// Called on the loop's thread with the readiness that `epoll_wait` reported for a descriptor.
  typealias ReadinessHandler = @Sendable (Readiness) -> Void

  struct Readiness: OptionSet {
    let rawValue: UInt32
    static let readable = Readiness(rawValue: EPOLLIN.rawValue)
    static let writable = Readiness(rawValue: EPOLLOUT.rawValue)
  }

  /// Held by the loop and by its thread, so that neither finds them closed by the other.
  private final class Descriptors: Sendable {
    let poll = epoll_create1(Int32(EPOLL_CLOEXEC))
    let wake = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))

    deinit {
      close(wake)
      close(poll)
    }

    func wakeThread() {
      var one: UInt64 = 1
      _ = write(wake, &one, 8)
    }
  }

  private enum Work {
    case job(UnownedJob)
    case closure(@Sendable () -> Void)
  }

  private struct Timer: Comparable {
    let deadline: ContinuousClock.Instant
    let action: @Sendable () -> Void
    static func < (one: Timer, other: Timer) -> Bool { one.deadline < other.deadline }
    static func == (one: Timer, other: Timer) -> Bool { one.deadline == other.deadline }
  }

  private struct Inbox {
    var work: [Work] = []
    /// Whether the thread will look at `work` again without being woken.
    var isAwake = true
  }

  private static let eventsPerWaitMax = 64

  private let descriptors = Descriptors()
  private let inbox = Mutex(Inbox())
  private let threadID = Atomic<UInt>(0)

  // Safe: read and written by the loop's thread alone (`checkIsolated`).
  nonisolated(unsafe) private var handlers: [Int32: ReadinessHandler] = [:]
  // Safe: as above.
  nonisolated(unsafe) private var timers = Heap<Timer>()
  // Safe: as above. The work being run; kept for its capacity.
  nonisolated(unsafe) private var batch: [Work] = []

  /// Starts the thread. Its name must be at most 15 bytes; the system ignores a longer one.
  init(name: String) {
    // Holds whatever clients do: loops are made with their pools, when a process starts, and `latchkey serve` has
    // checked by then that the process may open what they need.
    precondition(descriptors.poll >= 0 && descriptors.wake >= 0, "no descriptors left for an event loop")
    control(EPOLL_CTL_ADD, descriptors.wake, .readable)
    let thread = Thread { [weak self, descriptors] in
      // Not by `Thread.name`, which is lost if the new thread runs ahead of the one that starts it.
      pthread_setname_np(pthread_self(), name)
      self?.threadID.store(UInt(pthread_self()), ordering: .relaxed)
      withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: Self.eventsPerWaitMax) { events in
        var count = 0
        // The loop is held during its turn only, so that waiting doesn't keep it alive.
        while let timeout = self?.takeTurn(events.prefix(count)) {
          count = Int(max(0, epoll_wait(descriptors.poll, events.baseAddress, Int32(events.count), timeout)))
        }
      }
    }
    thread.start()
  }

  deinit { descriptors.wakeThread() }

  // MARK: Executor

  func enqueue(_ job: consuming ExecutorJob) {
    submit(.job(UnownedJob(job)))
  }

  func checkIsolated() {
    precondition(isOnLoop, "not on the event loop's thread")
  }

  var isOnLoop: Bool { threadID.load(ordering: .relaxed) == UInt(pthread_self()) }

  // MARK: Work, timers, descriptors

  /// Runs `closure` on the loop's thread, soon and in order of submission; from any thread.
  func execute(_ closure: @escaping @Sendable () -> Void) {
    submit(.closure(closure))
  }

  /// Runs `action` on the loop's thread at `deadline` or soon after; from the loop's thread only. A timer can't be
  /// cancelled: `action` checks whether it is still wanted.
  func schedule(at deadline: ContinuousClock.Instant, _ action: @escaping @Sendable () -> Void) {
    checkIsolated()
    timers.insert(Timer(deadline: deadline, action: action))
  }

  /// Calls `handler` whenever `descriptor` is readable (level-triggered); from the loop's thread only.
  func register(_ descriptor: Int32, _ handler: @escaping ReadinessHandler) {
    checkIsolated()
    handlers[descriptor] = handler
    control(EPOLL_CTL_ADD, descriptor, .readable)
  }

  /// Adds or removes the interest in writability; from the loop's thread only.
  func setWriteInterest(_ isInterested: Bool, of descriptor: Int32) {
    checkIsolated()
    control(EPOLL_CTL_MOD, descriptor, isInterested ? [.readable, .writable] : .readable)
  }

  /// Stops watching `descriptor`; must come before it is closed; from the loop's thread only.
  func unregister(_ descriptor: Int32) {
    checkIsolated()
    handlers[descriptor] = nil
    control(EPOLL_CTL_DEL, descriptor, [])
  }

  // MARK: The thread

  /// Does all work that is due; returns for how many milliseconds to wait then, -1 for no limit.
  private func takeTurn(_ events: Slice<UnsafeMutableBufferPointer<epoll_event>>) -> Int32 {
    inbox.withLock { $0.isAwake = true }
    for event in events { handle(event) }
    runTimers()
    runSubmitted()
    return timeoutMilliseconds()
  }

  private func handle(_ event: epoll_event) {
    if event.data.fd == descriptors.wake {
      var value: UInt64 = 0
      _ = read(descriptors.wake, &value, 8)
    } else {
      // An error or a hang-up is found by reading.
      let reported = Readiness(rawValue: event.events)
      handlers[event.data.fd]?(reported == .writable ? .writable : reported.union(.readable))
    }
  }

  private func runTimers() {
    guard let first = timers.min else { return }
    let now = ContinuousClock.now
    guard first.deadline <= now else { return }
    while let timer = timers.min, timer.deadline <= now {
      timers.removeMin()
      timer.action()
    }
  }

  /// Runs the submitted work until there is none, and records that under the lock, so that the next submission wakes
  /// the thread.
  private func runSubmitted() {
    while takeSubmitted() {
      for item in batch {
        switch item {
        case .job(let job):
          job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
        case .closure(let closure): closure()
        }
      }
      batch.removeAll(keepingCapacity: batch.count <= 1_024)
    }
  }

  private func takeSubmitted() -> Bool {
    inbox.withLock { inbox in
      swap(&inbox.work, &batch)
      inbox.isAwake = !batch.isEmpty
      return inbox.isAwake
    }
  }

  private func timeoutMilliseconds() -> Int32 {
    guard let first = timers.min else { return -1 }
    let (seconds, attoseconds) = (first.deadline - .now).components
    if seconds < 0 || attoseconds < 0 { return 0 }
    let milliseconds = min(seconds, 3_600) * 1_000 + attoseconds / 1_000_000_000_000_000 + 1
    return Int32(milliseconds)
  }

  private func submit(_ work: Work) {
    let mustWake = inbox.withLock { inbox in
      inbox.work.append(work)
      defer { inbox.isAwake = true }
      return !inbox.isAwake
    }
    if mustWake { descriptors.wakeThread() }
  }

  private func control(_ operation: Int32, _ descriptor: Int32, _ interest: Readiness) {
    var event = epoll_event()
    event.events = interest.rawValue
    event.data.fd = descriptor
    epoll_ctl(descriptors.poll, operation, descriptor, &event)
  }
}
