import DequeModule

/// Work for threads that run when nothing else wants their processor, and for one that helps out when something else
/// always does: then what they have begun and what is waiting is done all the same, by a thread that gets its share.
struct HashingBacklog<Work: Sendable> {
  /// What a thread does now, and tells of when it has finished.
  struct Begun: Sendable {
    fileprivate let number: Int
    let work: Work
  }

  enum Help {
    /// Nothing is to be done.
    case rest
    /// Who is asked then may find that nothing has been finished until then.
    case wait(until: ContinuousClock.Instant)
    /// Perhaps begun by another thread, too.
    case work(Work)
  }

  /// How long the threads may finish nothing before they are helped.
  private let patience: Duration
  private var waiting = Deque<Work>()
  /// Not finished yet; those that were helped with are no longer among them.
  private var begun = Deque<Begun>()
  private var begunCount = 0
  /// When something was finished, or when there was something to do again.
  private var progressAt = ContinuousClock.now

  init(patience: Duration) { self.patience = patience }

  /// True if there was nothing to do before.
  mutating func add(_ work: Work, at now: ContinuousClock.Instant) -> Bool {
    defer { waiting.append(work) }
    guard waiting.isEmpty && begun.isEmpty else { return false }
    progressAt = now
    return true
  }

  /// What has waited longest; nil if nothing waits.
  mutating func begin() -> Begun? {
    guard let work = waiting.popFirst() else { return nil }
    begunCount += 1
    let next = Begun(number: begunCount, work: work)
    begun.append(next)
    return next
  }

  /// Also of what was helped with meanwhile: its thread has got a processor, which is what the patience is about.
  mutating func finish(_ done: Begun, at now: ContinuousClock.Instant) {
    begun.removeAll { $0.number == done.number }
    progressAt = now
  }

  /// What the helper does next. What it finishes it tells nobody: that the threads are starved is as true as before.
  mutating func help(at now: ContinuousClock.Instant) -> Help {
    guard !(waiting.isEmpty && begun.isEmpty) else { return .rest }
    guard now >= progressAt + patience else { return .wait(until: progressAt + patience) }
    return begun.popFirst().map { .work($0.work) } ?? waiting.popFirst().map(Help.work) ?? .rest
  }
}
