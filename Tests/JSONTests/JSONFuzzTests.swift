import Foundation
import PostgresTesting
import Testing

@testable import JSON

@Suite("JSON, fuzzed")
struct JSONFuzzTests {
  private static let tokens = [
    "{", "}", "[", "]", ",", ":", "\"", "{\"a\":", "[[[[[[[[", "]]]]]]]]", "null", "true", "false", "-", "0", "1E400",
    "-0.0e-0",
    "9223372036854775808", "\\u0000", "\\ud83d\\ude00", "\\ud800", "\\\"", "\\", "\u{FEFF}", "\u{2028}", "é", "\u{1F}",
    "/*", "NaN",
  ]

  @Test("a parsed value is within the limit of nesting, and is the same when it is written and parsed again")
  func parser() async throws {
    let fuzzing = try Fuzzing("json")
    let others = fuzzing.corpus.map(\.bytes)
    var acceptedCount = 0
    try await fuzzing.run(30_000) { random in
      random.mutated(random.pick(others), tokens: Self.tokens, others: others)
    } problem: { bytes, _ in
      let value: JSONValue
      do throws(JSONError) { value = try JSONParser.parse(bytes) } catch {
        return (0...bytes.count).contains(error.offset) ? nil : "the error is at byte \(error.offset)"
      }
      acceptedCount += 1
      guard Self.depth(of: value) <= JSONParser.depthMax else { return "it is nested too deep" }
      for written in [Array(JSONWriter.text(of: value).utf8), text(of: value)] {
        guard let again = try? JSONParser.parse(written), again == value, again.fingerprint == value.fingerprint else {
          return "it is another value when it is written and read again"
        }
      }
      return nil
    }
    #expect(acceptedCount > 200)
  }

  private static func depth(of value: JSONValue) -> Int {
    switch value {
    case .array(let elements): 1 + (elements.map { depth(of: $0) }.max() ?? 0)
    case .object(let members): 1 + (members.map { depth(of: $0.value) }.max() ?? 0)
    default: 0
    }
  }

  @Test("a parsed time is in range and the same when it is written and parsed again, and so is a day")
  func times() async throws {
    let fuzzing = try Fuzzing("times")
    let others = fuzzing.corpus.map(\.bytes)
    var acceptedCount = 0
    try await fuzzing.run(20_000) { random in
      random.mutated(random.pick(others), tokens: ["T", "Z", "+14:00", "-00:00", ".5", ":60", "-02-29", "9999", "é"])
    } problem: { bytes, _ in
      let text = String(decoding: bytes, as: UTF8.self)
      if let day = Timestamp.day(from: text), !"\(day)".utf8.elementsEqual(bytes) { return "the day is \(day)" }
      guard let date = Timestamp.date(from: text) else { return nil }
      acceptedCount += 1
      guard (0..<253_402_300_800).contains(date.timeIntervalSince1970) else { return "it is \(date)" }
      let written = Timestamp.text(of: date)
      return Timestamp.date(from: written) == date ? nil : "\(written) is another time"
    }
    #expect(acceptedCount > 100)
  }
}
