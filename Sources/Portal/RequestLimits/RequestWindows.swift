import DequeModule

/// The number of requests of each subject, in sliding windows of a minute. A value without a clock.
///
/// At most ``countMax`` subjects are kept. A further one evicts the subject whose last window began first, which starts
/// afresh if it returns. A client with very many addresses therefore cannot exhaust the memory.
struct RequestWindows<Subject: Hashable & Sendable>: Sendable {
  private struct Entry {
    var window = SlidingWindow(seconds: RequestWindows.windowSeconds)
    /// The minute, since 1970, of the subject's last entry in the queue.
    var minute: Int
  }

  static var windowSeconds: Int { 60 }
  /// The number of queue entries that a request checks for expiry: more than it adds.
  private static var sweptCount: Int { 4 }

  /// The maximum number of subjects.
  let countMax: Int
  private var entries: [Subject: Entry] = [:]
  /// Each subject with the minutes in which it was seen, earliest first. An element is out of date if its minute is not
  /// that of the subject's entry.
  private var queue = Deque<(subject: Subject, minute: Int)>()

  init(countMax: Int) { self.countMax = countMax }

  /// The current number of subjects.
  var count: Int { entries.count }

  /// Counts a request if it is within the limit. `now` is in milliseconds since 1970.
  mutating func admit(_ subject: Subject, limit: Int, at now: Int) -> SlidingWindow.Decision {
    sweep(at: now)
    let minute = Self.minute(now)
    var entry: Entry
    if let known = entries[subject] {
      entry = known
      // Requests arrive out of order, so one of the previous minute may follow one of the current minute.
      if minute > known.minute || minute < known.minute - 1 { queue(subject, &entry, in: minute) }
    } else {
      if entries.count >= countMax { evictOldest() }
      entry = Entry(minute: minute)
      queue(subject, &entry, in: minute)
    }
    let decision = entry.window.admit(cost: 1, limit: limit, at: now)
    entries[subject] = entry
    return decision
  }

  /// Whether ``admit(_:limit:at:)`` would count a request.
  func hasRoom(_ subject: Subject, limit: Int, at now: Int) -> Bool {
    guard let entry = entries[subject] else { return limit > 0 }
    return entry.window.peek(cost: 1, limit: limit, at: now).isAdmitted
  }

  private static func minute(_ now: Int) -> Int { now / (windowSeconds * 1_000) }

  private mutating func queue(_ subject: Subject, _ entry: inout Entry, in minute: Int) {
    entry.minute = minute
    queue.append((subject, minute))
  }

  /// Removes expired windows, a few at a time.
  private mutating func sweep(at now: Int) {
    for _ in 0..<Self.sweptCount {
      guard let first = queue.first else { return }
      let isCurrent = entries[first.subject]?.minute == first.minute
      if isCurrent, Self.minute(now) <= first.minute + 1 { return }
      queue.removeFirst()
      if isCurrent { entries[first.subject] = nil }
    }
  }

  private mutating func evictOldest() {
    while let first = queue.popFirst() {
      if entries[first.subject]?.minute == first.minute {
        entries[first.subject] = nil
        return
      }
    }
  }
}
