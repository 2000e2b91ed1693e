import Foundation
import PostgresTesting
import Testing

@testable import Portal

@Suite("TOTP")
struct TOTPTests {
  private let factor = TOTP(secret: Array("12345678901234567890".utf8))

  @Test(
    "codes match the test vectors of RFC 6238, appendix B",
    arguments: [
      (59, "94287082"), (1_111_111_109, "07081804"), (1_111_111_111, "14050471"), (1_234_567_890, "89005924"),
      (2_000_000_000, "69279037"), (20_000_000_000, "65353130"),
    ])
  func vectors(_ seconds: Int, _ code: String) {
    let step = TOTP.step(at: Date(timeIntervalSince1970: Double(seconds)))
    #expect(factor.code(atStep: step, digitCount: 8) == code)
    #expect(factor.code(atStep: step) == code.suffix(6))
  }

  @Test(
    "codes match the test vectors of RFC 4226, appendix D",
    arguments: zip(
      0...9,
      ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"]))
  func counterVectors(_ counter: Int, _ code: String) {
    #expect(factor.code(atStep: counter) == code)
  }

  @Test("at an impossible time, no code is accepted except that of the first step")
  func impossibleTimes() {
    for seconds in [-31, -61, -1e12, -.infinity] as [Double] {
      let date = Date(timeIntervalSince1970: seconds)
      #expect(factor.step(of: factor.code(atStep: 0), at: date) == 0)
      #expect(factor.step(of: "000000", at: date) == nil)
    }
    #expect(factor.step(of: "000000", at: Date(timeIntervalSince1970: .infinity)) == nil)
    #expect(factor.code(atStep: -1) == factor.code(atStep: 0))
  }

  @Test("only the codes of the current, the previous and the next step are accepted")
  func window() {
    let now = Date(timeIntervalSince1970: 59.9)
    for step in 0...6 {
      #expect(factor.step(of: factor.code(atStep: step), at: now) == (step <= 2 ? step : nil))
    }
    #expect(factor.step(of: factor.code(atStep: 0), at: Date(timeIntervalSince1970: 0)) == 0)
  }

  @Test("any text other than the six digits is refused")
  func wrongTexts() {
    let code = factor.code(atStep: 1)
    for text in ["", "0", String(code.dropLast()), code + "0", " " + code, code + " ", "000000", "²²²²²²", "28708２"] {
      #expect(factor.step(of: text, at: Date(timeIntervalSince1970: 59)) == nil, "\(text)")
    }
  }

  @Test(
    "the secret is shown in base 32 (RFC 4648, 10)",
    arguments: [
      ("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("fooba", "MZXW6YTB"),
      ("foobar", "MZXW6YTBOI"), ("12345678901234567890", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"),
    ])
  func base32(_ text: String, _ shown: String) {
    #expect(TOTP(secret: Array(text.utf8)).reveal() == shown)
  }

  @Test("the URI for authenticators is valid for any characters in the address")
  func uri() throws {
    #expect(
      factor.uri(for: "ada+1@example.com")
        == "otpauth://totp/Latchkey:ada%2B1%40example%2Ecom?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Latchkey"
        + "&algorithm=SHA1&digits=6&period=30")
    let components = try #require(URLComponents(string: factor.uri(for: "ä?&#/%@例え.jp")))
    #expect(components.path == "/Latchkey:ä?&#/%@例え.jp" && components.queryItems?.count == 5)
  }

  @Test("secrets are all different, and neither secrets nor recovery codes are printed by accident")
  func secrets() {
    #expect(Set((0..<100).map { _ in TOTP.random().reveal() }).count == 100)
    let code = RecoveryCode.random()
    for text in ["\(factor)", "\([factor])", String(reflecting: factor), "\(code)", String(reflecting: [code])] {
      #expect(!text.contains("GEZD") && !text.contains(code.reveal().prefix(4)))
    }
    var dumped = ""
    dump([factor], to: &dumped)
    dump([code], to: &dumped)
    #expect(!dumped.contains("49") && !dumped.contains(code.reveal().prefix(4)))
  }

  @Test("a recovery code is accepted in any case, with or without hyphens and spaces")
  func recoveryCodes() throws {
    let code = RecoveryCode.random()
    let text = code.reveal()
    #expect(text.wholeMatch(of: /([a-z2-9]{4}-){3}[a-z2-9]{4}/) != nil)
    for typed in [text, text.uppercased(), text.replacing("-", with: ""), text.replacing("-", with: " "), " \(text) "] {
      #expect(try #require(RecoveryCode(typed: typed)).hash == code.hash)
    }
    for typed in ["", "123456", String(text.dropLast()), text + "a", String(repeating: "é", count: 16)] {
      #expect(RecoveryCode(typed: typed) == nil)
    }
  }
}

@Suite("SecretBox")
struct SecretBoxTests {
  private let key = Data(repeating: 7, count: 32).base64EncodedString()

  @Test("previous keys open what they sealed and seal nothing new; at most four are allowed, and never the current key")
  func previousKeys() throws {
    let keys = (1...6).map { Data(repeating: $0, count: 32).base64EncodedString() }
    let (secret, owner) = (Array("secret".utf8), UUID())
    let boxes = try keys.map { try #require(SecretBox(base64: $0)) }
    let sealed = try boxes.map { try $0.seal(secret, for: owner) }
    let box = try #require(boxes[0].opening(previous: "\(keys[1]), \(keys[2])"))
    #expect(box.hasPrevious && !boxes[0].hasPrevious)
    for (index, age) in [SecretBox.Age.present, .previous, .previous].enumerated() {
      let opened = try #require(box.open(sealed[index], for: owner))
      #expect(opened.bytes == secret && opened.age == age)
      #expect(box.open(sealed[index], for: UUID()) == nil)
    }
    #expect(box.open(sealed[3], for: owner) == nil)
    let anew = try box.seal(secret, for: owner)
    #expect(boxes[0].open(anew, for: owner)?.bytes == secret && boxes[1].open(anew, for: owner) == nil)
    #expect(boxes[0].opening(previous: keys[1...4].joined(separator: ",")) != nil)
    for text in [keys[1...5].joined(separator: ","), keys[0], "", ",", "\(keys[1]),", "\(keys[1]),short", "short"] {
      #expect(boxes[0].opening(previous: text) == nil, "\(text)")
    }
  }

  @Test("only the same key opens a sealed secret, and only for the same owner; each sealing gives a different result")
  func sealed() throws {
    let box = try #require(SecretBox(base64: key))
    let (owner, secret) = (UUID(), Array("twenty bytes exactly".utf8))
    let sealed = try box.seal(secret, for: owner)
    #expect(sealed.count == 48 && !sealed.indices.contains { sealed[$0...].starts(with: secret.prefix(4)) })
    #expect(try box.seal(secret, for: owner) != sealed)
    #expect(box.open(sealed, for: owner)?.bytes == secret)
    #expect(box.open(sealed, for: UUID()) == nil)
    let other = try #require(SecretBox(base64: Data(repeating: 8, count: 32).base64EncodedString()))
    #expect(other.open(sealed, for: owner) == nil)
    for index in sealed.indices {
      var changed = sealed
      changed[index] ^= 1
      #expect(box.open(changed, for: owner) == nil)
    }
    for length in [0, 11, 27, 47] { #expect(box.open(Array(sealed.prefix(length)), for: owner) == nil) }
  }

  @Test("a key is 32 bytes in base 64")
  func keys() {
    for count in [0, 16, 31, 33, 64] {
      #expect(SecretBox(base64: Data(repeating: 1, count: count).base64EncodedString()) == nil)
    }
    for text in ["x", key + "!", String(repeating: "a", count: 32)] { #expect(SecretBox(base64: text) == nil) }
  }
}
