import JSON
import Testing

@testable import Portal

@Suite("Like patterns")
struct LikePatternTests {
  @Test(
    "a text matches itself: its wildcards and backslashes are escaped, whatever mark follows them",
    arguments: [
      ("", ""), ("a b", "a b"), ("50%", #"50\%"#), (#"a_b\"#, #"a\_b\\"#), ("é", "é"), ("%\u{301}", "\\%\u{301}"),
      ("_\u{316}\u{301}", "\\_\u{316}\u{301}"), ("\\\u{301}", "\\\\\u{301}"), ("%\u{200D}%", "\\%\u{200D}\\%"),
    ])
  func escaped(_ text: String, _ pattern: String) {
    #expect(text.withoutWildcards.hasSameBytes(as: pattern))
    #expect(text.anywhere.hasSameBytes(as: "%" + pattern + "%"))
  }
}
