package import Foundation
import JSON

/// The times at which credits are refilled, always at 00:00 UTC.
///
/// The caller stores the time of the next refill. After that time it refills once and stores `next(after:)` of the
/// current time. Refills that were missed in between are not made up for, and the schedule does not shift.
package enum RefillCalendar: Sendable, Equatable {
  /// 9999-12-31, the last day that a time of the API can be on.
  private static let lastDay = Day(number: 2_932_896)
  private static let dayOfMonthMax = 31

  case daily
  /// On this day of each month, 1 to 31, or on the last day of a month that is shorter. Another number is reduced to
  /// the nearest of these.
  case monthly(day: Int)

  /// The first refill after a time, not at it; never before 1970. Nil if it would be after the year 9999.
  package func next(after date: Date) -> Date? {
    // 00:00 of the date's own day is not after it.
    let today = max(Day(containing: date), Day(number: -1))
    guard today < Self.lastDay else { return nil }
    let next = next(after: today)
    return next <= Self.lastDay ? Date(timeIntervalSince1970: Double(next.number) * 86_400) : nil
  }

  private func next(after today: Day) -> Day {
    guard case .monthly(let dayOfMonth) = self else { return today.advanced(by: 1) }
    let month = today.advanced(by: 1 - today.civil.day)
    let day = Self.day(dayOfMonth, ofMonth: month)
    return day > today ? day : Self.day(dayOfMonth, ofMonth: Self.monthAfter(month))
  }

  /// Takes the first day of a month, as `monthAfter` does.
  private static func day(_ dayOfMonth: Int, ofMonth month: Day) -> Day {
    min(month.advanced(by: min(max(1, dayOfMonth), dayOfMonthMax) - 1), monthAfter(month).advanced(by: -1))
  }

  private static func monthAfter(_ month: Day) -> Day {
    // In the next month, whose first days these are.
    let day = month.advanced(by: dayOfMonthMax)
    return day.advanced(by: 1 - day.civil.day)
  }
}
