import Foundation
import JSON
import PortalTesting
import PostgresTesting
import Testing

@Suite("JSONWriter")
struct JSONWriterTests {
  private func text(_ body: (inout JSONWriter) -> Void) -> String {
    String(decoding: JSONWriter.object(body).bytes, as: UTF8.self)
  }

  @Test("writes members in the order of the calls, and nil as null")
  func members() throws {
    let id = try #require(UUID(uuidString: "018F4E6A-0000-7000-8000-0000000000AB"))
    let written = text { json in
      json.field("string", "a")
      json.field("none", String?.none)
      json.field("int", Int.min)
      json.field("bool", false)
      json.field("id", id)
      json.field("noID", UUID?.none)
      json.field("at", Date(timeIntervalSince1970: 0.5))
      json.field("never", Date?.none)
      json.field("list", ["a", "b"])
      json.field("noList", [String]?.none)
      json.object("object") { $0.field("a", 1) }
      json.array("empty", [Int]()) { _, _ in }
      json.array("objects", [1, 2]) { json, number in json.object { $0.field("n", number) } }
      json.field("last", true)
    }
    #expect(
      written == #"{"string":"a","none":null,"int":-9223372036854775808,"bool":false,"#
        + #""id":"018f4e6a-0000-7000-8000-0000000000ab","noID":null,"at":"1970-01-01T00:00:00.500Z","never":null,"#
        + #""list":["a","b"],"noList":null,"object":{"a":1},"empty":[],"objects":[{"n":1},{"n":2}],"last":true}"#)
  }

  @Test("escapes quotes, backslashes and control characters, and leaves the rest as it is")
  func escapes() {
    let written = text { $0.field("a", "\"\\/\u{0}\u{8}\n\u{1F} \u{7F}\u{2028}é😀") }
    #expect(written == "{\"a\":\"\\\"\\\\/\\u0000\\u0008\\u000a\\u001f \u{7F}\u{2028}é😀\"}")
  }

  @Test(
    "writes numbers with at most three decimals, in JSON's syntax",
    arguments: [
      (0, "0.0"), (1.5, "1.5"), (0.0004, "0.0"), (0.0005, "0.001"), (2.0 / 3, "0.667"), (-1.25, "-1.25"),
      (86_400_000, "86400000.0"), (1e15, "1000000000000000.0"),
    ] as [(Double, String)])
  func doubles(_ number: Double, _ expected: String) throws {
    let written = text { $0.field("a", number) }
    #expect(written == "{\"a\":\(expected)}")
    #expect(throws: Never.self) { try JSONParser.parse(written.utf8) }
  }

  @Test("a number that JSON cannot express is null", arguments: [.nan, .infinity, -.infinity, 1e308] as [Double])
  func impossibleDoubles(_ number: Double) {
    #expect(text { $0.field("a", number) } == #"{"a":null}"#)
    #expect(text { $0.field("a", ratio: number) } == #"{"a":null}"#)
  }

  @Test("the parser reads back what the writer writes: 5,000 random values")
  func roundTrip() throws {
    var random = SeededGenerator(seed: 3)
    for _ in 0..<5_000 {
      let value = JSONValue.object([("value", .random(depth: 0, using: &random))])
      let written = JSONWriter.object { $0.write(value["value"], named: "value") }
      #expect(try JSONParser.parse(written.bytes) == value)
    }
  }
}

extension JSONValue {
  /// Strings, whole numbers, Booleans, null, lists of strings, and objects of these.
  fileprivate static func random(depth: Int, using random: inout SeededGenerator) -> JSONValue {
    switch Int.random(in: 0...(depth < 6 ? 5 : 3), using: &random) {
    case 0: .null
    case 1: .bool(Bool.random(using: &random))
    case 2: .number("\(Int.random(in: .min ... .max, using: &random))")
    case 3: .string(randomText(using: &random))
    case 4: .array((0..<Int.random(in: 0...3, using: &random)).map { _ in .string(randomText(using: &random)) })
    default:
      .object(
        ["a", "b", "c"].prefix(Int.random(in: 0...3, using: &random)).map { name in
          (name, .random(depth: depth + 1, using: &random))
        })
    }
  }

  private static func randomText(using random: inout SeededGenerator) -> String {
    var text = ""
    for _ in 0..<Int.random(in: 0...12, using: &random) {
      let ranges: [ClosedRange<UInt32>] = [1...0x7F, 1...0x1F, 0x80...0xD7FF, 0xE000...0xFFFF, 0x10000...0x10FFFF]
      let range = ranges.randomElement(using: &random) ?? 1...1
      if let scalar = Unicode.Scalar(UInt32.random(in: range, using: &random)) { text.unicodeScalars.append(scalar) }
    }
    return text
  }
}

extension JSONWriter {
  fileprivate mutating func write(_ value: JSONValue, named name: StaticString) {
    switch value {
    case .null: field(name, String?.none)
    case .bool(let value): field(name, value)
    case .number: field(name, value.integer ?? 0)
    case .string(let text): field(name, text)
    case .array(let elements): array(name, elements) { json, element in json.string(element.string ?? "") }
    case .object(let members):
      object(name) { json in
        for (name, value) in members {
          switch name {
          case "a": json.write(value, named: "a")
          case "b": json.write(value, named: "b")
          default: json.write(value, named: "c")
          }
        }
      }
    }
  }
}
