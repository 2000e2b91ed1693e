import Testing

@testable import Portal

@Suite("KeyFormat")
struct KeyFormatTests {
  private let format = KeyFormat(prefix: "lk")!

  @Test("a prefix is 2 to 16 lower-case letters and digits, beginning with a letter")
  func prefixes() {
    for prefix in ["lk", "a1", "abcdefghijklmnop"] { #expect(KeyFormat(prefix: prefix)?.prefix == prefix) }
    for prefix in ["", "a", "1a", "Lk", "lK", "l_k", "l-k", "lk ", "lé", "abcdefghijklmnopq"] {
      #expect(KeyFormat(prefix: prefix) == nil, "\(prefix)")
    }
  }

  @Test(
    "a generated key names its environment, is well formed, and may exist",
    arguments: Key.Environment.allCases)
  func made(_ environment: Key.Environment) {
    let secret = format.makeSecret(environment)
    #expect(secret.reveal().hasPrefix("lk_\(environment.rawValue)_"))
    #expect(secret.isWellFormed(prefix: "lk_\(environment.rawValue)"))
    #expect(format.mayExist(secret))
    #expect(KeyFormat.start(of: secret) == secret.start(12))
  }

  @Test(
    "the start of a key is all before its secret and four characters of it, whatever its prefix and its length",
    arguments: ["lk", "abcdefghijklmnop"], [16, 32, 255])
  func start(_ prefix: String, _ byteCount: Int) {
    let secret = format.makeSecret(.test, prefix: prefix, byteCount: byteCount)
    let text = secret.reveal()
    #expect(text.hasPrefix(prefix + "_test_") && text.utf8.count <= KeyFormat.lengthMax)
    #expect(text.utf8.count == prefix.utf8.count + 6 + Secret.randomLength(ofBytes: byteCount) + 6)
    #expect(KeyFormat.start(of: secret) == String(text.prefix(prefix.utf8.count + 10)))
    #expect(KeyFormat.start(of: secret).utf8.count <= Key.startLengthMax)
  }

  @Test("a key with this deployment's prefix and a typo cannot exist, and costs no look-up")
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

  @Test("a key of another format may have been imported, unless it is empty or longer than any secret")
  func foreign() {
    for text in ["sk_12345", "lk_svc_x", "lk_livex", "k", String(repeating: "k", count: 512), "schlüssel"] {
      #expect(format.mayExist(Secret(presented: text)), "\(text)")
    }
    for text in ["", String(repeating: "k", count: 513), String(repeating: "é", count: 257)] {
      #expect(!format.mayExist(Secret(presented: text)))
    }
  }
}
