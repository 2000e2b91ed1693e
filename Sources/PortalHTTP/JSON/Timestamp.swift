package import Foundation
import Portal

/// Times as `API.md` has them: RFC 3339 in UTC with milliseconds.
package enum Timestamp {
  package static func text(of date: Date) -> String {
    let milliseconds = Int((date.timeIntervalSince1970 * 1_000).rounded(.down))
    let day = Day(containing: date)
    let rest = milliseconds - day.number * 86_400_000
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60)
    return "\(day)T\(pad(hour, 2)):\(pad(minute, 2)):\(pad(second, 2)).\(pad(rest % 1_000, 3))Z"
  }

  /// Parses RFC 3339 with any offset, with or without a fraction; nil for anything else, and for years before 1970.
  package static func date(from text: String) -> Date? {
    guard text.utf8.count <= 40 else { return nil }
    let plain = Date.ISO8601FormatStyle(timeZoneSeparator: .colon)
    let fractional = Date.ISO8601FormatStyle(timeZoneSeparator: .colon, includingFractionalSeconds: true)
    guard text.utf8.count >= 20, text.utf8.dropFirst(10).first == UInt8(ascii: "T"),
      let date = (try? plain.parse(text)) ?? (try? fractional.parse(text)), date.timeIntervalSince1970 >= 0
    else { return nil }
    return date
  }

  private static func pad(_ number: Int, _ width: Int) -> String {
    let digits = "\(number)"
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}
