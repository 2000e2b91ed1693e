import Foundation
import JSON
import Portal
import Testing

@testable import PortalHTTP

@Suite("RequestFields")
struct RequestFieldsTests {
  private enum Colour: String, CaseIterable {
    case red, green
  }

  private func fields(_ json: String) throws -> RequestFields {
    guard case .object(let members) = try JSONParser.parse(json.utf8) else { throw PortalError.notFound }
    return RequestFields(members, location: "body")
  }

  private func locations(_ fields: RequestFields) -> [String] { fields.finalProblems.map(\.location) }

  @Test("valid members are returned without problems")
  func good() throws {
    var fields = try fields(
      """
      {"text":"é😀","number":6e1,"half":0.5,"at":"2026-01-02T03:04:05.678Z","colour":"green",
       "id":"018F4E6A-0000-7000-8000-000000000000","list":["1","2"]}
      """)
    #expect(fields.string("text", 2...2) == "é😀")
    #expect(fields.integer("number", 0...60, default: 1) == 60)
    #expect(fields.optionalNumber("half", 0...1) == 0.5)
    #expect(fields.optionalDate("at") == Timestamp.date(from: "2026-01-02T03:04:05.678Z"))
    #expect(fields.choice("colour", default: Colour.red) == .green)
    #expect(fields.uuid("id") == UUID(uuidString: "018f4e6a-0000-7000-8000-000000000000"))
    #expect(fields.optionalList("list", 0...2, "") { Int($0) } == [1, 2])
    try fields.finish()
  }

  @Test("missing and null are the same: the default, nil, or required")
  func missing() throws {
    for json in ["{}", #"{"a":null,"b":null,"c":null,"d":null,"e":null,"f":null,"g":null,"h":null}"#] {
      var fields = try fields(json)
      #expect(fields.integer("a", 0...9, default: 7) == 7)
      #expect(fields.optionalString("b", 1...9) == nil)
      #expect(fields.optionalNumber("c", 0...1) == nil)
      #expect(fields.optionalDate("d") == nil)
      #expect(fields.choice("e", default: Colour.green) == .green)
      #expect(fields.optionalList("f", 1...1, "") { $0 } == nil)
      #expect(fields.problems.isEmpty)
      #expect(fields.string("g", 1...9) == nil)
      #expect(fields.uuid("h") == nil)
      #expect(fields.finalProblems.map(\.message) == ["is required", "is required"])
    }
  }

  @Test("all problems are reported together: in the order in which members are taken, then unknown members")
  func several() throws {
    var fields = try fields(
      """
      {"zeta":1,"text":"too long","number":1.5,"half":"0.5","at":"now","colour":"blue","id":"1","alpha":null,
       "list":["1","x",3,null],"fine":"fine"}
      """)
    _ = fields.string("text", 1...3)
    _ = fields.integer("number", 0...60, default: 1)
    _ = fields.optionalNumber("half", 0...1)
    _ = fields.optionalDate("at")
    #expect(fields.choice("colour", default: Colour.red) == .red)
    _ = fields.uuid("id")
    _ = fields.optionalList("list", 1...4, "must be a number") { Int($0) }
    _ = fields.string("fine", 1...4)
    _ = fields.string("required", 1...9)
    let expected = [
      "body.text", "body.number", "body.half", "body.at", "body.colour", "body.id", "body.list[1]", "body.list[2]",
      "body.list[3]", "body.required", "body.alpha", "body.zeta",
    ]
    #expect(locations(fields) == expected)
    #expect(throws: InvalidRequest(fields.finalProblems)) { try fields.finish() }
    let problem = Problem(InvalidRequest(fields.finalProblems)) { RequestProblem(location: "", message: $0.message) }
    #expect(problem.errors.map(\.location) == expected)
  }

  @Test("a value is built from the required members only if there are no problems")
  func built() throws {
    var good = try fields(#"{"text":"a","number":1}"#)
    let (text, number) = (good.string("text", 1...3), good.integer("number", 0...9))
    #expect(try good.finish(text, number) { "\($0)\($1)" } == "a1")
    var bad = try fields(#"{"text":"a","more":1}"#)
    let (same, missing) = (bad.string("text", 1...3), bad.integer("number", 0...9))
    #expect(throws: InvalidRequest(bad.finalProblems)) { try bad.finish(same, missing) { "\($0)\($1)" } }
    #expect(locations(bad) == ["body.number", "body.more"])
    #expect(RequestFields.make(same, missing) { "\($0)\($1)" } == nil)
  }

  @Test("a wrong required string is reported once, and no other type is accepted for a string")
  func once() throws {
    for value in ["1", "true", "[]", "{}", "\"\"", "\"long\""] {
      var fields = try fields("{\"text\":\(value)}")
      #expect(fields.string("text", 1...3) == nil)
      #expect(locations(fields) == ["body.text"], "\(value)")
    }
  }

  @Test(
    "a whole number may be written in any form, within its range",
    arguments: [
      ("0", 0), ("-0", 0), ("100", 100), ("1e2", 100), ("100.0", 100), ("1E+2", 100), ("101", nil), ("-1", nil),
      ("0.5", nil), ("1e999", nil), ("-1e999", nil), ("1e-1", nil), ("9223372036854775808", nil), ("\"1\"", nil),
      ("true", nil), ("[1]", nil),
    ] as [(String, Int?)])
  func integers(_ json: String, _ expected: Int?) throws {
    var fields = try fields("{\"n\":\(json)}")
    #expect(fields.optionalInteger("n", 0...100) == expected)
    #expect(locations(fields) == (expected == nil ? ["body.n"] : []))
  }

  @Test("at most a hundred problems are reported, whether in parts, in a list or in unknown names")
  func bounded() throws {
    let problems = (0..<1_000).map { RequestProblem(location: "body.events[\($0)]", message: "is wrong") }
    var merged = try fields("{}")
    merged.refuse("first", "is wrong")
    for problem in problems { merged.merge([problem]) }
    #expect(locations(merged) == ["body.first"] + problems.prefix(99).map(\.location))

    var refused = try fields("{}")
    for number in 0..<1_000 { refused.refuse("\(number)", "is wrong") }
    #expect(locations(refused).count == 100)

    let unknown = (0..<1_000).map { "\"name\($0)\":0" }.joined(separator: ",")
    #expect(locations(try fields("{\(unknown)}")).count == 100)
  }
}
