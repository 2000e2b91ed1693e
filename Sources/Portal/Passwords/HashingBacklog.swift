import DequeModule

/// The work of threads that run only while a processor is otherwise idle, and of a helper thread that gets a share of
/// a busy processor. If the threads make no progress, the helper takes over the work that they have begun, and then the
/// work that is waiting.
struct HashingBacklog<Work: Sendable> {
  /// Work that a thread has begun, and passes to ``finish(_:at:)`` when it is done.
  struct Begun: Sendable {
    fileprivate let number: Int
    let work: Work
  }

  enum Help {
    /// There is no work.
    case rest
    /// The helper asks again at this time, and gets work if none has been finished by then.
    case wait(until: ContinuousClock.Instant)
    /// Another thread may have begun this work, too.
    case work(Work)
  }

  /// How long the threads may make no progress before the helper gets work.
  private let patience: Duration
  private var waiting = Deque<Work>()
  /// Begun and not finished, except for work that the helper took over.
  private var begun = Deque<Begun>()
  private var begunCount = 0
  /// When a thread last finished work, or when work was last added to an empty backlog.
  private var progressAt = ContinuousClock.now

  init(patience: Duration) { self.patience = patience }

  /// Returns true if the backlog was empty.
  mutating func add(_ work: Work, at now: ContinuousClock.Instant) -> Bool {
    defer { waiting.append(work) }
    guard waiting.isEmpty && begun.isEmpty else { return false }
    progressAt = now
    return true
  }

  /// Returns the work that has waited longest; nil if none is waiting.
  mutating func begin() -> Begun? {
    guard let work = waiting.popFirst() else { return nil }
    begunCount += 1
    let next = Begun(number: begunCount, work: work)
    begun.append(next)
    return next
  }

  /// Work that the helper took over counts as progress, too: its thread got a processor, and that is what `patience` is
  /// about.
  mutating func finish(_ done: Begun, at now: ContinuousClock.Instant) {
    begun.removeAll { $0.number == done.number }
    progressAt = now
  }

  /// Returns what the helper does next. Work that the helper finishes is no progress, because the threads are still
  /// starved.
  mutating func help(at now: ContinuousClock.Instant) -> Help {
    guard !(waiting.isEmpty && begun.isEmpty) else { return .rest }
    guard now >= progressAt + patience else { return .wait(until: progressAt + patience) }
    return begun.popFirst().map { .work($0.work) } ?? waiting.popFirst().map(Help.work) ?? .rest
  }
}
