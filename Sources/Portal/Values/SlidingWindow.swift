import Foundation

/// A sliding-window counter: what was used in the current fixed window, and in the one before it, which counts by the
/// part of it that the sliding window still covers. Two integers a limit, whatever the rate.
///
/// Part of it comes from rows, which hold what others, or an operator, put there. What is beyond any clock, or any
/// limit, is taken for the most that there can be, so that nothing here overflows.
package struct SlidingWindow: Sendable, Equatable {
  /// What a limit says of one request.
  package struct Decision: Sendable, Equatable {
    package var isAdmitted: Bool
    package var limit: Int
    package var remaining: Int
    /// Until the current window ends.
    package var resetSeconds: Int
    /// Until the same request would be admitted if nothing else came; 0 when it was. Nil if it never would be, since it
    /// costs more than the limit.
    package var retryAfterSeconds: Int?
  }

  /// More than any limit is, and so much less than what a number holds that it can be multiplied with the length of any
  /// window.
  static let countMax = 1 << 32
  /// The end of the year 9999: clocks of the database are believed up to there.
  private static let millisecondsMax = 253_402_300_799_999

  private let lengthMilliseconds: Int
  private var index: Int
  private var current: Int
  private var previous: Int

  /// `index` is that of the current fixed window since 1970, in units of its length.
  package init(seconds: Int, index: Int = 0, current: Int = 0, previous: Int = 0) {
    self.init(
      lengthMilliseconds: Self.lengthMilliseconds(seconds), index: Self.bounded(index: index, seconds: seconds),
      current: Self.bounded(count: current), previous: Self.bounded(count: previous))
  }

  /// Of what is bounded already; the counts may be sums of two.
  init(lengthMilliseconds: Int, index: Int, current: Int, previous: Int) {
    self.lengthMilliseconds = lengthMilliseconds
    self.index = index
    self.current = current
    self.previous = previous
  }

  static func lengthMilliseconds(_ seconds: Int) -> Int { min(max(1, seconds), RateLimit.windowSecondsMax) * 1_000 }

  static func bounded(index: Int, seconds: Int) -> Int {
    min(max(0, index), millisecondsMax / lengthMilliseconds(seconds))
  }

  static func bounded(count: Int) -> Int { min(max(0, count), countMax) }

  /// Takes `cost` if it fits; nothing otherwise. `now` is in milliseconds since 1970.
  @discardableResult
  package mutating func admit(cost: Int, limit: Int, at now: Int) -> Decision {
    advance(to: now)
    let isAdmitted = fits(cost: cost, limit: limit, at: now)
    if isAdmitted { current += cost }
    return decision(isAdmitted, cost: cost, limit: limit, at: now)
  }

  /// What `admit` would say, without taking anything.
  package func peek(cost: Int, limit: Int, at now: Int) -> Decision {
    var copy = self
    copy.advance(to: now)
    return copy.decision(copy.fits(cost: cost, limit: limit, at: now), cost: cost, limit: limit, at: now)
  }

  /// Whether as much is left; for a window that has come as far as `now`.
  func fits(cost: Int, limit: Int, at now: Int) -> Bool { used(at: now) + cost <= limit }

  /// Whether nothing of it counts any more.
  package func isOver(at now: Int) -> Bool { now / lengthMilliseconds > index + 1 }

  private mutating func advance(to now: Int) {
    switch Step(from: index, to: now, lengthMilliseconds: lengthMilliseconds) {
    case .stay: break
    case .next: (index, current, previous) = (now / lengthMilliseconds, 0, current)
    case .skip: (index, current, previous) = (now / lengthMilliseconds, 0, 0)
    case .back: (index, current, previous) = (now / lengthMilliseconds, Self.bounded(count: current + previous), 0)
    }
  }

  /// How a window comes to a time.
  enum Step {
    case stay
    /// The fixed window that follows is the current one.
    case next
    /// A later one is: nothing that was used counts any more.
    case skip
    /// The clock was set back. All that was used counts as used in the window that is the current one again: no less
    /// than before, and forgotten when two windows have passed.
    case back

    /// Requests come out of order, but none is later than this behind another.
    private static let lateMillisecondsMax = 5_000

    init(from index: Int, to now: Int, lengthMilliseconds: Int) {
      let newIndex = now / lengthMilliseconds
      self =
        if newIndex > index {
          newIndex == index + 1 ? .next : .skip
        } else {
          index * lengthMilliseconds - now > Self.lateMillisecondsMax ? .back : .stay
        }
    }
  }

  private func elapsed(at now: Int) -> Int { max(0, now - index * lengthMilliseconds) }

  /// Rounded up, so that the limit is never passed by a fraction.
  func used(at now: Int) -> Int {
    current + Self.divideUp(previous * max(0, lengthMilliseconds - elapsed(at: now)), lengthMilliseconds)
  }

  /// What is said of a request that was admitted, and then taken, or refused.
  func decision(_ isAdmitted: Bool, cost: Int, limit: Int, at now: Int) -> Decision {
    Decision(
      isAdmitted: isAdmitted, limit: limit, remaining: max(0, limit - used(at: now)),
      resetSeconds: Self.divideUp(max(0, lengthMilliseconds - elapsed(at: now)), 1_000),
      retryAfterSeconds: isAdmitted ? 0 : retryAfterSeconds(cost: cost, limit: limit, at: now))
  }

  private func retryAfterSeconds(cost: Int, limit: Int, at now: Int) -> Int? {
    guard cost <= limit else { return nil }
    let elapsed = elapsed(at: now)
    let spare = limit - cost - current
    let milliseconds =
      if spare >= 0, previous > 0 {
        // Within this window, once enough of the one before has slid out.
        lengthMilliseconds - spare * lengthMilliseconds / previous - elapsed
      } else if current > 0 {
        // In the next window, when enough of this one has slid out.
        lengthMilliseconds - elapsed + lengthMilliseconds - (limit - cost) * lengthMilliseconds / current
      } else {
        lengthMilliseconds
      }
    return max(1, Self.divideUp(milliseconds, 1_000))
  }

  private static func divideUp(_ number: Int, _ divisor: Int) -> Int { (number + divisor - 1) / divisor }
}
