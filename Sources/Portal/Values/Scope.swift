import JSON

/// A permission of a key: a name such as `batch:write`, where `batch:*` grants everything below `batch:` and `*`
/// everything.
package enum Scope {
  package static let countMax = 64
  /// `^[a-z0-9][a-z0-9:._*-]{0,63}$`
  package static let lengthMax = 64

  package static func isValid(_ scope: String) -> Bool {
    let bytes = scope.utf8
    guard let first = bytes.first, bytes.count <= lengthMax, isLetterOrDigit(first) else { return false }
    return bytes.dropFirst().allSatisfy { isLetterOrDigit($0) || ":._*-".utf8.contains($0) }
  }

  /// Whether plans and policies may name scopes by this text: a scope, or `*` for all.
  package static func isPattern(_ text: String) -> Bool { text.hasSameBytes(as: "*") || isValid(text) }

  /// Whether `granted` includes `required`.
  package static func covers(_ granted: String, _ required: String) -> Bool {
    if granted == "*" || granted == required { return true }
    // The prefix includes its colon: `a:*` must not cover `ab:c`.
    return granted.hasSuffix(":*") && required.utf8.starts(with: granted.utf8.dropLast())
  }

  /// The scopes that both lists grant: of `a:*` and `a:b` it is `a:b`.
  static func intersection(_ granted: [String], _ patterns: [String]) -> [String] {
    // Nearly every plan has it.
    if patterns.contains("*") { return granted }
    var common: [String] = []
    for scope in granted {
      for pattern in patterns {
        let narrower = covers(pattern, scope) ? scope : covers(scope, pattern) ? pattern : nil
        if let narrower, !common.contains(narrower) { common.append(narrower) }
      }
    }
    return common
  }

  /// Reads scopes that are separated by single spaces, as a header field has them. Nil if one is invalid, or there are
  /// none or more than ``countMax``.
  package static func list(in text: String) -> [String]? {
    // Bounded first: it may be any text.
    guard text.utf8.count <= countMax * (lengthMax + 1) else { return nil }
    // Nearly always, it is one.
    if isValid(text) { return [text] }
    let scopes = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    return scopes.count <= countMax && scopes.allSatisfy(isValid) ? scopes : nil
  }

  static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }
}
