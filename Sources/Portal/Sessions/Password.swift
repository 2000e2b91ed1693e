import COpenSSL
import Foundation

/// A password as it was typed. It cannot be printed, logged or encoded by accident.
package struct Password: Sendable, CustomStringConvertible, CustomReflectable {
  /// Bytes of UTF-8.
  package static let lengthMin = 12
  package static let lengthMax = 1_024

  fileprivate let text: String

  /// Nil unless of an allowed length.
  package init?(_ text: String) {
    guard (Self.lengthMin...Self.lengthMax).contains(text.utf8.count) else { return nil }
    self.text = text
  }

  /// One that was presented at login, whatever its length.
  package init(presented text: String) { self.text = text }

  /// A strong one for somebody who was not asked.
  package static func random() -> Password {
    Password(presented: Secret.random(prefix: "pw").reveal())
  }

  package func reveal() -> String { text }

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
  /// Bytes that libcrypto may use: a little above what the standard cost takes, against a forged column.
  private static let memoryMax: UInt64 = 128 << 20

  let text: String

  init(stored text: String) { self.text = text }

  /// Takes a while: to be called on a thread that may block.
  init(_ password: Password, cost: ScryptCost) {
    let salt = (0..<Self.saltLength).map { _ in UInt8.random(in: .min ... .max) }
    let hash = Self.derive(password, salt, cost) ?? []
    precondition(hash.count == Self.hashLength, "scrypt refused its parameters")
    text = "$scrypt$ln=\(cost.logN),r=\(cost.r),p=\(cost.p)$\(Self.encode(salt))$\(Self.encode(hash))"
  }

  /// Takes a while: to be called on a thread that may block. False for a stored text of another form.
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
