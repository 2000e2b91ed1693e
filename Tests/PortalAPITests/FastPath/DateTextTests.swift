import Foundation
import PostgresTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("DateText")
struct DateTextTests {
  @Test("the text is as RFC 9110 requires for any second from 1970 to 2100")
  func texts() {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = TimeZone(identifier: "GMT")
    formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
    var random = SeededGenerator(seed: 3)
    var text = DateText()
    for second in [0, 951_782_400, 951_868_799]
      + (0..<500).map({ _ in Int.random(in: 0...4_102_444_799, using: &random) })
    {
      let expected = formatter.string(from: Date(timeIntervalSince1970: Double(second)))
      #expect(String(decoding: text.bytes(at: second), as: UTF8.self) == expected)
      #expect(String(decoding: text.bytes(at: second), as: UTF8.self) == expected)
    }
  }

  @Test("a second outside of any clock's range has a text of the same length")
  func impossibleSeconds() {
    var text = DateText()
    let first = text.bytes(at: 0)
    for second in [-1, -86_400, -(1 << 53)] { #expect(text.bytes(at: second) == first) }
    for second in [253_402_300_800, 1 << 53] { #expect(text.bytes(at: second).count == first.count) }
  }
}
