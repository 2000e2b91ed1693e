import Foundation
import JSON
import PostgresTesting
import Testing

@testable import Portal

@Suite("RefillCalendar")
struct RefillCalendarTests {
  private func date(_ text: String) throws -> Date {
    try #require(Timestamp.date(from: text.contains("T") ? text : text + "T00:00:00Z"))
  }

  @Test("daily is the next midnight in UTC, and never the time itself")
  func daily() throws {
    for (date, next) in [
      ("2026-01-31", "2026-02-01"), ("2026-01-31T00:00:00.001Z", "2026-02-01"),
      ("2026-01-31T23:59:59.999Z", "2026-02-01"),
      ("2024-02-28T12:00:00Z", "2024-02-29"), ("2026-12-31T23:30:00-01:00", "2027-01-02"),
    ] {
      #expect(try RefillCalendar.daily.next(after: self.date(date)) == self.date(next), "\(date)")
    }
  }

  @Test(
    "monthly is that day, or the last day of a shorter month",
    arguments: [
      (1, "2026-01-01", "2026-02-01"), (1, "2026-12-01T00:00:00.001Z", "2027-01-01"),
      (15, "2026-01-14T23:59:59Z", "2026-01-15"),
      (15, "2026-01-15", "2026-02-15"), (31, "2026-01-31", "2026-02-28"), (31, "2026-02-28", "2026-03-31"),
      (31, "2026-03-31", "2026-04-30"), (31, "2024-01-31", "2024-02-29"), (30, "2024-02-29", "2024-03-30"),
      (29, "2023-01-29", "2023-02-28"), (29, "2000-02-01", "2000-02-29"), (29, "2100-02-01", "2100-02-28"),
      (30, "2026-02-27T23:59:59.999Z", "2026-02-28"), (31, "2026-12-31", "2027-01-31"),
      (0, "2026-01-31", "2026-02-01"), (32, "2026-01-31", "2026-02-28"), (.max, "2026-03-01", "2026-03-31"),
      (.min, "2026-03-01", "2026-04-01"),
    ])
  func monthly(_ day: Int, _ date: String, _ next: String) throws {
    #expect(try RefillCalendar.monthly(day: day).next(after: self.date(date)) == self.date(next))
  }

  @Test("over four centuries, each month has one refill, on its day or its last day", arguments: [1, 28, 29, 30, 31])
  func fourCenturies(_ dayOfMonth: Int) throws {
    let calendar = RefillCalendar.monthly(day: dayOfMonth)
    var expected: [Date] = []
    var day = Day(number: 0)
    while day.civil.year < 2370 {
      let tomorrow = day.advanced(by: 1)
      if day.civil.day == dayOfMonth || day.civil.day < dayOfMonth && tomorrow.civil.month != day.civil.month {
        expected.append(Date(timeIntervalSince1970: Double(day.number) * 86_400))
      }
      day = tomorrow
    }
    #expect(expected.count == 400 * 12)
    var refills: [Date] = []
    var last = Date(timeIntervalSince1970: -1)
    for _ in expected {
      last = try #require(calendar.next(after: last))
      refills.append(last)
    }
    #expect(refills == expected)
  }

  @Test(
    "whoever looks at random times refills once in each period in which they look, and never twice", arguments: 0..<20)
  func oncePerPeriod(_ seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    let calendar = random.oneIn(2) ? RefillCalendar.daily : .monthly(day: Int.random(in: 1...31, using: &random))
    var now = try date("2026-01-31T12:00:00Z")
    var next = try #require(calendar.next(after: now))
    for _ in 0..<500 {
      let before = now
      now +=
        TimeInterval(random.pick([1, 3_600, 86_400, 20 * 86_400, 400 * 86_400]))
        * Double.random(in: 0...1, using: &random)
      // Whether a refill lies between the two looks, told without `next`.
      let isDue = try #require(calendar.next(after: before)) <= now
      #expect((next <= now) == isDue, "seed \(seed)")
      if next <= now { next = try #require(calendar.next(after: now)) }
      #expect(next > now, "seed \(seed)")
    }
  }

  @Test("there is none after the year 9999, and none before 1970, whatever the time")
  func ends() throws {
    let lastDay = try date("9999-12-31")
    #expect(try RefillCalendar.daily.next(after: date("9999-12-30T23:59:59.999Z")) == lastDay)
    #expect(RefillCalendar.daily.next(after: lastDay) == nil)
    #expect(try RefillCalendar.monthly(day: 31).next(after: date("9999-12-30")) == lastDay)
    #expect(try RefillCalendar.monthly(day: 30).next(after: date("9999-12-30")) == nil)
    for calendar in [RefillCalendar.daily, .monthly(day: 1)] {
      for seconds in [-Double.infinity, -1e300, -62_135_596_801, -1] {
        #expect(calendar.next(after: Date(timeIntervalSince1970: seconds)) == Date(timeIntervalSince1970: 0))
      }
      for seconds in [Double.infinity, 1e300, 253_402_300_800] {
        #expect(calendar.next(after: Date(timeIntervalSince1970: seconds)) == nil)
      }
      _ = calendar.next(after: Date(timeIntervalSince1970: .nan))
    }
  }
}
