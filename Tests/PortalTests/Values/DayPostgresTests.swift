import Foundation
import JSON
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Day in PostgreSQL")
struct DayPostgresTests {
  @Test("a moment that no calendar has is some day, and PostgreSQL's first or last")
  func impossibleDays() {
    for seconds in [Double.infinity, 1e300, -1e300, -.infinity, .nan] {
      let day = Day(containing: Date(timeIntervalSince1970: seconds))
      #expect(!day.description.isEmpty)
      let expected: Int32 = seconds.isNaN ? -10_957 : seconds > 0 ? .max : .min
      #expect(day.postgresDate.daysSince2000 == expected)
    }
    for days in [Int32.min, .max] {
      let day = Day(PostgresDate(daysSince2000: days))
      #expect(day.postgresDate.daysSince2000 == days && (1...12).contains(day.civil.month))
    }
  }

  @Test("Foundation and PostgreSQL write the same day")
  func agrees() async throws {
    let numbers = Array(stride(from: 0, to: 47_847, by: 331)) + [11_016, 19_782]
    try await withPool { pool in
      let lines = try await pool.lines(
        "select date '1970-01-01' + n from unnest(array[\(numbers.map(String.init).joined(separator: ","))]) n")
      for (number, line) in zip(numbers, lines) {
        let day = Day(number: number)
        #expect(day.description == line)
        let noon = Date(timeIntervalSince1970: Double(number) * 86_400 + 43_200)
        #expect(noon.formatted(.iso8601.year().month().day()) == line)
        #expect(Day(containing: noon) == day)
        #expect(Day(day.postgresDate) == day)
      }
      #expect(lines.count == numbers.count)
    }
  }
}
