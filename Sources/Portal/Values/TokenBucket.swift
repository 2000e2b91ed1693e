/// A token bucket: what a request costs is taken from it, and it fills up evenly, `refill` tokens per interval, until
/// it is full again. Two integers per limit, whatever the rate.
///
/// It counts what is missing, in units of a token divided by the milliseconds of its interval. Each millisecond,
/// `refill` units come back, so nothing is ever rounded. A bucket in which nothing is missing is like one that was
/// never used. Size and refill may change at any time; with another interval, it is another bucket.
///
/// Some of its numbers come from rows written by other instances or by an operator. A number out of bounds is reduced
/// to the nearest bound, so that nothing here overflows.
package struct TokenBucket: Sendable, Equatable {
  /// How large a bucket is, and how quickly it fills.
  package struct Settings: Sendable, Hashable {
    package static let sizeMax = RateLimit.limitMax
    /// Ten years of 366 days.
    package static let intervalMillisecondsMax = 3_660 * 86_400_000

    /// Tokens in a full bucket, 0 to `sizeMax`.
    package let size: Int
    /// Tokens that come back in each interval, 1 to `sizeMax`.
    package let refill: Int
    /// 1 to `intervalMillisecondsMax`.
    package let intervalMilliseconds: Int

    package init(size: Int, refill: Int, intervalMilliseconds: Int) {
      self.size = min(max(0, size), Self.sizeMax)
      self.refill = min(max(1, refill), Self.sizeMax)
      self.intervalMilliseconds = min(max(1, intervalMilliseconds), Self.intervalMillisecondsMax)
    }

    /// The time in which an empty bucket fills, rounded up.
    package var fillMilliseconds: Int { TokenBucket.divideUp(size * intervalMilliseconds, refill) }
  }

  /// Requests arrive out of order, but none is later than this.
  private static let lateMillisecondsMax = 5_000
  /// The end of the year 9999: later times of a database clock are reduced to it.
  private static let millisecondsMax = 253_402_300_799_999

  /// What was missing at `time`, in tokens × milliseconds of the interval.
  package private(set) var missing: Int
  /// In milliseconds since 1970.
  package private(set) var time: Int

  package init(missing: Int = 0, time: Int = 0) {
    self.missing = Self.bounded(missing: missing)
    self.time = Self.bounded(time)
  }

  /// Takes `cost` if it fits; nothing otherwise. `now` is in milliseconds since 1970.
  ///
  /// The limit of the decision is the size of the bucket, and its reset is when the bucket will be full.
  @discardableResult
  package mutating func admit(cost: Int, _ settings: Settings, at now: Int) -> SlidingWindow.Decision {
    let now = Self.bounded(now)
    advance(to: now, settings)
    let cost = max(0, cost)
    let isAdmitted = fits(cost: cost, settings)
    if isAdmitted { missing += cost * settings.intervalMilliseconds }
    return decision(isAdmitted, cost: cost, settings, at: now)
  }

  /// Takes what was taken elsewhere until now, whether it fits or not. If more is missing than there is in a full
  /// bucket, it takes longer to fill.
  mutating func take(_ count: Int, _ settings: Settings, at now: Int) {
    advance(to: Self.bounded(now), settings)
    missing = Self.bounded(missing: missing + min(max(0, count), Settings.sizeMax) * settings.intervalMilliseconds)
  }

  /// As ``take(_:_:at:)``, where it is not known when that was, and all of it may have come back: nothing is left, at
  /// most.
  mutating func takeAtMost(_ count: Int, _ settings: Settings, at now: Int) {
    take(count, settings, at: now)
    missing = min(missing, settings.size * settings.intervalMilliseconds)
  }

  /// Gives back what was taken.
  mutating func giveBack(_ count: Int, _ settings: Settings) {
    missing = max(0, missing - min(max(0, count), Settings.sizeMax) * settings.intervalMilliseconds)
  }

  /// The state after a request that was admitted, and then taken, or refused.
  func decision(_ isAdmitted: Bool, cost: Int, of settings: Settings, at now: Int) -> SlidingWindow.Decision {
    let now = Self.bounded(now)
    var copy = self
    copy.advance(to: now, settings)
    return copy.decision(isAdmitted, cost: max(0, cost), settings, at: now)
  }

  /// The decision that `admit` would return, without taking anything.
  package func peek(cost: Int, _ settings: Settings, at now: Int) -> SlidingWindow.Decision {
    let now = Self.bounded(now)
    var copy = self
    copy.advance(to: now, settings)
    let cost = max(0, cost)
    return copy.decision(copy.fits(cost: cost, settings), cost: cost, settings, at: now)
  }

  /// Whether it is full, as if it had never been used.
  package func isFull(_ settings: Settings, at now: Int) -> Bool {
    var copy = self
    copy.advance(to: Self.bounded(now), settings)
    return copy.missing == 0
  }

  private static func bounded(missing: Int) -> Int {
    min(max(0, missing), Settings.sizeMax * Settings.intervalMillisecondsMax)
  }

  private static func bounded(_ milliseconds: Int) -> Int { min(max(0, milliseconds), millisecondsMax) }

  /// If the clock was set back, nothing comes back for the time that it repeats, and the bucket fills from the new time
  /// on.
  private mutating func advance(to now: Int, _ settings: Settings) {
    if now >= time {
      let elapsed = now - time
      // Compared first, because the product may be beyond any integer.
      missing = elapsed >= Self.divideUp(missing, settings.refill) ? 0 : missing - elapsed * settings.refill
      time = now
    } else if time - now > Self.lateMillisecondsMax {
      time = now
    }
  }

  /// Whether `cost` fits, in a bucket that has been advanced.
  private func fits(cost: Int, _ settings: Settings) -> Bool {
    cost <= settings.size && missing <= (settings.size - cost) * settings.intervalMilliseconds
  }

  private func decision(
    _ isAdmitted: Bool, cost: Int, _ settings: Settings, at now: Int
  ) -> SlidingWindow.Decision {
    SlidingWindow.Decision(
      isAdmitted: isAdmitted, limit: settings.size,
      remaining: max(0, settings.size * settings.intervalMilliseconds - missing) / settings.intervalMilliseconds,
      resetSeconds: seconds(until: 0, settings, at: now),
      retryAfterSeconds: isAdmitted
        ? 0
        : cost > settings.size
          ? nil : max(1, seconds(until: (settings.size - cost) * settings.intervalMilliseconds, settings, at: now)))
  }

  /// Seconds until no more than this is missing, rounded up; 0 if that is so already.
  private func seconds(until missing: Int, _ settings: Settings, at now: Int) -> Int {
    guard self.missing > missing else { return 0 }
    // A request that arrived out of order waits for the bucket's own time, too.
    return Self.divideUp(Self.divideUp(self.missing - missing, settings.refill) + time - now, 1_000)
  }

  fileprivate static func divideUp(_ number: Int, _ divisor: Int) -> Int { (number + divisor - 1) / divisor }
}
