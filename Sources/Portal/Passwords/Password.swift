import COpenSSL
import Foundation
import JSON

/// A password. It cannot be printed, logged or encoded by accident.
///
/// Keyboards and systems encode the same character in several ways, such as `é` as one scalar or two, so a password is
/// prepared before it is hashed (see ``OpaqueString``). A hash that is older than this rule may be of the password as
/// typed, so that form is compared as well.
package struct Password: Sendable, CustomStringConvertible, CustomReflectable {
  /// Bytes of UTF-8, after preparation.
  package static let lengthMin = 12
  package static let lengthMax = 1_024
  /// Texts of more bytes are not prepared: at login they are compared as typed. The longest password has at most three
  /// times as many bytes in the longest of its normalization forms (UAX 15, 14).
  package static let typedLengthMax = 3 * lengthMax

  /// Why a text cannot be a new password.
  package enum Refusal: Error, Sendable {
    case length
    /// A character that `OpaqueString` does not allow.
    case character

    /// To follow the name of the field.
    package var message: String {
      switch self {
      case .length: "must have \(lengthMin) to \(lengthMax) bytes"
      case .character:
        "must not contain control characters, or characters that are invisible, private-use or unassigned in Unicode"
      }
    }
  }

  /// Prepared, or as typed if it cannot be prepared.
  fileprivate let text: String
  /// As typed, if that differs from `text`.
  fileprivate let typed: String?

  /// A new password.
  package init(new text: String) throws(Refusal) {
    guard text.utf8.count <= Self.typedLengthMax else { throw .length }
    guard let prepared = OpaqueString.prepare(text) else { throw .character }
    guard (Self.lengthMin...Self.lengthMax).contains(prepared.utf8.count) else { throw .length }
    (self.text, typed) = (prepared, nil)
  }

  /// A new password; nil if ``init(new:)`` refuses it.
  package init?(_ text: String) {
    guard let password = try? Password(new: text) else { return nil }
    self = password
  }

  /// A password that was presented at login, of any length.
  package init(presented text: String) {
    let prepared = text.utf8.count <= Self.typedLengthMax ? OpaqueString.prepare(text) : nil
    self.text = prepared ?? text
    typed = prepared.flatMap { $0.hasSameBytes(as: text) ? nil : text }
  }

  /// A strong password for a person who did not choose one.
  package static func random() -> Password {
    Password(presented: Secret.random(prefix: "pw").reveal())
  }

  package func reveal() -> String { text }

  /// The password as typed, if that differs from what is hashed now. A hash that was made before passwords were
  /// prepared may be of this form.
  var asTyped: Password? { typed.map { Password(unprepared: $0) } }

  private init(unprepared text: String) { (self.text, typed) = (text, nil) }

  package var description: String { "<password>" }
  package var customMirror: Mirror { Mirror(self, children: []) }
}

/// The cost of hashing a password (RFC 7914): memory is 128·N·r bytes, time N·r·p.
package struct ScryptCost: Sendable, Equatable {
  package var logN: Int
  package var r: Int
  package var p: Int

  package init(logN: Int, r: Int, p: Int) {
    self.logN = logN
    self.r = r
    self.p = p
  }

  /// 32 MiB and about a quarter of a second: the password storage advice of OWASP for scrypt.
  package static let standard = ScryptCost(logN: 15, r: 8, p: 3)
}

/// A stored password: `$scrypt$ln=15,r=8,p=3$<salt>$<hash>` (PHC string format, base 64 without padding).
package struct PasswordHash: Sendable {
  private static let saltLength = 16
  private static let hashLength = 32
  /// Bytes that libcrypto may use: four times what the standard cost takes. This limits what a forged column can cost.
  private static let memoryMax: UInt64 = 128 << 20

  let text: String

  init(stored text: String) { self.text = text }

  /// Takes a while; call it on a thread that may block.
  init(_ password: Password, cost: ScryptCost) {
    let salt = (0..<Self.saltLength).map { _ in UInt8.random(in: .min ... .max) }
    let hash = Self.derive(password, salt, cost) ?? []
    // Holds for every password: scrypt refuses only its cost, which is the standard one with `PASSWORD_COST`, 10 to 16,
    // as its `logN`: 64 MiB at most, half of `memoryMax`.
    precondition(hash.count == Self.hashLength, "scrypt refused its parameters")
    text = "$scrypt$ln=\(cost.logN),r=\(cost.r),p=\(cost.p)$\(Self.encode(salt))$\(Self.encode(hash))"
  }

  /// Takes a while; call it on a thread that may block. Returns false for a stored text of another format. Compares
  /// only the form that is hashed now, not ``Password/asTyped``.
  func matches(_ password: Password) -> Bool {
    guard let (cost, salt, hash) = parts, let derived = Self.derive(password, salt, cost) else { return false }
    guard derived.count == hash.count else { return false }
    return zip(derived, hash).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }

  var cost: ScryptCost? { parts?.cost }

  private var parts: (cost: ScryptCost, salt: [UInt8], hash: [UInt8])? {
    let fields = text.split(separator: "$", omittingEmptySubsequences: false)
    guard fields.count == 5, fields[1] == "scrypt", let salt = Self.decode(fields[3]), let hash = Self.decode(fields[4])
    else { return nil }
    let numbers = fields[2].split(separator: ",").map { $0.split(separator: "=").last.flatMap { Int($0) } ?? 0 }
    guard numbers.count == 3, (1...20).contains(numbers[0]), numbers[1] > 0, numbers[2] > 0 else { return nil }
    return (ScryptCost(logN: numbers[0], r: numbers[1], p: numbers[2]), salt, hash)
  }

  private static func derive(_ password: Password, _ salt: [UInt8], _ cost: ScryptCost) -> [UInt8]? {
    var hash = [UInt8](repeating: 0, count: hashLength)
    var text = password.text
    let result = text.withUTF8 { bytes in
      bytes.withMemoryRebound(to: CChar.self) { characters in
        EVP_PBE_scrypt(
          characters.baseAddress, characters.count, salt, salt.count, 1 << UInt64(cost.logN), UInt64(cost.r),
          UInt64(cost.p), memoryMax, &hash, hash.count)
      }
    }
    return result == 1 ? hash : nil
  }

  private static func encode(_ bytes: [UInt8]) -> String {
    Data(bytes).base64EncodedString().trimmingCharacters(in: CharacterSet(charactersIn: "="))
  }

  private static func decode(_ text: Substring) -> [UInt8]? {
    Data(base64Encoded: text + String(repeating: "=", count: (4 - text.count % 4) % 4)).map { Array($0) }
  }
}
