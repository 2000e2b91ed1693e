import JSON
import Testing

@testable import Portal

@Suite("Composed text")
struct ComposedTextTests {
  @Test(
    "letters and their marks become one where there is one, in order where there is none",
    arguments: [
      ("jose\u{301}", "jos\u{E9}"), ("o\u{302}\u{323}", "\u{1ED9}"), ("x\u{302}\u{323}", "x\u{323}\u{302}"),
      ("\u{212B}", "\u{C5}"), ("\u{1112}\u{1161}\u{11AB}", "\u{D55C}"), ("ada", "ada"), ("", ""), ("\u{0}", "\u{0}"),
      // Beyond U+FFFF: none is taken for the letter with the same last 16 bits.
      ("\u{10041}\u{301}", "\u{10041}\u{301}"), ("\u{11099}\u{110BA}", "\u{1109A}"),
    ])
  func composed(_ text: String, _ expected: String) {
    #expect(text.composed.hasSameBytes(as: expected))
  }

  @Test("a thousand marks in a row are put in order")
  func manyMarks() {
    let marks = String(repeating: "\u{301}\u{316}", count: 500)
    let expected = String(repeating: "\u{316}", count: 500) + String(repeating: "\u{301}", count: 500)
    #expect(("x" + marks).composed.hasSameBytes(as: "x" + expected))
  }
}
