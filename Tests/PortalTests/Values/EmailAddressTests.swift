import Foundation
import JSON
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("EmailAddress")
struct EmailAddressTests {
  @Test(
    "an address is trimmed and converted to lower case",
    arguments: [
      ("ada@example.com", "ada@example.com"), ("  Ada@Example.COM\t", "ada@example.com"), ("a@b.c", "a@b.c"),
      ("ada+keys@mail.example.co.uk", "ada+keys@mail.example.co.uk"), ("ÄDA@exämple.com", "äda@xn--exmple-cua.com"),
      ("\"a\"@example.com", "\"a\"@example.com"), (String(repeating: "a", count: 242) + "@example.com", nil),
    ])
  func canonical(_ text: String, _ expected: String?) {
    #expect(EmailAddress(text)?.text == expected ?? text)
  }

  @Test(
    "an address has one @, a local part, a domain with a dot, and no spaces; anything else is refused",
    arguments: [
      "", " ", "ada", "@", "ada@", "@example.com", "ada@example", "ada@.com", "ada@example.", "ada@example.com.",
      "ada@@example.com", "ada@grace@example.com", "ada lovelace@example.com", "ada@exam ple.com",
      "ada@example.com\n.org",
      "a\0da@example.com", "a\u{7F}da@example.com", "a\u{85}da@example.com", "a\u{A0}da@example.com",
      "a\u{2003}da@example.com", "a\u{2028}da@example.com", String(repeating: "a", count: 243) + "@example.com",
    ])
  func refused(_ text: String) {
    #expect(EmailAddress(text) == nil)
  }

  @Test(
    "different spellings of a mailbox's letters and domain are one address",
    arguments: [
      (["jos\u{E9}@example.com", "jose\u{301}@example.com", "JOSE\u{301}@EXAMPLE.COM"], "jos\u{E9}@example.com"),
      (
        [
          "user@b\u{FC}cher.example", "user@bu\u{308}cher.example", "User@B\u{DC}CHER.Example",
          "user@xn--bcher-kva.example", "user@XN--BCHER-KVA.example", "user@b\u{FC}cher\u{3002}example",
        ], "user@xn--bcher-kva.example"
      ),
      // Non-transitional processing: a different domain from `fass.example`.
      (["a@fa\u{DF}.example", "a@xn--fa-hia.example"], "a@xn--fa-hia.example"),
      (["a@b_c.example", "a@B_C.example"], "a@b_c.example"),
    ])
  func oneForm(_ spellings: [String], _ expected: String) {
    for text in spellings {
      #expect(EmailAddress(text)?.text.hasSameBytes(as: expected) == true, "\(text)")
    }
  }

  @Test(
    "invisible characters and characters that change the direction of text are refused as such",
    arguments: [
      "a\u{200B}da@example.com", "\u{200B}ada@example.com", "ada@example.com\u{200B}", "ada@exam\u{200B}ple.com",
      "ada\u{202E}@example.com", "ada\u{2066}@example.com", "ada\u{200F}@example.com", "a\u{AD}da@example.com",
      "a\u{FEFF}da@example.com", "a\u{200D}da@example.com", "a\u{34F}da@example.com", "a\u{3164}da@example.com",
      "a\u{FE0F}da@example.com", "a\0da@example.com", "a\u{1B}da@example.com",
    ])
  func invisible(_ text: String) {
    #expect(throws: EmailAddress.Refusal.invisible) { try EmailAddress(typed: text) }
  }

  @Test(
    "an impossible domain is refused as such, also one that mapping turns into a different domain",
    arguments: [
      "a@\u{1F4A9}.example", "a@xn--ls8h.example", "a@xn--example-.com", "a@xn--.example", "a@-\u{E9}.example",
      "a@b\u{FC}cher..example", "a@b\u{FF20}c.\u{E9}", "a@b\u{FF0F}c.\u{E9}", "a@\u{301}b.example",
      "a@" + String(repeating: "\u{E9}", count: 80) + ".example",
    ])
  func noDomain(_ text: String) {
    #expect(throws: EmailAddress.Refusal.domain) { try EmailAddress(typed: text) }
  }

  @Test("a look-up also tries the address as typed, for addresses stored before there was a canonical form")
  func storedTexts() {
    #expect(EmailAddress("Ada@example.com")?.storedTexts == ["ada@example.com"])
    #expect(
      EmailAddress("User@B\u{FC}cher.example")?.storedTexts == [
        "user@b\u{FC}cher.example", "user@xn--bcher-kva.example",
      ])
  }

  @Test("the canonical form of a canonical address is the address itself")
  func idempotent() {
    for scalar in (UInt32(33)...0x1_FFFF).compactMap({ Unicode.Scalar($0) }) {
      guard let once = EmailAddress("\(scalar)\u{301}@example.com")?.text else { continue }
      if EmailAddress(once)?.text.hasSameBytes(as: once) != true {
        Issue.record("U+\(String(scalar.value, radix: 16)) has a different form each time")
      }
    }
  }

  private struct CountNotLower: PostgresStatement {
    typealias Row = Int
    static let sql = "select count(*) from unnest($1::text[]) email where email <> lower(email)"
    let emails: [String]
    func bind(_ bindings: inout PostgresBindings) { bindings.append(emails) }
  }

  /// Otherwise a constraint would turn such a sign-up into an internal error.
  @Test("PostgreSQL agrees that an address with any letter is in lower case")
  func lowerCase() async throws {
    let scalars = (UInt32(33)...0x1_FFFF).compactMap { Unicode.Scalar($0) }
    let emails = scalars.compactMap { EmailAddress("\($0)@example.com")?.text }
    #expect(emails.count > 100_000)
    try await withPool { pool async throws in #expect(try await pool.query(CountNotLower(emails: emails)) == [0]) }
  }
}
