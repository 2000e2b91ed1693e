import Portal

/// Makes text safe to print on a terminal. Names and reasons come from users, and messages from other systems: none of
/// them may move the cursor, change colors, reverse the direction of text or be invisible.
enum TerminalText {
  /// Returns `text` with U+FFFD in place of invisible characters; line breaks stay.
  static func lines(_ text: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).map { TypedText.masked(String($0)) }
      .joined(separator: "\n")
  }

  /// Returns JSON with escapes in place of invisible characters, which a parser reads as the same (RFC 8259 7).
  static func json(_ bytes: [UInt8]) -> [UInt8] {
    guard bytes.contains(where: { $0 >= 0x7F }) else { return bytes }
    var escaped: [UInt8] = []
    escaped.reserveCapacity(bytes.count)
    for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
      if isInvisible(scalar) {
        for unit in String(scalar).utf16 {
          let digits = String(unit, radix: 16)
          escaped += Array(("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).utf8)
        }
      } else {
        escaped += Array(String(scalar).utf8)
      }
    }
    return escaped
  }

  /// The number of columns that a line takes on most terminals: none for marks that combine with another character, two
  /// for ideographs and emoji.
  static func width(of line: String) -> Int { line.reduce(0) { $0 + width(of: $1) } }

  private static func width(of character: Character) -> Int {
    var (width, isEmoji) = (0, false)
    for scalar in character.unicodeScalars {
      width += self.width(of: scalar)
      // An emoji of several scalars is as wide as a single one.
      if scalar.properties.isEmojiPresentation || scalar == "\u{FE0F}" { isEmoji = true }
    }
    return isEmoji ? 2 : width
  }

  private static func width(of scalar: Unicode.Scalar) -> Int {
    switch scalar.properties.generalCategory {
    case .control, .format, .nonspacingMark, .enclosingMark: return 0
    default: break
    }
    switch scalar.value {
    // Vowels and finals of Hangul join the consonant before them.
    case 0x1160...0x11FF, 0xD7B0...0xD7FF: return 0
    // East Asian Width (Unicode UAX 11) W and F, in whole blocks; emoji are known by their properties.
    case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xA960...0xA97C, 0xAC00...0xD7A3, 0xF900...0xFAFF,
      0xFE10...0xFE19, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x16FE0...0x18CFF, 0x1AFF0...0x1B2FF,
      0x1F200...0x1F2FF, 0x20000...0x3FFFD:
      return 2
    default: return scalar.properties.isEmojiPresentation ? 2 : 1
    }
  }

  private static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control: scalar != "\n"
    case .format, .lineSeparator, .paragraphSeparator: true
    default: scalar.properties.isDefaultIgnorableCodePoint
    }
  }
}
