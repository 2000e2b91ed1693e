package import Foundation

/// A point in time by two clocks: leases use the one that is never set, windows and expiry use PostgreSQL's
/// (``DatabaseClock``).
package struct Moment: Sendable {
  package let instant: ContinuousClock.Instant
  /// PostgreSQL's time as this instance knows it: for windows, for counts and for display. It goes back if PostgreSQL's
  /// clock is set back.
  package let date: Date
  /// The time that expiry is judged by: `date`, or the latest time returned before, so that nothing that has expired
  /// becomes valid again.
  package let expiryDate: Date

  init(instant: ContinuousClock.Instant, date: Date, expiryDate: Date? = nil) {
    self.instant = instant
    self.date = date
    self.expiryDate = max(date, expiryDate ?? date)
  }

  /// `date` in milliseconds since 1970.
  package var milliseconds: Int { date.milliseconds }
}
