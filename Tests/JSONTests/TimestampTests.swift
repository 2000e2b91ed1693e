import Foundation
import JSON
import PostgresTesting
import Testing

@Suite("Timestamp")
struct TimestampTests {
  @Test("writes what Foundation writes, at random moments from 1970 to 9999")
  func writesAsFoundation() {
    let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
    var random = SeededGenerator(seed: 4)
    for _ in 0..<5_000 {
      // Half a millisecond in, so that rounding cannot change the millisecond.
      let milliseconds = Int.random(in: 0...253_402_300_799_999, using: &random)
      let date = Date(timeIntervalSince1970: Double(milliseconds) / 1_000 + 0.000_5)
      let seconds = Date(timeIntervalSince1970: Double(milliseconds / 1_000))
      let expected = seconds.formatted(style).dropLast(4) + "\(milliseconds % 1_000 + 1_000)".dropFirst() + "Z"
      #expect(Timestamp.text(of: date) == expected)
    }
  }

  @Test(
    "a time that RFC 3339 cannot express is written as the nearest one that it can",
    arguments: [
      (.infinity, "9999-12-31T23:59:59.999Z"), (1e300, "9999-12-31T23:59:59.999Z"),
      (253_402_300_800, "9999-12-31T23:59:59.999Z"), (253_402_300_799.9995, "9999-12-31T23:59:59.999Z"),
      (9_224_318_015_999.999, "9999-12-31T23:59:59.999Z"), (64_092_211_200, "4001-01-01T00:00:00.000Z"),
      (-30_610_224_000, "1000-01-01T00:00:00.000Z"), (-30_610_224_001, "0999-12-31T23:59:59.000Z"),
      (-62_135_596_800, "0001-01-01T00:00:00.000Z"), (-62_135_596_801, "0001-01-01T00:00:00.000Z"),
      (-210_866_803_200, "0001-01-01T00:00:00.000Z"), (-1e300, "0001-01-01T00:00:00.000Z"),
      (-.infinity, "0001-01-01T00:00:00.000Z"), (-0.5, "1969-12-31T23:59:59.500Z"), (.nan, "1970-01-01T00:00:00.000Z"),
    ] as [(Double, String)])
  func extremes(_ seconds: Double, _ expected: String) {
    #expect(Timestamp.text(of: Date(timeIntervalSince1970: seconds)) == expected)
  }

  @Test("a written time is read back to the same text: every millisecond survives")
  func roundTrip() throws {
    var random = SeededGenerator(seed: 5)
    for _ in 0..<5_000 {
      let seconds = Int.random(in: 0...253_402_300_799, using: &random)
      let milliseconds = Int.random(in: 0...999, using: &random)
      let text =
        Timestamp.text(of: Date(timeIntervalSince1970: Double(seconds))).dropLast(4)
        + "\(milliseconds + 1_000)".dropFirst() + "Z"
      let date = try #require(Timestamp.date(from: String(text)))
      #expect(Timestamp.text(of: date) == text)
    }
  }

  @Test(
    "reads RFC 3339 with any offset and any fraction",
    arguments: [
      ("2026-12-31T23:59:59Z", "2026-12-31T23:59:59.000Z"), ("2026-12-31T23:59:59.5Z", "2026-12-31T23:59:59.500Z"),
      ("2026-12-31T23:59:59.123Z", "2026-12-31T23:59:59.123Z"),
      ("2026-12-31T23:59:59.123456Z", "2026-12-31T23:59:59.123Z"),
      ("2026-12-31T23:59:59.123456789Z", "2026-12-31T23:59:59.123Z"),
      ("2026-12-31T23:59:59.9999999Z", "2026-12-31T23:59:59.999Z"),
      ("2026-12-31T23:59:59+00:00", "2026-12-31T23:59:59.000Z"),
      ("2026-12-31T23:59:59+02:00", "2026-12-31T21:59:59.000Z"),
      ("2026-12-31T23:59:59-05:30", "2027-01-01T05:29:59.000Z"),
      ("2026-12-31T23:59:59.25+14:00", "2026-12-31T09:59:59.250Z"),
      ("2026-12-31T23:59:59-00:00", "2026-12-31T23:59:59.000Z"),
      ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00.000Z"), ("2000-02-29T12:00:00Z", "2000-02-29T12:00:00.000Z"),
      ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"), ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
    ])
  func reads(_ text: String, _ expected: String) throws {
    let date = try #require(Timestamp.date(from: text))
    #expect(Timestamp.text(of: date) == expected)
  }

  @Test(
    "refuses text that is not an RFC 3339 time, and times before 1970",
    arguments: [
      "", "now", "2026", "2026-12-31", "2026-12-31T23:59Z", "2026-12-31T23:59:59", "2026-12-31 23:59:59Z",
      "20261231T235959Z", "2026-12-31T235959Z", "2026-W53-4T23:59:59Z", "2026-365T23:59:59Z", "1767225599",
      "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-32T00:00:00Z",
      "2026-02-29T00:00:00Z", "2026-02-30T00:00:00Z", "2026-04-31T00:00:00Z", "1900-02-29T00:00:00Z",
      "2026-12-31T24:00:00Z", "2026-12-31T25:00:00Z", "2026-12-31T23:60:00Z", "2026-12-31T23:59:61Z",
      "2026-12-31T23:59:99Z", "2026-12-31T23:59:59.Z", "2026-12-31T23:59:59,5Z", "2026-12-31T23:59:59.5",
      "2016-12-31T23:59:60Z", "2026-12-31T23:59:59+25:00", "2026-12-31T23:59:59+00:60", "2026-12-31T23:59:59+0000",
      "2026-12-31T23:59:59+00",
      "2026-12-31T23:59:59Zjunk", " 2026-12-31T23:59:59Z", "2026-12-31T23:59:59Z ", "2026-12-31T23:59:59ZZ",
      "2026-12-31T23:59:59.5Z5", "2026-12-31T23:59:59Z+01:00", "10000-01-01T00:00:00Z", "+2026-12-31T23:59:59Z",
      "-2026-12-31T23:59:59Z", "99999-12-31T23:59:59Z", "1969-12-31T23:59:59Z", "0000-01-01T00:00:00Z",
      "0001-01-01T00:00:00Z", "1970-01-01T00:00:00+00:01", "202a-12-31T23:59:59Z", "2026-1a-31T23:59:59Z",
      "9999-12-31T23:59:59-01:00", "2026-00-00T00:00:00Z", "２０２６-12-31T23:59:59Z", "2026-12-31T23:59:59.١Z",
      "2026-12-31T-1:59:59Z", "2026-12-31T+1:59:59Z",
      "2026-12-31T 1:59:59Z", "2026-12-31T23:59:59\u{0}Z", "2026-12-31T23:59:59Z\u{0}", "2026-12-31t23:59:59z",
      "2026-12-31T23:59:59.0000000000000000000000Z",
    ])
  func refuses(_ text: String) {
    #expect(Timestamp.date(from: text) == nil)
  }

  @Test("a whole millisecond is kept, whatever its binary fraction")
  func wholeMilliseconds() {
    for milliseconds in 0..<1_000 {
      let date = Date(timeIntervalSince1970: 1_790_000_000 + Double(milliseconds) / 1_000)
      #expect(Timestamp.text(of: date).dropFirst(20).dropLast() == "\(milliseconds + 1_000)".dropFirst())
    }
  }

  @Test("every day of four centuries is parsed as by Foundation")
  func everyDay() {
    let style = Date.ISO8601FormatStyle()
    for day in 0..<146_097 {
      let date = Date(timeIntervalSince1970: Double(day) * 86_400)
      if Timestamp.date(from: date.formatted(style)) != date { Issue.record("\(date.formatted(style))") }
    }
  }
}
