import Foundation
import JSON
import Testing

@testable import Portal

@Suite("Password")
struct PasswordTests {
  // MARK: Rules

  @Test("a password has 12 to 1,024 bytes of UTF-8, whatever the characters")
  func length() {
    for text in [
      String(repeating: "a", count: 12), String(repeating: "é", count: 6), String(repeating: "🔑", count: 256),
    ] {
      #expect(Password(text)?.reveal() == text)
    }
    for text in [
      "", String(repeating: "a", count: 11), String(repeating: "a", count: 1_025), String(repeating: "🔑", count: 257),
    ] {
      #expect(Password(text) == nil)
      #expect(Password(presented: text).reveal() == text)
    }
  }

  @Test("composed or not, and with any kind of space, it is the same password, but not in another case")
  func oneForm() throws {
    let composed = try #require(Password("d\u{E9}j\u{E0} vu encore"))
    for text in [
      "de\u{301}ja\u{300} vu encore", "d\u{E9}j\u{E0}\u{A0}vu\u{2003}encore", "d\u{E9}j\u{E0}\u{3000}vu encore",
    ] {
      #expect(Password(text)?.reveal().hasSameBytes(as: composed.reveal()) == true)
      let presented = Password(presented: text)
      #expect(presented.reveal().hasSameBytes(as: composed.reveal()))
      #expect(presented.asTyped?.reveal().hasSameBytes(as: text) == true)
    }
    #expect(composed.asTyped == nil && Password(presented: composed.reveal()).asTyped == nil)
    #expect(Password("D\u{E9}J\u{E0} vu encore")?.reveal() != composed.reveal())
    // Width and ligatures are preserved (RFC 8265, 4.2.2): they are different characters.
    #expect(Password("\u{FF41}\u{FB01} and ten more")?.reveal() == "\u{FF41}\u{FB01} and ten more")
  }

  @Test(
    "a character that is invisible or unassigned is refused as such in a new password, and left unchanged at login",
    arguments: [
      "\0", "\n", "\t", "\u{7F}", "\u{85}", "\u{200B}", "\u{202E}", "\u{AD}", "\u{200D}", "\u{FE0F}", "\u{E000}",
      "\u{FFFE}",
      "\u{378}", "\u{2028}", "\u{1100}", "\u{640}",
    ])
  func refused(_ character: String) {
    let text = "correct horse" + character + "battery"
    #expect(throws: Password.Refusal.character) { try Password(new: text) }
    let presented = Password(presented: text)
    #expect(presented.reveal().hasSameBytes(as: text) && presented.asTyped == nil)
  }

  @Test("a joiner is allowed where it affects the writing")
  func joiners() {
    #expect(Password("\u{915}\u{94D}\u{200D}\u{937} and more") != nil)
    #expect(Password("\u{645}\u{6CC}\u{200C}\u{62E}\u{648}\u{627}\u{647}\u{645}") != nil)
  }

  @Test("the length is that of the prepared form, and a much longer text is not prepared")
  func preparedLength() {
    // 512 letters of two bytes, each typed as two scalars that have three bytes together.
    let decomposed = String(repeating: "e\u{301}", count: 512)
    #expect(Password(decomposed)?.reveal().utf8.count == 1_024)
    #expect(throws: Password.Refusal.length) { try Password(new: String(repeating: "e\u{301}", count: 5)) }
    let long = String(repeating: "e\u{301}", count: 1_025)
    #expect(throws: Password.Refusal.length) { try Password(new: long) }
    #expect(Password(presented: long).reveal().hasSameBytes(as: long))
  }

  @Test("random passwords satisfy the rules and are all different")
  func random() {
    let passwords = (0..<100).map { _ in Password.random().reveal() }
    #expect(Set(passwords).count == 100)
    #expect(passwords.allSatisfy { Password($0) != nil })
  }

  @Test("a password cannot be printed, interpolated, dumped or encoded")
  func notPrinted() throws {
    let password = try #require(Password("correct horse battery"))
    var dumped = ""
    dump([password], to: &dumped)
    for text in ["\(password)", String(reflecting: password), "\([password])", dumped] {
      #expect(text.contains("<password>") && !text.contains("horse"))
    }
    #expect(!(password as Any is any Encodable))
  }

  // MARK: Hashes

  private let cost = ScryptCost(logN: 4, r: 8, p: 1)

  @Test("a hash matches its password, and nothing else")
  func roundTrip() {
    let texts = [
      "correct horse battery", "Correct horse battery", "correct horse battery ", "correct horse batter", "", "🔑",
      "a\0b", "a\0c",
    ]
    for text in texts {
      let stored = PasswordHash(stored: PasswordHash(Password(presented: text), cost: cost).text)
      for other in texts { #expect(stored.matches(Password(presented: other)) == (text == other), "\(text), \(other)") }
    }
  }

  @Test("hashes of the same password differ, and reveal only their cost")
  func salted() {
    let password = Password(presented: "correct horse battery")
    let hashes = (0..<20).map { _ in PasswordHash(password, cost: cost) }
    #expect(Set(hashes.map(\.text)).count == 20)
    for hash in hashes {
      #expect(hash.text.wholeMatch(of: /\$scrypt\$ln=4,r=8,p=1\$[A-Za-z0-9+\/]{22}\$[A-Za-z0-9+\/]{43}/) != nil)
      #expect(hash.cost == cost)
    }
  }

  /// RFC 7914, section 12: the first 32 of the 64 bytes, which do not depend on the requested length.
  @Test(
    "hashes match the test vectors of the RFC for scrypt",
    arguments: [
      ("password", "NaCl", "ln=10,r=8,p=16", "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"),
      (
        "pleaseletmein", "SodiumChloride", "ln=14,r=8,p=1",
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
      ),
    ])
  func knownAnswers(_ password: String, _ salt: String, _ cost: String, _ hash: String) {
    let bytes = stride(from: 0, to: 64, by: 2).map { offset in
      UInt8(hash.dropFirst(offset).prefix(2), radix: 16)!
    }
    func unpadded(_ data: Data) -> String { data.base64EncodedString().replacing("=", with: "") }
    let stored = "$scrypt$\(cost)$\(unpadded(Data(salt.utf8)))$\(unpadded(Data(bytes)))"
    #expect(PasswordHash(stored: stored).matches(Password(presented: password)))
    #expect(!PasswordHash(stored: stored).matches(Password(presented: password + "x")))
  }

  private static let good = "$scrypt$ln=4,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

  @Test(
    "a stored text of another format matches nothing",
    arguments: [
      "", "$", "$$$$", "secret", "$2b$12$abcdefghijklmnopqrstuv", good.replacing("scrypt", with: "argon2id"),
      "x" + good,
      good + "$", good.replacing("ln=4", with: "ln=0"), good.replacing("ln=4", with: "ln=21"),
      good.replacing("ln=4", with: "ln=63"), good.replacing("ln=4,", with: ""), good.replacing("r=8", with: "r=0"),
      good.replacing("r=8", with: "r=x"), good.replacing("p=1", with: "p=0"),
      good.replacing("p=1", with: "p=99999999999"),
      good.replacing("r=8", with: "r=9223372036854775807"), good.replacing("ln=4", with: "ln=20"),
      "$scrypt$ln=4,r=8,p=1$!$AAAA", "$scrypt$ln=4,r=8,p=1$$", "$scrypt$ln=4,r=8,p=1$AAAA$AAAA",
    ])
  func malformed(_ text: String) {
    #expect(!PasswordHash(stored: text).matches(Password(presented: "secret")))
    #expect(!PasswordHash(stored: text).matches(Password(presented: "")))
  }

  @Test("a stored text with a negative number matches nothing, and does not crash the server")
  func negative() async {
    await #expect(processExitsWith: .success) {
      for change in [("ln=4", "ln=-4"), ("r=8", "r=-8"), ("p=1", "p=-1")] {
        let stored = PasswordHash(stored: PasswordTests.good.replacing(change.0, with: change.1))
        #expect(!stored.matches(Password(presented: "secret")))
      }
    }
  }
}
