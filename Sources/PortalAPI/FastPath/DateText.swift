import JSON

/// The text of a `Date` field (RFC 9110 5.6.7), formatted once per second. Times before 1970 have the text of 1970's
/// first second.
struct DateText {
  private var second = -1
  private var text: [UInt8] = []

  mutating func bytes(at second: Int) -> [UInt8] {
    let second = max(0, second)
    if second != self.second {
      self.second = second
      text = Self.text(of: second)
    }
    return text
  }

  private static func text(of second: Int) -> [UInt8] {
    let days: [StaticString] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    let months: [StaticString] = [
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    let number = second / 86_400
    let (year, month, day) = Day(number: number).civil
    let rest = second % 86_400
    var text: [UInt8] = []
    text.append(days[number % 7])
    text.append(", ")
    text.append(decimal: day, width: 2)
    text.append(UInt8(ascii: " "))
    text.append(months[month - 1])
    text.append(UInt8(ascii: " "))
    text.append(decimal: year, width: 4)
    text.append(UInt8(ascii: " "))
    text.append(decimal: rest / 3_600, width: 2)
    text.append(UInt8(ascii: ":"))
    text.append(decimal: rest / 60 % 60, width: 2)
    text.append(UInt8(ascii: ":"))
    text.append(decimal: rest % 60, width: 2)
    text.append(" GMT")
    return text
  }
}
