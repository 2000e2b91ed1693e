import Testing

@testable import Portal

@Suite("TypedText")
struct TypedTextTests {
  /// One scalar of each kind, and similar ones.
  private static let controls: [Unicode.Scalar] = ["\u{1}", "\u{8}", "\u{B}", "\u{1B}", "\u{7F}", "\u{80}", "\u{9F}"]
  private static let bidirectional: [Unicode.Scalar] = [
    "\u{61C}", "\u{200E}", "\u{200F}", "\u{202A}", "\u{202B}", "\u{202C}", "\u{202D}", "\u{202E}", "\u{2066}",
    "\u{2067}",
    "\u{2068}", "\u{2069}",
  ]
  private static let invisible: [Unicode.Scalar] = [
    "\u{AD}", "\u{34F}", "\u{115F}", "\u{1160}", "\u{180E}", "\u{200B}", "\u{2060}", "\u{2064}", "\u{206A}", "\u{3164}",
    "\u{FEFF}", "\u{FFA0}", "\u{FFF9}", "\u{1BCA0}", "\u{1D173}", "\u{E0001}", "\u{E0041}", "\u{E007F}",
  ]
  private static let separators: [Unicode.Scalar] = ["\u{2028}", "\u{2029}"]

  private func isLine(_ text: String) -> Bool { TypedText.isReadable(text, .line) }

  @Test(
    "a name in any script is accepted, and so is one of symbols or an emoji",
    arguments: [
      "a", "0", "-", "Żółć", "e\u{301}", "日本語", "שלום עולם", "مرحبا", "हिन्दी", "ไทย", "ﷺ", "Acme, Inc.",
      "'; drop table --",
      "<b>&amp;", "\\", "%s${x}{{y}}", "→", "€", "a\u{A0}b", "a\u{3000}b", "\u{10FFFD}a", "a\u{2800}",
    ])
  func good(_ name: String) {
    #expect(isLine(name))
    #expect(TypedText.isReadable(name, .lines))
    #expect(TypedText.trimmed(name) == name)
  }

  @Test("a text that shows nothing is not a name, however long it is")
  func nothingToSee() {
    let blanks: [Unicode.Scalar] = [
      " ", "\u{A0}", "\u{2003}", "\u{3000}", "\u{2800}", "\u{301}", "\u{20DD}", "\u{FE0F}",
    ]
    #expect(!isLine("") && !TypedText.isReadable("", .lines))
    for scalar in blanks + Self.controls + Self.bidirectional + Self.invisible + Self.separators {
      for count in [1, 2, 100] {
        let text = String(repeating: String(scalar), count: count)
        #expect(!isLine(text), "U+\(String(scalar.value, radix: 16))")
        #expect(!TypedText.isReadable(text, .lines), "U+\(String(scalar.value, radix: 16))")
      }
    }
    #expect(!isLine("\u{E000}") && !isLine("\u{FFFE}\u{10FFFF}"))
    #expect(!TypedText.isReadable("\n\n", .lines))
  }

  @Test("a name with a control, an invisible or a direction character anywhere is refused")
  func hidden() {
    for scalar in Self.controls + Self.bidirectional + Self.invisible + Self.separators {
      for text in ["\(scalar)ab", "a\(scalar)b", "ab\(scalar)", "日\(scalar)本", "😀\(scalar)😀"] {
        #expect(!isLine(text), "U+\(String(scalar.value, radix: 16)) in \(text.debugDescription)")
        #expect(!TypedText.isReadable(text, .lines))
      }
    }
  }

  /// Including those that later versions of Unicode add.
  @Test("no character of the categories Cc, Cf, Zl and Zp is accepted between letters")
  func categories() {
    var count = 0
    for value in UInt32(0)...0x10FFFF {
      guard let scalar = Unicode.Scalar(value) else { continue }
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator:
        count += 1
        #expect(!isLine("a\(scalar)b"), "U+\(String(value, radix: 16))")
      default: break
      }
    }
    #expect(count > 200)
  }

  @Test("line breaks and tabs are only for texts of several lines")
  func lines() {
    for text in ["a\nb", "a\r\nb", "a\tb", "- one\n\n- two"] {
      #expect(!isLine(text))
      #expect(TypedText.isReadable(text, .lines))
    }
    for text in ["a\u{B}b", "a\u{C}b", "a\u{85}b", "a\u{2028}b", "a\n\u{202E}b"] {
      #expect(!TypedText.isReadable(text, .lines), "\(text.debugDescription)")
    }
  }

  @Test("white space around a text is removed, and nothing within it")
  func trimmed() {
    for (text, expected) in [
      ("", ""), (" ", ""), (" a ", "a"), ("\u{A0}\u{3000}a  b\u{2003}\r\n", "a  b"), ("\n\u{2028}a\u{2029}\u{85}", "a"),
      ("\u{200B}a", "\u{200B}a"), ("\u{FEFF} a", "\u{FEFF} a"), ("\t\t", ""), ("a", "a"),
    ] {
      #expect(Array(TypedText.trimmed(text).utf8) == Array(expected.utf8), "\(text.debugDescription)")
    }
  }

  // MARK: Joiners

  @Test(
    "emoji are joined, with skin tones and selectors, and flags are flags",
    arguments: [
      "👩‍👩‍👧‍👦", "👩🏽‍💻", "❤️‍🔥", "🏳️‍🌈", "🏴‍☠️", "🧑🏿‍🤝‍🧑🏻", "👁️‍🗨️", "🧑‍🦰", "🇩🇪", "1️⃣", "☕️", "team 👩‍🚀 one",
    ])
  func emoji(_ name: String) {
    #expect(isLine(name))
  }

  @Test("a joiner between anything else, at an end, or twice, is refused as invisible")
  func strayJoiners() {
    for text in [
      "a\u{200D}b", "\u{200D}", "\u{200D}😀", "😀\u{200D}", "😀\u{200D}a", "a\u{200D}😀", "1\u{200D}2", "#\u{200D}*",
      "©\u{200D}®", "😀\u{200D}\u{200D}😀", "😀 \u{200D}😀", "a\u{200C}b", "😀\u{200C}😀", "日\u{200D}本", "\u{200C}م",
      "م\u{200C}",
    ] {
      #expect(!isLine(text), "\(text.debugDescription)")
    }
  }

  @Test("scripts that are written with joiners are accepted with them")
  func scripts() {
    // Persian; Devanagari and Malayalam after a virama.
    for text in ["می\u{200C}خواهم", "क्\u{200D}ष", "क्\u{200C}ष", "ന്\u{200D}"] { #expect(isLine(text)) }
  }

  @Test("a variation selector is accepted once, after a character that has variants")
  func selectors() {
    for text in ["☺\u{FE0E}", "葛\u{E0100}", "葛\u{FE00}", "ᠮ\u{180B}", "∩\u{FE00}"] { #expect(isLine(text)) }
    for text in ["a\u{FE0F}", "\u{FE0F}a", "☺\u{FE0E}\u{FE0F}", "a\u{E0100}", "a \u{FE0F}", "a\u{180B}"] {
      #expect(!isLine(text), "\(text.debugDescription)")
    }
  }

  @Test("texts as long as any request body are checked quickly, whatever they consist of")
  func long() {
    for scalar in ["a", "\u{301}", "\u{316}", "\u{200D}", "😀", "\u{202E}", " "] {
      let text = "a" + String(repeating: scalar, count: 100_000) + "\u{301}\u{316}"
      let duration = ContinuousClock().measure { _ = TypedText.isReadable(TypedText.trimmed(text), .lines) }
      #expect(duration < .seconds(10), "\(scalar.debugDescription)")
    }
  }
}
