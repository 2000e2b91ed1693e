import PostgresTesting
import Testing

@testable import Portal

@Suite("StarPattern")
struct StarPatternTests {
  private func matches(_ pattern: String, _ text: String) throws -> Bool {
    try #require(StarPattern(pattern, lengthMax: 512)).matches(text)
  }

  /// For each beginning of the pattern, whether it matches each beginning of the text.
  private func matchesByTable(_ pattern: String, _ text: String) -> Bool {
    let text = Array(text.utf8)
    var row = [true] + [Bool](repeating: false, count: text.count)
    for byte in pattern.utf8 {
      var next = [Bool](repeating: false, count: text.count + 1)
      for end in 0...text.count {
        if byte == UInt8(ascii: "*") {
          next[end] = row[end] || end > 0 && next[end - 1]
        } else if end > 0 {
          next[end] = row[end - 1] && text[end - 1] == byte
        }
      }
      row = next
    }
    return row[text.count]
  }

  @Test("agrees with a table of all beginnings on random patterns and texts", arguments: 0..<20)
  func agreesWithTable(_ seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    var matchCount = 0
    for _ in 0..<1_000 {
      func pick(_ counts: ClosedRange<Int>, _ choices: [String]) -> String {
        (0..<Int.random(in: counts, using: &random)).map { _ in random.pick(choices) }.joined()
      }
      let pattern = pick(1...10, ["a", "b", "aab", "*"])
      // Often made of the pattern itself, so that much of it matches.
      let text =
        random.oneIn(2)
        ? pattern.map { $0 == "*" ? pick(0...3, ["a", "b", "aab", "*"]) : "\($0)" }.joined()
        : pick(0...12, ["a", "b", "aab"])
      let isMatch = try matches(pattern, text)
      #expect(isMatch == matchesByTable(pattern, text), "seed \(seed): \(pattern) on \(text)")
      if isMatch { matchCount += 1 }
    }
    #expect(matchCount > 100)
  }

  @Test(
    "a star is any characters or none, at every place",
    arguments: [
      ("*", ""), ("*", "a/b\0\n"), ("**", ""), ("a*", "a"), ("*a", "a"), ("a*a", "aa"), ("a*b*c", "abcbc"),
      ("a*b", "a*b"),
      ("*aab*", "aaab"), ("*ä*", "ä"), ("GET /orders/*", "GET /orders/{id}/items"),
    ])
  func matching(_ pattern: String, _ text: String) throws {
    #expect(try matches(pattern, text))
  }

  @Test(
    "the whole text has to match, by bytes",
    arguments: [
      ("a", ""), ("a", "aa"), ("a", "A"), ("a*a", "a"), ("ab*ba", "aba"), ("a*b*c", "acb"), ("*a", "ab"),
      ("a.b", "axb"), ("a?", "ab"),
      ("é", "e\u{301}"), ("a", "a\0"), ("[ab]", "a"), ("%", "a"), ("a\\*", "a*"),
    ])
  func notMatching(_ pattern: String, _ text: String) throws {
    #expect(try !matches(pattern, text))
  }

  @Test("length and stars are bounded, and an empty text is no pattern")
  func bounds() {
    #expect(StarPattern("", lengthMax: 5) == nil)
    #expect(StarPattern("ääääa", lengthMax: 5) != nil && StarPattern("äääääa", lengthMax: 5) == nil)
    #expect(StarPattern("a*b*", lengthMax: 5, starCountMax: 2) != nil)
    #expect(StarPattern("a*b*", lengthMax: 5, starCountMax: 1) == nil)
    for character in ["*", "a", "\0", "\u{301}", "🙂"] {
      #expect(StarPattern(String(repeating: character, count: 32_768), lengthMax: 512) == nil)
    }
    let widest = String(repeating: "🙂", count: 16_000)
    #expect(StarPattern(widest, lengthMax: 16_000)?.matches(widest) == true)
  }

  @Test("what repeats itself is found in one pass")
  func repetitive() throws {
    let part = String(repeating: "a", count: 250)
    let text = String(repeating: "a", count: 1 << 20)
    #expect(try !matches("*\(part)b\(part)*", text))
    #expect(try matches("*\(part)b*", text + "b" + text))
    #expect(try !matches(String(repeating: "a*", count: 255) + "b", text))
    #expect(try matches(String(repeating: "*", count: 512), text))
  }

  @Test("its literal bytes and its stars are counted")
  func counts() throws {
    let pattern = try #require(StarPattern("ä*b**", lengthMax: 5))
    #expect(pattern.literalCount == 3 && pattern.starCount == 3 && pattern.text == "ä*b**")
  }
}
