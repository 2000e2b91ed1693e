import DequeModule

/// How many requests each of many subjects has sent, in sliding windows of a minute; as a value: no clock in here.
///
/// Only so many subjects are kept. When there is one more, the one whose last window began first is forgotten, and
/// begins anew if it comes again: who has very many addresses cannot make this grow.
struct RequestWindows<Subject: Hashable & Sendable>: Sendable {
  private struct Entry {
    var window = SlidingWindow(seconds: RequestWindows.windowSeconds)
    /// The minute, since 1970, of its last place in the queue.
    var minute: Int
  }

  static var windowSeconds: Int { 60 }
  /// Places of the queue that one request looks at for what is over: more than it adds.
  private static var sweptCount: Int { 4 }

  /// Subjects at most.
  let countMax: Int
  private var entries: [Subject: Entry] = [:]
  /// Each subject with the minutes that it was seen in, the earliest first. A place whose minute is not that of the
  /// subject's entry is out of date.
  private var queue = Deque<(subject: Subject, minute: Int)>()

  init(countMax: Int) { self.countMax = countMax }

  /// Subjects now.
  var count: Int { entries.count }

  /// Counts a request if it is within the limit. `now` is in milliseconds since 1970.
  mutating func admit(_ subject: Subject, limit: Int, at now: Int) -> SlidingWindow.Decision {
    sweep(at: now)
    let minute = Self.minute(now)
    var entry: Entry
    if let known = entries[subject] {
      entry = known
      // Requests come out of order, so that a minute that has just ended may seem to come back.
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

  /// Forgets windows that count no more, a few at a time.
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
