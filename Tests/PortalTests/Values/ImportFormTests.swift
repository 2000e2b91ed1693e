import Foundation
import Testing

@testable import Portal

@Suite("Hashes of other systems")
struct ImportFormTests {
  private static let key = Secret(presented: "sk_short_longpart")
  private static let after = ImportSalt("pepper", .after)
  private static let before = ImportSalt("pepper", .before)

  /// The hash of the text is what `sha256sum` and `sha512sum` print.
  @Test(
    "each form hashes the whole key or its long part, with the salt before or after it",
    arguments: [
      (ImportForm(.sha256), after, "sk_short_longpart"), (ImportForm(.sha256, .long), after, "longpart"),
      (ImportForm(.sha256, isSalted: true), after, "sk_short_longpartpepper"),
      (ImportForm(.sha256, isSalted: true), before, "peppersk_short_longpart"),
      (ImportForm(.sha256, .long, isSalted: true), after, "longpartpepper"),
      (ImportForm(.sha256, .long, isSalted: true), before, "pepperlongpart"),
    ])
  func vectors(_ form: ImportForm, _ salt: ImportSalt?, _ text: String) {
    #expect(form.hash(of: Self.key, salt) == SecretHash(of: text.utf8).bytes)
  }

  @Test("known digests, so that both algorithms are those of everybody else")
  func known() throws {
    let abc = Secret(presented: "abc")
    let sha256 = try #require(ImportForm(.sha256).hash(of: abc, nil))
    #expect(
      ImportedHash(form: ImportForm(.sha256), bytes: sha256).hex
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    let sha512 = try #require(ImportForm(.sha512).hash(of: abc, nil))
    #expect(
      ImportedHash(form: ImportForm(.sha512), bytes: sha512).hex
        == "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        + "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f")
  }

  @Test("a key without a long part, and a salted form without a salt, have no hash")
  func none() {
    for text in ["sk", "sk_long", "sk_short_", "__"] {
      #expect(ImportForm(.sha256, .long).hash(of: Secret(presented: text), nil) == nil, "\(text)")
    }
    #expect(ImportForm(.sha256, isSalted: true).hash(of: Self.key, nil) == nil)
    #expect(ImportForm(.sha256, .long).hash(of: Secret(presented: "a_b_c_d"), nil) == SecretHash(of: "d".utf8).bytes)
  }

  @Test("a form is found by its name, and a set of forms has those of its names")
  func names() {
    #expect(Set(ImportForm.all.map(\.name)).count == 8)
    for form in ImportForm.all {
      #expect(ImportForm(name: form.name) == form)
      #expect(ImportForms(names: [form.name, "md5"]) == ImportForms(form))
    }
    #expect(ImportForm(name: "") == nil && ImportForm(name: "SHA256") == nil)
    #expect(ImportForm(.sha512, .long, isSalted: true).name == "sha512-long-salted")
  }

  @Test("a key is looked up by the forms that are asked for and possible, and never twice by its own hash")
  func questions() {
    #expect(Self.key.importedHashes([], Self.after).isEmpty)
    #expect(Self.key.importedHashes(ImportForms(.native), Self.after).isEmpty)
    #expect(Self.key.importedHashes(.all, Self.after).count == 7)
    #expect(Self.key.importedHashes(.all, nil).count == 3)
    #expect(Secret(presented: "abc").importedHashes(.all, nil).map(\.form) == [ImportForm(.sha512)])
  }

  @Test("a hash is read in hexadecimal and in base 64, with either alphabet and with or without padding")
  func encodings() {
    let bytes: [UInt8] = [0xFB, 0xFF, 0xFE] + (0..<29).map { UInt8($0) }
    let form = ImportForm.native
    let expected = ImportedHash(form: form, bytes: bytes)
    let base64 = Data(bytes).base64EncodedString()
    for text in [
      base64, base64.replacing("=", with: ""), base64.replacing("+", with: "-").replacing("/", with: "_"),
    ] { #expect(ImportedHash(text, .base64, form: form) == expected, "\(text)") }
    for text in [expected.hex, expected.hex.uppercased()] { #expect(ImportedHash(text, .hex, form: form) == expected) }
    for text in [
      "", "0", String(expected.hex.dropLast(2)), expected.hex + "00", "g" + expected.hex.dropFirst(), base64,
    ] { #expect(ImportedHash(text, .hex, form: form) == nil, "\(text)") }
    for text in ["", "!" + base64.dropFirst(), base64 + "AAAA", String(repeating: "=", count: 44)] {
      #expect(ImportedHash(text, .base64, form: form) == nil, "\(text)")
    }
    #expect(ImportedHash(expected.hex, .hex, form: ImportForm(.sha512)) == nil)
  }

  @Test("the start of an imported key shows little of it")
  func start() {
    for (text, start) in [
      ("sk_prod_abcdefghijklmnopqrst", "sk_prod"), ("abcdefghijklmnopqrstuvwx", "abcd"), ("short", "s"),
      ("abcdefghijklmnopqrstuvwx_yz", "abcd"), ("sk_\u{e9}bcdefghijklmnopqrstuvwxyz", "sk_??bc"),
    ] { #expect(KeyFormat.start(ofImported: Secret(presented: text)) == start, "\(text)") }
  }
}
