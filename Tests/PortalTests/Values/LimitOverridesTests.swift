import Foundation
import PostgresTesting
import Testing

@testable import Portal

@Suite("LimitOverrides")
struct LimitOverridesTests {
  private func overrides(_ identifiers: [String]) throws -> LimitOverrides {
    LimitOverrides(
      try identifiers.enumerated().map { index, identifier in
        LimitOverrides.Override(
          id: UUID(), identifier: try #require(LimitOverrides.identifier(identifier)),
          limit: WindowLimit(limit: index, windowMilliseconds: 1_000))
      })
  }

  @Test(
    "exactly the identifier comes first, then the longest pattern, then the first by its text",
    arguments: [
      ("user_1", "user_1"), ("user_2", "user_*"), ("user_1x", "user_*"), ("user_x_9", "user_*_9"), ("u", "*"),
      ("", "*"),
      ("abc", "*b*"), ("cb", "*b*"), ("ac", "*c"), ("user_*", "user_*"), ("USER_1", "*"), ("xé", "*é"),
      ("xe\u{301}", "*"),
    ])
  func choice(_ identifier: String, _ chosen: String) throws {
    var identifiers = ["user_1", "user_*", "user_*_9", "*", "*b*", "ab*", "*c", "a*", "*é"]
    for _ in 0..<identifiers.count {
      identifiers.append(identifiers.removeFirst())
      #expect(try overrides(identifiers).override(for: identifier)?.identifier.text == chosen)
    }
  }

  @Test("without a match the caller's own numbers apply")
  func none() throws {
    #expect(try overrides([]).override(for: "a") == nil)
    let overrides = try overrides(["a", "b*", "é"])
    for identifier in ["", "A", "aa", "ab", "e\u{301}", "a\0", String(repeating: "a", count: 32_768)] {
      #expect(overrides.override(for: identifier) == nil)
    }
  }

  @Test("agrees with a search through all of them on random overrides", arguments: 0..<20)
  func agreesWithSearch(_ seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    func text(_ choices: [String]) -> String {
      (0..<Int.random(in: 1...4, using: &random)).map { _ in random.pick(choices) }.joined()
    }
    var chosenCount = 0
    for _ in 0..<200 {
      let identifiers = Array(Set((0..<6).map { _ in text(["a", "b", "*"]) }))
      let overrides = try overrides(identifiers)
      for _ in 0..<10 {
        let identifier = text(["a", "b", "*"])
        let matching = identifiers.filter { LimitOverrides.identifier($0)?.matches(identifier) == true }
        let expected =
          matching.contains(identifier)
          ? identifier
          : matching.min { $0.count != $1.count ? $0.count > $1.count : $0 < $1 }
        #expect(overrides.override(for: identifier)?.identifier.text == expected, "seed \(seed): \(identifiers)")
        if expected != nil { chosenCount += 1 }
      }
    }
    #expect(chosenCount > 100)
  }

  @Test("an identifier is bounded")
  func bounds() {
    #expect(LimitOverrides.identifier("") == nil)
    #expect(LimitOverrides.identifier(String(repeating: "é", count: 512)) != nil)
    #expect(LimitOverrides.identifier(String(repeating: "é", count: 513)) == nil)
    #expect(LimitOverrides.identifier(String(repeating: "*", count: 512))?.matches("a") == true)
  }
}
