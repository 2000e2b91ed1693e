import Foundation

/// A key of another system, of which only the hash is known.
package struct KeyImport: Sendable, Equatable {
  /// The most keys that one request may have.
  package static let countMax = 1_000

  package var account: AccountReference
  package var hash: ImportedHash
  package var settings: KeySettings
  /// Takes the place of the settings' api.
  package var api: CatalogReference?
  /// Whether the limit per minute is what is usual for the account instead of that of the settings.
  package var takesUsualLimit: Bool
  package var isEnabled: Bool
  /// The first characters, if they are known.
  package var start: String?

  package init(
    account: AccountReference, hash: ImportedHash, settings: KeySettings, api: CatalogReference? = nil,
    takesUsualLimit: Bool = false, isEnabled: Bool = true, start: String? = nil
  ) {
    self.account = account
    self.hash = hash
    self.settings = settings
    self.api = api
    self.takesUsualLimit = takesUsualLimit
    self.isEnabled = isEnabled
    self.start = start
  }

  /// Whether a text may be shown as the start of a key: 1 to 32 visible ASCII characters.
  package static func isValid(start: String) -> Bool {
    (1...Key.startLengthMax).contains(start.utf8.count) && start.utf8.allSatisfy { (0x21...0x7E).contains($0) }
  }
}

extension ImportedHash {
  package enum Encoding: String, Sendable, CaseIterable {
    case hex, base64
  }

  /// Nil unless the text is a hash of the form's length: hexadecimal digits in any case, or base 64 with either
  /// alphabet, with or without padding.
  package init?(_ text: String, _ encoding: Encoding, form: ImportForm) {
    // No hash is longer, in either encoding.
    guard text.utf8.count <= 2 * ImportForm.Algorithm.sha512.length,
      let bytes = encoding == .hex ? Self.hexBytes(text) : Self.base64Bytes(text), bytes.count == form.algorithm.length
    else { return nil }
    self.init(form: form, bytes: bytes)
  }

  package var hex: String {
    var text: [UInt8] = []
    text.reserveCapacity(2 * bytes.count)
    for byte in bytes { for digit in [byte >> 4, byte & 15] { text.append(digit < 10 ? 0x30 + digit : 0x57 + digit) } }
    return String(decoding: text, as: UTF8.self)
  }

  private static func hexBytes(_ text: String) -> [UInt8]? {
    let digits = text.utf8.compactMap { byte -> UInt8? in
      switch byte {
      case 0x30...0x39: byte - 0x30
      case 0x41...0x46: byte - 0x37
      case 0x61...0x66: byte - 0x57
      default: nil
      }
    }
    guard digits.count == text.utf8.count, digits.count.isMultiple(of: 2) else { return nil }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
  }

  private static func base64Bytes(_ text: String) -> [UInt8]? {
    var digits = text.utf8.map { byte in
      switch byte {
      case UInt8(ascii: "-"): UInt8(ascii: "+")
      case UInt8(ascii: "_"): UInt8(ascii: "/")
      default: byte
      }
    }
    if !digits.contains(UInt8(ascii: "=")) {
      digits += Array(repeating: UInt8(ascii: "="), count: (4 - digits.count % 4) % 4)
    }
    return Data(base64Encoded: Data(digits)).map { Array($0) }
  }
}
