import JSON
import Testing

@Suite("ByteText")
struct ByteTextTests {
  private enum Fruit: String, CaseIterable {
    case apple
    case pear = "péar"
  }

  @Test("texts are equal by their bytes, not by what they look like")
  func equality() {
    #expect(ByteText("\u{e9}") == ByteText("\u{e9}"))
    #expect(ByteText("\u{e9}") != ByteText("e\u{301}"))
    #expect(Set(["a", "\u{e9}", "e\u{301}", "a"].map(ByteText.init)).count == 3)
    #expect(ByteText("a") < ByteText("b") && ByteText("a") < ByteText("aa") && !(ByteText("a") < ByteText("a")))
    #expect("abc".dropFirst().hasSameBytes(as: "bc") && !"abc".hasSameBytes(as: "ab"))
  }

  @Test("a case is found by the bytes of its name alone")
  func choices() {
    #expect(Fruit(named: "apple") == .apple && Fruit(named: "p\u{e9}ar") == .pear)
    #expect(Fruit(named: "pe\u{301}ar") == nil && Fruit(named: "") == nil && Fruit(named: "apple ") == nil)
  }

  @Test("what is shown of a text is bounded, however many marks there are on a letter")
  func shortened() {
    #expect("abc".shortened() == "abc")
    #expect("a\0b\n\u{9F}".shortened() == "a\u{FFFD}b\u{FFFD}\u{FFFD}")
    #expect(("a" + String(repeating: "\u{301}", count: 10_000)).shortened(to: 3).unicodeScalars.count == 3)
  }
}
