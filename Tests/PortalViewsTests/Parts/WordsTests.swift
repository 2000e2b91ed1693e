import Foundation
import JSON
import PortalViews
import Testing

private func text(_ html: HTML) -> String { String(decoding: html.bytes, as: UTF8.self) }

@Suite("Times and numbers as people read them")
struct WordsTests {
  private let date = Timestamp.date(from: "2026-11-30T18:05:07Z") ?? .distantPast

  @Test("times are UTC and say so")
  func times() {
    #expect(text(.time(date)) == "<time datetime=\"2026-11-30T18:05:07.000Z\">30 Nov 2026, 18:05 UTC</time>")
    #expect(text(.day(Day(containing: date))) == "<time datetime=\"2026-11-30\">30 Nov 2026</time>")
  }

  @Test(
    "distances are in the largest unit that fits",
    arguments: [
      (30, "less than a minute ago"), (60, "1 minute ago"), (3_599, "59 minutes ago"), (7_200, "2 hours ago"),
      (86_400, "1 day ago"), (-90, "in 1 minute"), (-30, "in less than a minute"), (-86_400 * 3, "in 3 days"),
    ] as [(Double, String)])
  func distances(_ seconds: Double, _ words: String) {
    #expect(text(.briefTime(date, at: date.addingTimeInterval(seconds))).contains(">\(words)<"))
  }

  @Test("a time that is far away has no distance")
  func far() { #expect(text(.briefTime(.distantPast, at: date)) == text(.time(.distantPast))) }

  @Test("numbers have commas, and units agree with them")
  func numbers() {
    #expect(
      [0, 7, 999, 1_000, 1_234_567, -1_000].map { Counted.text($0) } == [
        "0", "7", "999", "1,000", "1,234,567", "−1,000",
      ])
    #expect(Counted.text(1, "key", "keys") == "1 key" && Counted.text(0, "key", "keys") == "0 keys")
    #expect(Counted.text(Int.min).hasPrefix("−9,223"))
    #expect(
      Counted.percent(0.00423) == "0.42 %" && Counted.percent(1) == "100.00 %" && Counted.percent(0.001) == "0.10 %")
    #expect(
      [1, 60, 90, 3_600, 86_400, 604_800].map { Counted.seconds($0) }
        == ["1 second", "1 minute", "90 seconds", "1 hour", "1 day", "7 days"])
  }
}
