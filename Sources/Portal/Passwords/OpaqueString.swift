import Foundation

/// Prepares passwords before they are compared: the profile `OpaqueString` of PRECIS (RFC 8265, 4.2). All space
/// separators become the ASCII space, and the text is normalized to NFC. Case and width are preserved.
///
/// The allowed characters are those of `FreeformClass` (RFC 8264, 4.3). Of the contextual rules (RFC 5892, A) only the
/// one for joiners is applied, as in ``TypedText``: the others concern how text looks, and passwords are not displayed.
enum OpaqueString {
  /// Returns nil if the text has a character that is not in the class. The length of the text must be bounded, because
  /// sequences of combining marks are sorted.
  static func prepare(_ text: String) -> String? {
    let isPlain = text.utf8.allSatisfy { (0x20...0x7E).contains($0) }
    if isPlain { return text }
    var mapped = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      mapped.append(scalar.properties.generalCategory == .spaceSeparator ? " " : scalar)
    }
    let prepared = String(mapped).composed
    let scalars = Array(prepared.unicodeScalars)
    return scalars.indices.allSatisfy { isAllowed(at: $0, in: scalars) } ? prepared : nil
  }

  /// RFC 8264, 8.
  private static func isAllowed(at index: Int, in scalars: [Unicode.Scalar]) -> Bool {
    let scalar = scalars[index]
    if isException(scalar) || isOldHangulJamo(scalar) || scalar.properties.isNoncharacterCodePoint { return false }
    if scalar.properties.isJoinControl { return TypedText.isJoining(at: index, in: scalars) }
    if scalar.properties.isDefaultIgnorableCodePoint { return false }
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: return false
    default: return true
    }
  }

  /// The characters that RFC 5892, 2.6 disallows individually.
  private static func isException(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x640, 0x7FA, 0x302E, 0x302F, 0x3031...0x3035, 0x303B: true
    default: false
    }
  }

  /// Conjoining letters, from which Hangul syllables were composed before syllables had characters (RFC 5892, 2.9).
  private static func isOldHangulJamo(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x1100...0x11FF, 0xA960...0xA97C, 0xD7B0...0xD7C6, 0xD7CB...0xD7FB: true
    default: false
    }
  }
}
