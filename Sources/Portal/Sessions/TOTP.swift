import Crypto
package import Foundation
import JSON

/// The secret of a time-based second factor: HOTP over steps of thirty seconds (RFC 6238, RFC 4226), with SHA-1 and six
/// digits, which every authenticator supports. It cannot be printed, logged or encoded by accident.
package struct TOTP: Sendable, CustomStringConvertible, CustomReflectable {
  static let stepSeconds = 30
  package static let digitCount = 6
  /// Bytes, the output length of SHA-1 (RFC 4226, 4).
  static let secretLength = 20
  /// The number of steps before and after the current one whose codes are accepted, because clocks drift and typing
  /// takes time.
  static let windowSteps = 1
  private static let base32 = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".utf8)

  let secret: [UInt8]

  /// From a stored secret, of any length.
  init(secret: [UInt8]) { self.secret = secret }

  /// `SystemRandomNumberGenerator` is the kernel's CSPRNG on Linux (`getrandom(2)`).
  static func random() -> TOTP {
    TOTP(secret: (0..<secretLength).map { _ in UInt8.random(in: .min ... .max) })
  }

  /// The secret in base 32 (RFC 4648, 6), for its owner to type. Show it only once.
  package func reveal() -> String {
    var (text, bits, bitCount) = ("", 0, 0)
    for byte in secret {
      (bits, bitCount) = (bits << 8 | Int(byte), bitCount + 8)
      while bitCount >= 5 {
        bitCount -= 5
        text.unicodeScalars.append(Unicode.Scalar(Self.base32[bits >> bitCount & 31]))
      }
    }
    if bitCount > 0 { text.unicodeScalars.append(Unicode.Scalar(Self.base32[bits << (5 - bitCount) & 31])) }
    return text
  }

  /// The same as a URI, for an authenticator to scan.
  package func uri(for email: String) -> String {
    let name = email.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
    return "otpauth://totp/Latchkey:\(name)?secret=\(reveal())&issuer=Latchkey&algorithm=SHA1"
      + "&digits=\(Self.digitCount)&period=\(Self.stepSeconds)"
  }

  package static func step(at date: Date) -> Int {
    Int(bounding: date.timeIntervalSince1970) / stepSeconds
  }

  /// The code of a step (RFC 4226, 5.3).
  package func code(atStep step: Int, digitCount: Int = digitCount) -> String {
    let counter = withUnsafeBytes(of: UInt64(clamping: step).bigEndian) { Array($0) }
    let mac = Array(
      HMAC<Insecure.SHA1>.authenticationCode(for: counter, using: SymmetricKey(data: secret)))
    let offset = Int(mac[mac.count - 1] & 15)
    let number = mac[offset..<offset + 4].reduce(0) { $0 << 8 | Int($1) } & 0x7FFF_FFFF
    let digits = String(number % (0..<digitCount).reduce(1) { product, _ in product * 10 })
    return String(repeating: "0", count: digitCount - digits.count) + digits
  }

  /// The step near `date` that `code` belongs to, the latest if there are several; nil for a wrong code. Takes the same
  /// time for any text of six bytes.
  func step(of code: String, at date: Date) -> Int? {
    let present = max(0, Self.step(at: date))
    var found: Int?
    for step in max(0, present - Self.windowSteps)...present + Self.windowSteps
    where isSame(code, self.code(atStep: step)) {
      found = step
    }
    return found
  }

  private func isSame(_ one: String, _ other: String) -> Bool {
    one.utf8.count == other.utf8.count && zip(one.utf8, other.utf8).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }

  package var description: String { "<second factor>" }
  package var customMirror: Mirror { Mirror(self, children: []) }
}

/// A code that replaces a lost authenticator, once: `xxxx-xxxx-xxxx-xxxx`. It has 79 random bits, so its SHA-256 does
/// not reveal it.
package struct RecoveryCode: Sendable, CustomStringConvertible, CustomReflectable {
  static let count = 10
  private static let length = 16
  private static let groupLength = 4
  /// Without characters that look alike.
  private static let alphabet = Array("abcdefghjkmnpqrstuvwxyz23456789")

  /// Without hyphens, in lower case.
  private let text: String

  static func random() -> RecoveryCode {
    var text = ""
    for _ in 0..<length { text.append(alphabet[Int.random(in: 0..<alphabet.count)]) }
    return RecoveryCode(text: text)
  }

  private init(text: String) { self.text = text }

  /// From a code as typed; nil if the text cannot be a code.
  init?(typed text: String) {
    let bytes = text.lowercased().utf8.filter { $0 != UInt8(ascii: "-") && $0 != UInt8(ascii: " ") }
    guard bytes.count == Self.length, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
    self.text = String(decoding: bytes, as: UTF8.self)
  }

  package func reveal() -> String {
    stride(from: 0, to: Self.length, by: Self.groupLength).map { start in
      String(text.dropFirst(start).prefix(Self.groupLength))
    }.joined(separator: "-")
  }

  var hash: SecretHash { SecretHash(of: text.utf8) }

  package var description: String { "<recovery code>" }
  package var customMirror: Mirror { Mirror(self, children: []) }
}
