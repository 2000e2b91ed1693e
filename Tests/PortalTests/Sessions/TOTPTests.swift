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
