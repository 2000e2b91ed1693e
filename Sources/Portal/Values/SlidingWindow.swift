import Foundation

/// A sliding-window counter: the cost used in the current fixed window, and in the previous one, weighted by the part
/// of it that the sliding window still covers. Two integers per limit, whatever the rate.
///
/// Some of its numbers come from rows written by other instances or by an operator. A number beyond any clock or limit
/// is reduced to the maximum, so that nothing here overflows.
package struct SlidingWindow: Sendable, Equatable {
  /// A limit's decision on one request.
  package struct Decision: Sendable, Equatable {
    package var isAdmitted: Bool
    package var limit: Int
    package var remaining: Int
    /// Seconds until the current window ends.
    package var resetSeconds: Int
    /// Seconds until the same request would be admitted if no other came; 0 if it was. Nil if it never would be,
    /// because it costs more than the limit.
    package var retryAfterSeconds: Int?
  }

  /// More than any limit.
  static let countMax = 1 << 32
  /// The end of the year 9999: later times of a database clock are reduced to it.
  private static let millisecondsMax = 253_402_300_799_999

  private let lengthMilliseconds: Int
  private var index: Int
  private var current: Int
  private var previous: Int

  /// `index` is the number of the current fixed window since 1970, in units of its length.
  package init(milliseconds: Int, index: Int = 0, current: Int = 0, previous: Int = 0) {
    self.init(
      lengthMilliseconds: Self.bounded(length: milliseconds), index: Self.bounded(index: index, length: milliseconds),
      current: Self.bounded(count: current), previous: Self.bounded(count: previous))
  }

  package init(seconds: Int, index: Int = 0, current: Int = 0, previous: Int = 0) {
    self.init(milliseconds: Self.milliseconds(seconds), index: index, current: current, previous: previous)
  }

  /// Takes numbers that are already bounded; the counts may be sums of two.
  init(lengthMilliseconds: Int, index: Int, current: Int, previous: Int) {
    self.lengthMilliseconds = lengthMilliseconds
    self.index = index
    self.current = current
    self.previous = previous
  }

  /// The length of a window, which is that of a limit.
  static func bounded(length milliseconds: Int) -> Int {
    let range = RateLimit.windowMillisecondsRange
    return min(max(range.lowerBound, milliseconds), range.upperBound)
  }

  /// The length of a window in milliseconds.
  static func milliseconds(_ seconds: Int) -> Int {
    min(max(1, seconds), RateLimit.windowMillisecondsRange.upperBound / 1_000) * 1_000
  }

  static func bounded(index: Int, length milliseconds: Int) -> Int {
    min(max(0, index), millisecondsMax / bounded(length: milliseconds))
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

  /// The decision that `admit` would return, without taking anything.
  package func peek(cost: Int, limit: Int, at now: Int) -> Decision {
    var copy = self
    copy.advance(to: now)
    return copy.decision(copy.fits(cost: cost, limit: limit, at: now), cost: cost, limit: limit, at: now)
  }

  /// Whether `cost` fits, in a window that has been advanced to `now`.
  func fits(cost: Int, limit: Int, at now: Int) -> Bool { used(at: now) + cost <= limit }

  /// Whether nothing in it counts any more.
  package func isOver(at now: Int) -> Bool { now / lengthMilliseconds > index + 1 }

  private mutating func advance(to now: Int) {
    switch Step(from: index, to: now, lengthMilliseconds: lengthMilliseconds) {
    case .stay: break
    case .next: (index, current, previous) = (now / lengthMilliseconds, 0, current)
    case .skip: (index, current, previous) = (now / lengthMilliseconds, 0, 0)
    case .back: (index, current, previous) = (now / lengthMilliseconds, Self.bounded(count: current + previous), 0)
    }
  }

  /// The way in which a window advances to a time.
  enum Step {
    case stay
    /// The next fixed window is now the current one.
    case next
    /// A later fixed window is now the current one: nothing that was used counts any more.
    case skip
    /// The clock was set back. Everything used counts as used in the window that is current again: no less than before,
    /// and forgotten after two windows.
    case back

    /// Requests arrive out of order, but none is later than this.
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

  /// Rounded up, so that the limit is never exceeded by a fraction.
  func used(at now: Int) -> Int {
    let left = max(0, lengthMilliseconds - elapsed(at: now))
    return current + Self.divide(previous, times: left, by: lengthMilliseconds, up: true)
  }

  /// The decision on a request that was admitted, and then taken, or refused.
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
        // Within this window, once enough of the previous one has slid out.
        lengthMilliseconds - Self.divide(spare, times: lengthMilliseconds, by: previous) - elapsed
      } else if current > 0 {
        // In the next window, when enough of this one has slid out.
        2 * lengthMilliseconds - elapsed - Self.divide(limit - cost, times: lengthMilliseconds, by: current)
      } else {
        lengthMilliseconds
      }
    return max(1, Self.divideUp(milliseconds, 1_000))
  }

  private static func divideUp(_ number: Int, _ divisor: Int) -> Int { (number + divisor - 1) / divisor }

  /// `number * factor / divisor`, rounded down or up, at most 2^60. The numbers are not negative. The product is beyond
  /// 64 bits if both a count and the length of a window are very large.
  private static func divide(_ number: Int, times factor: Int, by divisor: Int, up: Bool = false) -> Int {
    let rest = up ? divisor - 1 : 0
    let (product, isTooLarge) = number.multipliedReportingOverflow(by: factor)
    if !isTooLarge, product < 1 << 62 { return (product + rest) / divisor }
    return min(1 << 60, Int(clamping: (Int128(number) * Int128(factor) + Int128(rest)) / Int128(divisor)))
  }
}
