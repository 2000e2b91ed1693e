package import Foundation

/// When a request came in, by both clocks: leases run on the one that is never set, expiry and limits on the calendar's.
package struct Moment: Sendable {
  package let instant: ContinuousClock.Instant
  package let date: Date

  package static var now: Moment { Moment(instant: .now, date: Date()) }
}
