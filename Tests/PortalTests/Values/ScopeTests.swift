import JSON
import Testing

@testable import Portal

@Suite("Scope")
struct ScopeTests {
  @Test(
    "letters, digits and :._*- are allowed, after a leading letter or digit, 64 characters at most",
    arguments: ["a", "9", "orders:read", "orders:*", "a.b_c-d:*", "0:", String(repeating: "a", count: 64)])
  func valid(_ scope: String) {
    #expect(Scope.isValid(scope))
  }

  @Test(
    "anything else is refused",
    arguments: [
      "", "*", ":", "-a", "_a", ".a", "A", "aB", "a b", "a/b", "a,b", " a", "a\n", "a\0", "ä", "aé", "a\u{301}", "ａ",
      String(repeating: "a", count: 65), String(repeating: "a", count: 63) + "é",
    ])
  func invalid(_ scope: String) {
    #expect(!Scope.isValid(scope))
  }

  @Test("a pattern is a scope or a star, and nothing that only looks like one")
  func patterns() {
    for text in ["*", "a", "a:*"] { #expect(Scope.isPattern(text), "\(text)") }
    let marks = String(repeating: "\u{301}", count: 4_000) + String(repeating: "\u{316}", count: 4_000)
    for text in ["", "**", "*\u{301}", "*" + marks, "1" + marks, "a:*\u{200D}", "＊"] {
      #expect(!Scope.isPattern(text), "\(text.shortened(to: 4))")
    }
  }

  /// The pattern of the HTTP contract, implemented differently.
  @Test("agrees with the documented pattern on every text of up to two of these characters")
  func pattern() throws {
    let pattern = try Regex("[a-z0-9][a-z0-9:._*-]{0,63}")
    let characters = (UInt8(0)...127).map { String(UnicodeScalar($0)) } + ["é", "ß", "\u{7F}", "٣"]
    for one in characters {
      for other in characters + [""] {
        #expect(try Scope.isValid(one + other) == (pattern.wholeMatch(in: one + other) != nil), "\(one)\(other)")
      }
    }
  }

  @Test(
    "a scope covers itself, `a:*` everything below `a:`, and `*` everything",
    arguments: [
      ("a:b", "a:b"), ("a", "a"), ("a:*", "a:b"), ("a:*", "a:b:c"), ("a:*", "a:*"), ("a:b:*", "a:b:c"), ("*", "*"),
      ("*", "a"), ("*", "a:b"), ("*", "a:*"),
    ])
  func covers(_ granted: String, _ required: String) {
    #expect(Scope.covers(granted, required))
  }

  @Test(
    "a scope covers no sibling, parent or longer name, and a star elsewhere is not a wildcard",
    arguments: [
      ("a:b", "a:c"), ("a:b", "a"), ("a:b", "a:b:c"), ("a", "a:b"), ("a:*", "a"), ("a:*", "ab:c"), ("a:*", "b:a:c"),
      ("a:*", "*"), ("a:b:*", "a:c"), ("a:b:*", "a:b"), ("a*", "ab"), ("a*", "a:b"), ("a:b*", "a:bc"),
      ("a:*:c", "a:b:c"), ("*:b", "a:b"), ("a:b", "a:*"), ("a:b", "*"), ("", "a"), ("a", ""), ("A:*", "a:b"),
    ])
  func doesNotCover(_ granted: String, _ required: String) {
    #expect(!Scope.covers(granted, required))
  }

  @Test(
    "the intersection of two lists grants exactly what both do",
    arguments: [
      (["a:*"], ["a:b"], ["a:b"]), (["a:b"], ["a:*"], ["a:b"]), (["a:b", "c"], ["*"], ["a:b", "c"]),
      (["a:*"], ["a:b:*", "a:c", "d"], ["a:b:*", "a:c"]), (["a:*", "a:b"], ["a:b"], ["a:b"]), (["a"], ["a:*"], []),
      (["a:b:c", "a:x"], ["a:b:*"], ["a:b:c"]), (["a:*"], ["b:*", "ab:*"], []),
    ])
  func intersection(_ granted: [String], _ patterns: [String], _ common: [String]) {
    #expect(Scope.intersection(granted, patterns) == common)
    for required in ["a", "a:b", "a:b:c", "a:b:d", "a:c", "a:x", "ab:c", "b:a", "c", "d"] {
      func covers(_ list: [String]) -> Bool { list.contains { Scope.covers($0, required) } }
      #expect(covers(common) == (covers(granted) && covers(patterns)), "\(required)")
    }
  }
}
