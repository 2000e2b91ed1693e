package import Foundation

/// When something is judged, by both clocks: leases run on the one that is never set, windows and expiry on
/// PostgreSQL's (``DatabaseClock``).
package struct Moment: Sendable {
  package let instant: ContinuousClock.Instant
  /// PostgreSQL's time, as far as this instance knows: for windows, for what is counted and for what is shown. It goes
  /// back where PostgreSQL's clock was set back.
  package let date: Date
  /// What expiry is judged by: `date`, or the latest that was told before, so that nothing that has expired is good
  /// again.
  package let expiryDate: Date

  init(instant: ContinuousClock.Instant, date: Date, expiryDate: Date? = nil) {
    self.instant = instant
    self.date = date
    self.expiryDate = max(date, expiryDate ?? date)
  }

  /// Of `date`, since 1970.
  package var milliseconds: Int { date.milliseconds }
}
