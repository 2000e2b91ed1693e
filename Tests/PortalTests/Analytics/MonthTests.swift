import Foundation
import JSON
import Testing

@testable import Portal

@Suite("Month")
struct MonthTests {
  @Test("a month is a year and a month, and has its days, also in leap years")
  func days() throws {
    for (text, last) in [
      ("2026-01", "2026-01-31"), ("2026-02", "2026-02-28"), ("2028-02", "2028-02-29"), ("2100-02", "2100-02-28"),
      ("2026-11", "2026-11-30"), ("9999-12", "9999-12-31"),
    ] {
      let month = try #require(Month(text))
      #expect(month.days.from.description == text + "-01" && month.days.to.description == last)
      #expect(month.description == text)
    }
  }

  @Test("anything else is no month")
  func others() {
    for text in ["", "2026", "2026-1", "2026-00", "2026-13", "2026-011", "2026-11-", "+026-11", "2026/11", "２026-1"] {
      #expect(Month(text) == nil, "\(text)")
    }
  }

  @Test("a month is final 48 hours after its end")
  func final() throws {
    #expect(Timestamp.text(of: try #require(Month("2026-01")).finalAt) == "2026-02-03T00:00:00.000Z")
    #expect(Timestamp.text(of: try #require(Month("2026-12")).finalAt) == "2027-01-03T00:00:00.000Z")
  }
}
