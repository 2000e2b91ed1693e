package import Foundation

/// Times as in `openapi.yaml`: RFC 3339 in UTC with milliseconds.
package enum Timestamp {
  private static let millisecondsPerDay = 86_400_000
  /// The beginning of the year 1, in milliseconds since 1970.
  private static let millisecondsMin = -62_135_596_800_000
  /// The end of the year 9999, the last that RFC 3339 can write, in milliseconds since 1970.
  private static let millisecondsMax = 253_402_300_799_999

  /// Times before the year 1 or after 9999 are written as the first or last moment of that range.
  package static func text(of date: Date) -> String {
    // Few milliseconds are a binary fraction of a second. Two units in the last place make up for what `Date` has lost,
    // so that truncating to milliseconds does not lose one.
    let seconds = min(
      max(date.timeIntervalSince1970, Double(millisecondsMin) / 1_000), Double(millisecondsMax) / 1_000)
    let milliseconds = min(Int(bounding: ((seconds + 2 * seconds.ulp) * 1_000).rounded(.down)), millisecondsMax)
    let day = Day(number: Int((Double(milliseconds) / Double(millisecondsPerDay)).rounded(.down)))
    let rest = milliseconds - day.number * millisecondsPerDay
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60)
    return "\(day)T\(pad(hour, 2)):\(pad(minute, 2)):\(pad(second, 2)).\(pad(rest % 1_000, 3))Z"
  }

  /// Parses RFC 3339 with any offset, with or without a fraction, which is truncated to milliseconds. Nil for anything
  /// else, for leap seconds, and for times before 1970 or after 9999.
  ///
  /// By hand, because Foundation's ISO 8601 accepts February 30th, 25 o'clock and any text after the time.
  package static func date(from text: String) -> Date? {
    var reader = Reader(text)
    guard let day = reader.day(), reader.take("T"), let time = reader.timeOfDay(), let offset = reader.offset(),
      reader.isAtEnd
    else { return nil }
    let milliseconds = day.number * millisecondsPerDay + time - offset
    guard (0...millisecondsMax).contains(milliseconds) else { return nil }
    return Date(timeIntervalSince1970: Double(milliseconds) / 1_000)
  }

  /// Parses a day, `2026-12-31`; nil for anything else, and for days that do not exist.
  package static func day(from text: String) -> Day? {
    var reader = Reader(text)
    guard let day = reader.day(), reader.isAtEnd else { return nil }
    return day
  }

  private static func pad(_ number: Int, _ width: Int) -> String {
    let digits = "\(number)"
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}

/// Parses a time from its beginning.
private struct Reader {
  private static let fractionDigitsMax = 18
  private var rest: Substring.UTF8View

  init(_ text: String) { rest = text[...].utf8 }

  var isAtEnd: Bool { rest.isEmpty }

  /// `2026-12-31`
  mutating func day() -> Day? {
    guard let year = number(4), take("-"), let month = number(2), take("-"), let day = number(2) else { return nil }
    return Day(year: year, month: month, day: day)
  }

  /// `23:59:59` or `23:59:59.999`, in milliseconds.
  mutating func timeOfDay() -> Int? {
    guard let minutes = minutes(), take(":"), let second = number(2), second < 60, let fraction = fraction() else {
      return nil
    }
    return (minutes * 60 + second) * 1_000 + fraction
  }

  /// `Z`, `+02:00` or `-05:30`, in milliseconds.
  mutating func offset() -> Int? {
    if take("Z") { return 0 }
    let isNegative = take("-")
    guard isNegative || take("+"), let minutes = minutes() else { return nil }
    return (isNegative ? -minutes : minutes) * 60_000
  }

  mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard rest.first == UInt8(ascii: character) else { return false }
    rest.removeFirst()
    return true
  }

  /// `23:59`
  private mutating func minutes() -> Int? {
    guard let hour = number(2), hour < 24, take(":"), let minute = number(2), minute < 60 else { return nil }
    return hour * 60 + minute
  }

  /// In milliseconds: 0 without a point; nil for a point without digits.
  private mutating func fraction() -> Int? {
    guard take(".") else { return 0 }
    let digits = rest.prefix(Self.fractionDigitsMax).prefix { Self.value(of: $0) != nil }
    rest = rest[digits.endIndex...]
    guard !digits.isEmpty else { return nil }
    return zip(digits, [100, 10, 1]).reduce(0) { $0 + (Self.value(of: $1.0) ?? 0) * $1.1 }
  }

  /// A number of exactly `width` digits.
  private mutating func number(_ width: Int) -> Int? {
    var number = 0
    for _ in 0..<width {
      guard let digit = rest.first.flatMap({ Self.value(of: $0) }) else { return nil }
      number = number * 10 + digit
      rest.removeFirst()
    }
    return number
  }

  private static func value(of digit: UInt8) -> Int? {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) ? Int(digit - UInt8(ascii: "0")) : nil
  }
}

extension Day {
  /// Nil if the Gregorian calendar has no such day: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
  /// `days_from_civil`, whose inverse only gives the same for a day that exists. For years from 1 on.
  fileprivate init?(year: Int, month: Int, day: Int) {
    guard year > 0, (1...12).contains(month) else { return nil }
    let yearFromMarch = month > 2 ? year : year - 1
    let (era, yearOfEra) = (yearFromMarch / 400, yearFromMarch % 400)
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    self.init(number: era * 146_097 + dayOfEra - 719_468)
    guard civil == (year, month, day) else { return nil }
  }
}
