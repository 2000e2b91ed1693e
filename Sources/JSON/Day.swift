package import Foundation

/// A day of the calendar in UTC.
package struct Day: Hashable, Comparable, Sendable, CustomStringConvertible {
  private static let secondsPerDay = 86_400.0

  /// Days since 1970-01-01.
  package let number: Int

  package init(number: Int) { self.number = number }

  package init(containing date: Date) {
    number = Int(bounding: (date.timeIntervalSince1970 / Self.secondsPerDay).rounded(.down))
  }

  package static func < (one: Day, other: Day) -> Bool { one.number < other.number }

  package func advanced(by days: Int) -> Day { Day(number: number + days) }

  /// `2026-01-31`
  package var description: String {
    let (year, month, day) = civil
    let zeros = String(repeating: "0", count: (0..<1_000).contains(year) ? 4 - "\(year)".count : 0)
    return "\(zeros)\(year)-\(month < 10 ? "0" : "")\(month)-\(day < 10 ? "0" : "")\(day)"
  }

  /// Year, month and day in the Gregorian calendar: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
  /// `civil_from_days`.
  package var civil: (year: Int, month: Int, day: Int) {
    let shifted = number + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
  }
}
