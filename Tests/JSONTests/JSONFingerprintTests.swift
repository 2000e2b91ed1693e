import JSON
import PostgresTesting
import Testing

@Suite("A JSON value's fingerprint")
struct JSONFingerprintTests {
  private func value(_ depth: Int, _ generator: inout SeededGenerator) -> JSONValue {
    let texts = ["", "a", "b", "1:a", "s1:a", "n", "é", "e\u{301}", "\0"]
    func text() -> String { texts[Int.random(in: 0..<texts.count, using: &generator)] }
    let count = Int.random(in: 0...2, using: &generator)
    switch Int.random(in: 0...(depth > 0 ? 5 : 3), using: &generator) {
    case 0: return .null
    case 1: return .bool(Bool.random(using: &generator))
    case 2: return .number("\(Int.random(in: 0...20, using: &generator))")
    case 3: return .string(text())
    case 4: return .array((0..<count).map { _ in value(depth - 1, &generator) })
    default: return .object((0..<count).map { ("\($0)" + text(), value(depth - 1, &generator)) })
    }
  }

  /// Byte for byte, because `==` takes canonically equivalent texts to be equal.
  private func exact(_ value: JSONValue) -> String {
    switch value {
    case .null: "null"
    case .bool(let value): "\(value)"
    case .number(let digits): digits
    case .string(let text): "\(Array(text.utf8)) text"
    case .array(let elements): "[" + elements.map(exact).joined(separator: ",") + "]"
    case .object(let members):
      "{" + members.map { "\(Array($0.name.utf8)):" + exact($0.value) }.sorted().joined(separator: ",") + "}"
    }
  }

  @Test("two values have the same fingerprint exactly if they differ only in the order of members")
  func injective() {
    var generator = SeededGenerator(seed: 15)
    var seen: [[UInt8]: String] = [:]
    for _ in 0..<20_000 {
      let value = value(3, &generator)
      let text = exact(value)
      #expect(seen.updateValue(text, forKey: value.fingerprint) ?? text == text)
      if case .object(let members) = value {
        #expect(JSONValue.object(members.reversed()).fingerprint == value.fingerprint)
      }
    }
    #expect(Set(seen.values).count == seen.count && seen.count > 2_000)
  }
}
