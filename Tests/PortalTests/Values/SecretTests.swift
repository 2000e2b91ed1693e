import Foundation
import Testing

@testable import Portal

@Suite("Secret")
struct SecretTests {
  private let digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8

  // MARK: Form

  @Test(
    "consists of the prefix, 43 random characters and a checksum of 6 over all before them",
    arguments: ["lk_live", "x"])
  func form(_ prefix: String) throws {
    let text = Secret.random(prefix: prefix).reveal()
    #expect(text.hasPrefix(prefix + "_"))
    let rest = text.dropFirst(prefix.count + 1)
    #expect(rest.count == 49)
    #expect(rest.utf8.allSatisfy { digits.contains($0) })
    let checksum = CRC32.checksum(of: text.dropLast(6).utf8)
    #expect(String(rest.suffix(6)) == Base62.encode([UInt64(checksum)], length: 6))
    #expect(Secret(presented: text).isWellFormed(prefix: prefix))
  }

  @Test("5,000 secrets all differ, and every place takes every character, the first one all but the last")
  func randomness() {
    let bodies = (0..<5_000).map { _ in Array(Secret.random(prefix: "lk_live").reveal().utf8.dropFirst(8).prefix(43)) }
    #expect(Set(bodies).count == bodies.count)
    for place in 0..<43 {
      // 2^256 / 62^42 is 60.9: the first character is one of the first 61.
      #expect(Set(bodies.map { $0[place] }).count >= (place == 0 ? 60 : 62), "place \(place)")
    }
  }

  /// A CRC-32 finds every error within 32 consecutive bits.
  @Test("any single mistyped character and any two swapped neighbors are detected by the form alone")
  func typos() {
    let text = Array(Secret.random(prefix: "lk_live").reveal().utf8)
    func isWellFormed(_ bytes: [UInt8]) -> Bool {
      Secret(presented: String(decoding: bytes, as: UTF8.self)).isWellFormed(prefix: "lk_live")
    }
    #expect(isWellFormed(text))
    for place in text.indices {
      for digit in Array(digits) + Array("_-. ".utf8) where digit != text[place] {
        var typo = text
        typo[place] = digit
        #expect(!isWellFormed(typo), "\(digit) at \(place)")
      }
      if place > 0, text[place] != text[place - 1] {
        var swapped = text
        swapped.swapAt(place, place - 1)
        #expect(!isWellFormed(swapped))
      }
    }
  }

  @Test("a text that is too short or too long, or has another prefix or alphabet, is not well-formed")
  func malformed() {
    let text = Secret.random(prefix: "lk_live").reveal()
    let wrong = [
      "", "lk_live_", String(text.dropLast()), text + "0", " " + text, text + "\n",
      text.replacing("lk_live", with: "lk"),
      text.dropLast(7) + "é" + text.suffix(6), "lk_live_" + String(repeating: "0", count: 49),
    ]
    for text in wrong { #expect(!Secret(presented: text).isWellFormed(prefix: "lk_live"), "\(text)") }
    #expect(!Secret(presented: text).isWellFormed(prefix: "lk_test"))
    #expect(!Secret(presented: text).isWellFormed(prefix: "lk"))
  }

  // MARK: Not printed

  private struct Holder {
    let secret = Secret.random(prefix: "lk_live")
    var secrets: [Secret?] { [secret] }
  }

  @Test("neither a secret nor its hash can be printed, interpolated, dumped or encoded, even inside other values")
  func notPrinted() {
    let holder = Holder()
    let (secret, hash) = (holder.secret, holder.secret.hash)
    var printed = [
      "\(secret)", String(describing: secret), String(reflecting: secret), "\(holder)", "\(holder.secrets)",
      String(reflecting: holder), "\(hash)", String(reflecting: hash), "\([hash: secret])",
      "\(IssuedSession(session: 1, token: secret))", "\(VerificationRequest(hash: secret.hash))",
      "\(KeySearch(hash: hash))",
    ]
    for value in [holder, secret, hash, VerificationRequest(hash: secret.hash)] as [Any] {
      var text = ""
      dump(value, to: &text)
      printed.append(text)
    }
    let words = [
      secret.reveal(), String(secret.reveal().suffix(10)), "\(hash.bytes[0]), \(hash.bytes[1])",
      "\(hash.bytes[0...3].reversed().reduce(0) { $0 << 8 | UInt64($1) })",
    ]
    for text in printed {
      #expect(text.contains("<secret"))
      for word in words { #expect(!text.contains(word), "\(text)") }
    }
    for value in [secret, hash] as [Any] { #expect(!(value is any Encodable)) }
  }

  @Test("the start is the first characters, or all if there are fewer")
  func start() {
    #expect(Secret(presented: "lk_live_abcdefgh").start(12) == "lk_live_abcd")
    #expect(Secret(presented: "short").start(12) == "short")
  }

  // MARK: Hash

  @Test("the hash is the SHA-256 of the text, and can be restored from its 32 bytes and from no other number")
  func hash() {
    let hash = Secret(presented: "abc").hash
    #expect(
      hash.bytes.map { String(format: "%02x", $0) }.joined() == """
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
        """)
    #expect(SecretHash(bytes: hash.bytes) == hash)
    #expect(SecretHash(of: AnySequence("abc".utf8)) == hash)
    for count in [0, 31, 33, 64] { #expect(SecretHash(bytes: Array(repeating: 7, count: count)) == nil) }
  }

  @Test("hashes are equal only if all 256 bits are")
  func equality() {
    let bytes = SecretHash.numbered(1).bytes
    for bit in 0..<256 {
      var other = bytes
      other[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(SecretHash(bytes: other) != SecretHash(bytes: bytes), "bit \(bit)")
    }
  }
}
