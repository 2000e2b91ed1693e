import Foundation
import JSON
import Testing

@Suite("Day")
struct DayTests {
  @Test("every day from 1970 to 2100 is that of the calendar, and one number after the day before")
  func everyDay() {
    let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    var number = 0
    for year in 1970...2100 {
      let isLeap = year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400))
      for (index, length) in lengths.enumerated() {
        for day in 1...(index == 1 && isLeap ? 29 : length) {
          let civil = Day(number: number).civil
          #expect(civil == (year, index + 1, day))
          number += 1
        }
      }
    }
    #expect(Day(number: number).description == "2101-01-01")
  }

  @Test("the calendar goes on before the year 1 and before 0000-03-01, and every year has four digits at least")
  func firstYears() {
    let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    // The year 0 begins 719,528 days before 1970.
    var number = -719_528 - (366 + 3 * 365)
    for year in -4...4 {
      let isLeap = year.isMultiple(of: 4)
      for (index, length) in lengths.enumerated() {
        for day in 1...(index == 1 && isLeap ? 29 : length) {
          #expect(Day(number: number).civil == (year, index + 1, day))
          number += 1
        }
      }
    }
    #expect(Day(number: -719_528).description == "0000-01-01")
    #expect(Day(number: -719_162).description == "0001-01-01")
    #expect(Day(number: -354_285).description == "1000-01-01")
    #expect(Day(number: -354_286).description == "0999-12-31")
  }

  @Test("a day begins at midnight UTC and ends before the next one, also before 1970")
  func midnight() {
    for number in [-1, 0, 20_000] {
      let midnight = Double(number) * 86_400
      #expect(Day(containing: Date(timeIntervalSince1970: midnight)).number == number)
      #expect(Day(containing: Date(timeIntervalSince1970: midnight + 86_399.999)).number == number)
      #expect(Day(containing: Date(timeIntervalSince1970: midnight - 0.001)).number == number - 1)
    }
  }

  @Test("days sort by time, and are advanced over the ends of months and years")
  func order() {
    let day = Day(containing: Date(timeIntervalSince1970: 1_709_164_800))
    #expect(day.description == "2024-02-29")
    #expect(day.advanced(by: 1).description == "2024-03-01")
    #expect(day.advanced(by: -366).description == "2023-02-28")
    #expect(day.advanced(by: 307).description == "2025-01-01")
    #expect(day < day.advanced(by: 1) && !(day < day))
  }
}
