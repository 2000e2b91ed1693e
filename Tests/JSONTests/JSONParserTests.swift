import JSON
import PortalTesting
import Testing

@Suite("JSONParser")
struct JSONParserTests {
  @Test(
    "accepts what RFC 8259 accepts",
    arguments: [
      ("null", .null), ("true", .bool(true)), ("false", .bool(false)), ("\"\"", .string("")), ("[]", .array([])),
      ("{}", .object([])), (" \t\r\n[ ] \t\r\n", .array([])), ("{ }", .object([])), ("\u{FEFF}{}", .object([])),
      ("0", .number("0")), ("-0", .number("-0")), ("10", .number("10")), ("-1.5e+10", .number("-1.5e+10")),
      ("1E400", .number("1E400")), ("0.0e-0", .number("0.0e-0")), ("1e5", .number("1e5")),
      ("9223372036854775808", .number("9223372036854775808")),
      ("[1,\"a\",null,[true]]", .array([.number("1"), .string("a"), .null, .array([.bool(true)])])),
      ("{\"a\":1,\"b\":{\"\":[]}}", .object([("a", .number("1")), ("b", .object([("", .array([]))]))])),
      (
        " { \"a\" : [ 1 , 2 ] , \"b\" : 3 } ",
        .object([("a", .array([.number("1"), .number("2")])), ("b", .number("3"))])
      ),
      (#""\"\\\/\b\f\n\r\t""#, .string("\"\\/\u{8}\u{C}\n\r\t")),
      (#""\u0041\u00e9\u20AC\uD834\uDD1E""#, .string("Aé€𝄞")), (#""\ud83d\ude00x""#, .string("😀x")),
      (#""\u0001\u001f\u007f\ufffe\uffff""#, .string("\u{1}\u{1F}\u{7F}\u{FFFE}\u{FFFF}")),
      ("\"\u{7F}é€𝄞שלום\"", .string("\u{7F}é€𝄞שלום")), ("\"\u{2028}\"", .string("\u{2028}")),
      ("\"/\"", .string("/")), ("\"\\\\u0000\"", .string("\\u0000")),
    ] as [(String, JSONValue)])
  func accepts(_ text: String, _ value: JSONValue) throws {
    #expect(try JSONParser.parse(text.utf8) == value)
  }

  @Test(
    "refuses what RFC 8259 does not allow",
    arguments: [
      "", " ", "nul", "nulll", "True", "NaN", "Infinity", "-Infinity", "undefined", "'a'", "a", "{} {}",
      "\u{FEFF}", "\u{FEFF}\u{FEFF}{}", "{}\u{FEFF}",
      "[] x", "1 2", ",", ":", "[", "]", "{", "}", "[,]", "[1,]", "[,1]", "[1 2]", "[1,,2]", "[1", "[1,", "[\"a",
      "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{a:1}", "{'a':1}", "{1:1}", "{\"a\":1 \"b\":2}", "{\"a\" 1}",
      "{\"a\"::1}", "{\"a\":1", "{\"a\":1]", "[1}", "// c\n1", "/* c */1", "1 // c",
      "01", "-01", "00", "-", "+1", ".5", "-.5", "1.", "1.e1", "1e", "1e+", "1e-", "1E", "0x10", "1_000", "1e1.5",
      "0e", "- 1", "1 .5", "１",
      "\"", "\"a", "\"\\\"", "\"\\x\"", "\"\\u\"", "\"\\u12\"", "\"\\u123\"", "\"\\u12g4\"", "\"\\U0041\"",
      "\"\\u 041\"", "\"\\u+041\"", "\"\\a\"", "\"\\'\"", "\"\\0\"", "\"a\nb\"", "\"a\tb\"", "\"\u{0}\"", "\"\u{1F}\"",
      "\"\\", "\"\\u", "\"\\u123", "\u{0}", "1\u{0}", "\u{B}1", "\u{C}1", "\u{A0}1", "\u{2028}1",
    ])
  func refuses(_ text: String) {
    #expect(throws: JSONError.self) { try JSONParser.parse(text.utf8) }
  }

  @Test(
    "refuses, beyond the grammar, what would be ambiguous later",
    arguments: [
      #""\u0000""#, #"{"\u0000":1}"#, #""\ud800""#, #""\udc00""#, #""\ud800x""#, #""\ud800\u0041""#,
      #""\ud800\ud800""#, #""\udc00\ud800""#, #""\ud800\n""#, #""\uDBFF\uE000""#, #""\ud800\"#, #""\ud800\u"#,
      #""\ud800\udc0"#, #"{"a":1,"a":1}"#, #"{"a":1,"\u0061":2}"#, #"[{"b":{"a":1,"b":2,"a":3}}]"#,
    ])
  func refusesAmbiguous(_ text: String) {
    #expect(throws: JSONError.self) { try JSONParser.parse(text.utf8) }
  }

  @Test(
    "refuses invalid UTF-8, in values and in names, with and without escapes before it",
    arguments: [
      [0xFF], [0x80], [0xC3], [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF],
      [0xF0, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xE2, 0x82], [0xF0, 0x9F, 0x98],
    ] as [[UInt8]])
  func refusesInvalidUTF8(_ bytes: [UInt8]) {
    let quote = UInt8(ascii: "\"")
    for text in [
      [quote] + bytes + [quote], Array("\"\\n".utf8) + bytes + [quote], Array("{\"".utf8) + bytes + Array("\":1}".utf8),
      bytes, [quote] + bytes + Array("\\n\"".utf8),
    ] {
      #expect(throws: JSONError.self) { try JSONParser.parse(text) }
    }
  }

  @Test("accepts nesting up to its limit, and refuses one more level, and a million levels")
  func depth() throws {
    func nested(_ depth: Int) -> String {
      String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    }
    #expect(throws: Never.self) { try JSONParser.parse(nested(JSONParser.depthMax).utf8) }
    #expect(throws: JSONError.self) { try JSONParser.parse(nested(JSONParser.depthMax + 1).utf8) }
    #expect(throws: JSONError.self) { try JSONParser.parse(nested(1_000_000).utf8) }
    #expect(throws: JSONError.self) {
      try JSONParser.parse(String(repeating: "{\"a\":", count: 1_000_000).utf8)
    }
    // Siblings are not nested.
    let wide = "[" + Array(repeating: "[[]]", count: 1_000).joined(separator: ",") + "]"
    #expect(try JSONParser.parse(wide.utf8).array.count == 1_000)
  }

  @Test("reports the byte at which it stopped")
  func offset() {
    let missing = #expect(throws: JSONError.self) { try JSONParser.parse("{\"a\":}".utf8) }
    #expect(missing?.offset == 5)
    let tooMuch = #expect(throws: JSONError.self) { try JSONParser.parse("[] x".utf8) }
    #expect(tooMuch?.offset == 3)
  }

  @Test(
    "reads a number as a whole number if it is one",
    arguments: [
      ("0", 0), ("-0", 0), ("60", 60), ("60.0", 60), ("6e1", 60), ("600e-1", 60), ("9223372036854775807", Int.max),
      ("-9223372036854775808", Int.min), ("9223372036854775808", nil), ("1e999", nil), ("-1e999", nil), ("1.5", nil),
      ("1e-999", 0), ("1e19", nil), ("0.1", nil),
    ] as [(String, Int?)])
  func integers(_ text: String, _ number: Int?) throws {
    #expect(try JSONParser.parse(text.utf8).integer == number)
  }

  @Test(
    "reads a number as a Double if it is finite",
    arguments: [("1.5", 1.5), ("1e999", nil), ("-1e999", nil), ("1e-999", 0)])
  func doubles(_ text: String, _ number: Double?) throws {
    #expect(try JSONParser.parse(text.utf8).double == number)
  }
}

/// A value as text, without the writer under test, with all characters of strings escaped.
func text(of value: JSONValue) -> [UInt8] {
  func quoted(_ text: String) -> String {
    "\""
      + text.utf16.map { unit in
        let digits = String(unit, radix: 16)
        return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      }.joined() + "\""
  }
  func string(_ value: JSONValue) -> String {
    switch value {
    case .null: "null"
    case .bool(let value): value ? "true" : "false"
    case .number(let digits): digits
    case .string(let text): quoted(text)
    case .array(let elements): "[" + elements.map(string).joined(separator: ",") + "]"
    case .object(let members):
      "{" + members.map { quoted($0.name) + ":" + string($0.value) }.joined(separator: ",") + "}"
    }
  }
  return Array(string(value).utf8)
}
