import Testing

@testable import Portal

@Suite("KeyFormat")
struct KeyFormatTests {
  private let format = KeyFormat(prefix: "lk")!

  @Test("a prefix is 2 to 16 lower-case letters and digits, a letter first")
  func prefixes() {
    for prefix in ["lk", "a1", "abcdefghijklmnop"] { #expect(KeyFormat(prefix: prefix)?.prefix == prefix) }
    for prefix in ["", "a", "1a", "Lk", "lK", "l_k", "l-k", "lk ", "lé", "abcdefghijklmnopq"] {
      #expect(KeyFormat(prefix: prefix) == nil, "\(prefix)")
    }
  }

  @Test(
    "a made key says its environment, may exist, and is no key of another deployment",
    arguments: Key.Environment.allCases)
  func made(_ environment: Key.Environment) {
    let secret = format.makeSecret(environment)
    #expect(secret.reveal().hasPrefix("lk_\(environment.rawValue)_"))
    #expect(secret.isWellFormed(prefix: "lk_\(environment.rawValue)"))
    #expect(format.mayExist(secret))
    #expect(secret.start(Key.startLength).count == 12)
  }

  @Test("what looks like one of ours and has a typo cannot exist: it costs no look-up")
  func typo() {
    let text = format.makeSecret(.live).reveal()
    let last = text.last == "0" ? "1" : "0"
    for text in [
      text.dropLast() + last, text + "0", String(text.dropLast()), "lk_live_", "lk_test_x", "lk_live_\u{301}x",
    ] {
      #expect(!format.mayExist(Secret(presented: text)), "\(text)")
    }
    #expect(!format.mayExist(Secret(presented: text.replacing("live", with: "test"))))
  }

  @Test("a key of another form may have been brought along, unless it is empty or longer than any secret")
  func foreign() {
    for text in ["sk_12345", "lk_svc_x", "lk_livex", "k", String(repeating: "k", count: 256), "schlüssel"] {
      #expect(format.mayExist(Secret(presented: text)), "\(text)")
    }
    for text in ["", String(repeating: "k", count: 257), String(repeating: "é", count: 129)] {
      #expect(!format.mayExist(Secret(presented: text)))
    }
  }
}
