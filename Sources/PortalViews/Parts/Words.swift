package import Foundation
package import JSON

/// Times and numbers as people read them. All times are UTC, and say so.
extension HTML {
  private static let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  /// `30 Nov 2026, 18:05 UTC`
  package static func time(_ date: Date) -> HTML {
    "<time datetime=\"\(Timestamp.text(of: date))\">\(timeText(date))</time>"
  }

  static func timeText(_ date: Date) -> String {
    // The text is 2026-11-30T18:05:00.000Z.
    let clock = Timestamp.text(of: date).dropFirst(11).prefix(5)
    return "\(dayText(Day(containing: date))), \(clock) UTC"
  }

  /// `3 minutes ago (30 Nov 2026, 18:05 UTC)`
  package static func time(_ date: Date, at now: Date) -> HTML {
    guard let distance = distance(date, from: now) else { return time(date) }
    return "\(distance) <span class=\"quiet small\">(\(time(date)))</span>"
  }

  /// `3 minutes ago`, with the time in the element's attributes, for tables.
  package static func briefTime(_ date: Date, at now: Date) -> HTML {
    guard let distance = distance(date, from: now) else { return time(date) }
    let text = Timestamp.text(of: date)
    return "<time datetime=\"\(text)\" title=\"\(text)\">\(distance)</time>"
  }

  /// `30 Nov 2026`
  package static func day(_ day: Day) -> HTML { "<time datetime=\"\(day.description)\">\(dayText(day))</time>" }

  static func dayText(_ day: Day) -> String {
    let (year, month, day) = day.civil
    return "\(day) \(months[month - 1]) \(year)"
  }

  /// Nil for what is more than a year away.
  private static func distance(_ date: Date, from now: Date) -> String? {
    let seconds = Int(bounding: now.timeIntervalSince(date).rounded(.towardZero))
    guard (-31_536_000...31_536_000).contains(seconds) else { return nil }
    let size = abs(seconds)
    if size < 60 { return seconds >= 0 ? "less than a minute ago" : "in less than a minute" }
    let (count, unit) =
      size < 3_600 ? (size / 60, "minute") : size < 86_400 ? (size / 3_600, "hour") : (size / 86_400, "day")
    let text = Counted.text(count, unit, unit + "s")
    return seconds > 0 ? text + " ago" : "in " + text
  }
}

/// Numbers with their units.
package enum Counted {
  /// `1,234,567`
  package static func text(_ number: Int) -> String {
    let digits = String(number.magnitude)
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index).isMultiple(of: 3) { text += "," }
      text.append(digit)
    }
    return (number < 0 ? "−" : "") + text
  }

  /// `1 key`, `1,234 keys`
  package static func text(_ number: Int, _ one: String, _ many: String) -> String {
    text(number) + " " + (number == 1 ? one : many)
  }

  /// `0.42 %`
  package static func percent(_ share: Double) -> String {
    let hundredths = Int(bounding: (share * 10_000).rounded())
    let rest = hundredths % 100
    return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest) %"
  }

  /// `1 hour`, `90 seconds`: in the largest unit that needs no fraction.
  package static func seconds(_ seconds: Int) -> String {
    for (size, unit) in [(86_400, "day"), (3_600, "hour"), (60, "minute")]
    where seconds >= size && seconds.isMultiple(of: size) {
      return text(seconds / size, unit, unit + "s")
    }
    return text(seconds, "second", "seconds")
  }
}
