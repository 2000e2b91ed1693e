/// A maximum cost per window, without the name of a limit.
package struct WindowLimit: Sendable, Equatable {
  /// The maximum cost within a window.
  package var limit: Int
  /// Positive.
  package var windowMilliseconds: Int

  package init(limit: Int, windowMilliseconds: Int) {
    self.limit = limit
    self.windowMilliseconds = windowMilliseconds
  }

  /// Whether it allows more per time; if both allow the same, whether it allows more at once.
  func isHigher(than other: WindowLimit) -> Bool {
    let (rate, otherRate) = (
      Int128(limit) * Int128(other.windowMilliseconds), Int128(other.limit) * Int128(windowMilliseconds)
    )
    return rate != otherRate ? rate > otherRate : limit > other.limit
  }
}
