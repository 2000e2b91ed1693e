import PortalTesting
import Testing

@testable import Portal

@Suite("Pasted keys")
struct PastedKeyTests {
  private let format = KeyFormat(prefix: "lk")!

  private func key(_ text: String) -> String? { format.key(pasted: text)?.reveal() }

  @Test("a key is found among blanks, line breaks, quotes, headers, configuration and URLs")
  func found() {
    for environment in Key.Environment.allCases {
      let key = format.makeSecret(environment).reveal()
      let (start, end) = (key.prefix(30), key.dropFirst(30))
      let texts: [String] = [
        key, "\(key)\n", "\r\n\(key)\r\n", "\t \(key) ", "\u{A0}\(key)\u{3000}", "\u{FEFF}\(key)",
        "\u{200B}\(key)\u{200B}", "Bearer \(key)", "bearer\t\(key)\n", " BEARER   \(key)", "Bearer\n\(key)",
        "Authorization: Bearer \(key)", "authorization:\(key)", "X-API-Key: \(key)", "x-api-key:\t\(key)\r\n",
        "\"\(key)\"", "'\(key)'", "`\(key)`", "\u{201C}\(key)\u{201D}", " \" \(key) \" ", "'\"\(key)\"'",
        "Bearer \"\(key)\"", "\"Bearer \(key)\"", "API_KEY=\(key)", "{\"key\": \"\(key)\"},", "<\(key)>.",
        "https://api.example.com/?key=\(key)&page=2", "my key is \(key), and it is out", "\(key) \(key)",
        "\(start)\n\(end)", "\(key.prefix(5))\r\n  \(key.dropFirst(5))", "Bearer \(start)\u{200B}\(end)\n",
      ]
      for text in texts { #expect(self.key(text) == key, "\(text.debugDescription)") }
    }
  }

  @Test("an imported key is found, too, but not among words, and not in pieces")
  func foreign() {
    let keys: [String] = ["sk_12345", "x", "a.b.c", "YWJj==", "bearerx", String(repeating: "k", count: 512)]
    for key in keys {
      for text in [key, " \(key)\n", "Bearer \(key)", "X-API-Key: \(key)", "\u{FEFF}\(key)"] {
        #expect(self.key(text) == key, "\(text.debugDescription)")
      }
    }
    #expect(key("\"sk_12345\"") == "sk_12345")
    for text in ["sk_1234\n5", "not found", "my key: x"] { #expect(key(text) == nil) }
  }

  @Test(
    "texts that cannot be a key are rejected: typos, parts, capitals, several keys, other secrets, other characters")
  func none() {
    let key = format.makeSecret(.live).reveal()
    let texts: [String] = [
      "", " ", "\n", "Bearer ", String(key.dropLast()), "\(key)x", "\(key)\(key)", String(key.prefix(12)),
      "lk_live_", "\(key.prefix(12))…", "\(key.prefix(12))...", key.uppercased(), "Bearer \(key.dropLast())",
      key.replacing("lk_live", with: "lk_test"), key.replacing("lk_live", with: "LK_Live"),
      "\(key) \(format.makeSecret(.live).reveal())", "\(key) lk_test_x", "key=\(key.dropLast())", "lk_live_\u{430}bc",
      "🔑", "schlüssel", "' or true --", "a\u{0}b c", String(repeating: "k", count: 513),
      String(repeating: "é", count: 100), String(repeating: " ", count: 1_025),
      "\(key)\(String(repeating: " ", count: 1_000))", String(repeating: "lk_live_ ", count: 100),
    ]
    for text in texts { #expect(self.key(text) == nil, "\(text.debugDescription)") }
    let others =
      [ServiceToken.secretPrefix, MemberSession.tokenPrefix, StaffSession.tokenPrefix]
      + OneTimeToken.Purpose.allCases.map(\.prefix)
    for prefix in others {
      let secret = Secret.random(prefix: prefix).reveal()
      for text in [secret, secret.uppercased(), "Bearer \(secret)\n", "token=\(secret)"] {
        #expect(self.key(text) == nil, "\(prefix)")
      }
    }
  }

  @Test("a deployment with another prefix recognizes its own keys")
  func otherPrefix() {
    let other = KeyFormat(prefix: "acme")!
    let key = other.makeSecret(.test).reveal()
    #expect(other.key(pasted: "Bearer \(key)")?.reveal() == key)
    #expect(other.key(pasted: String(key.dropLast())) == nil)
    // In this deployment, it could be an imported key.
    #expect(self.key(key) == key)
  }

  @Test("the desk finds a pasted key by its hash, and rejects texts that cannot be a key")
  func desk() async throws {
    try await withPool { pool in
      let world = World(pool)
      let issued = try await world.makeKey(try await world.makeAccount())
      #expect(try await world.desk.lookUp(pasted: " Bearer \(issued.secret.reveal())\n").map(\.id) == [issued.key.id])
      #expect(try await world.desk.lookUp(pasted: format.makeSecret(.live).reveal()) == [])
      await #expect(throws: PortalError.notAKey) { try await world.desk.lookUp(pasted: "lk_live_x") }
    }
  }
}
