/// Text that a person typed for others to read: names, descriptions, reasons. One rule for all of it, so that a name
/// looks like what it is, and no two names look the same because of invisible characters.
package enum TypedText {
  /// Whether it may have several lines.
  package enum Form: Sendable {
    case line
    /// With line breaks and tabs.
    case lines
  }

  /// The problem text for a text that is refused.
  package static let problem =
    "must have a visible character, no control or invisible characters, and none that change the direction of text"

  /// Removes the white space around it, which is often pasted along.
  package static func trimmed(_ text: String) -> String {
    var rest = text.unicodeScalars[...]
    while let first = rest.first, first.properties.isWhitespace { rest.removeFirst() }
    while let last = rest.last, last.properties.isWhitespace { rest.removeLast() }
    return String(rest)
  }

  /// Whether it may be shown to others. An empty text may not.
  package static func isReadable(_ text: String, _ form: Form) -> Bool {
    let scalars = Array(text.unicodeScalars)
    return scalars.contains(where: isSeen) && scalars.indices.allSatisfy { isAllowed(at: $0, in: scalars, form) }
  }

  /// A line with U+FFFD in place of each character that ``isReadable(_:_:)`` refuses: for unchecked texts on their way
  /// to a terminal.
  package static func masked(_ line: String) -> String {
    let scalars = Array(line.unicodeScalars)
    return String(
      String.UnicodeScalarView(scalars.indices.map { isAllowed(at: $0, in: scalars, .line) ? scalars[$0] : "\u{FFFD}" })
    )
  }

  // MARK: Characters

  /// Whether it is visible by itself.
  private static func isSeen(_ scalar: Unicode.Scalar) -> Bool {
    // Blanks that Unicode counts as letters or symbols: the fillers of Hangul, and Braille without a dot.
    if scalar.properties.isDefaultIgnorableCodePoint || scalar.value == 0x2800 { return false }
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .spaceSeparator, .surrogate, .privateUse, .unassigned,
      .nonspacingMark, .spacingMark, .enclosingMark:
      return false
    default:
      return true
    }
  }

  private static func isAllowed(at index: Int, in scalars: [Unicode.Scalar], _ form: Form) -> Bool {
    let scalar = scalars[index]
    switch scalar.properties.generalCategory {
    case .control: return form == .lines && (scalar == "\n" || scalar == "\r" || scalar == "\t")
    case .format: return isJoining(at: index, in: scalars)
    case .lineSeparator, .paragraphSeparator, .surrogate: return false
    default: return !scalar.properties.isDefaultIgnorableCodePoint || isSelecting(at: index, in: scalars)
    }
  }

  // MARK: Characters that change their neighbors

  /// Whether it is a variation selector after a character that has variants: emoji, mathematical symbols, ideographs,
  /// Mongolian letters.
  private static func isSelecting(at index: Int, in scalars: [Unicode.Scalar]) -> Bool {
    guard scalars[index].properties.isVariationSelector, index > 0 else { return false }
    let before = scalars[index - 1]
    switch scalars[index].value {
    case 0xFE00...0xFE0F:
      return before.properties.isEmoji || before.properties.isIdeographic
        || before.properties.generalCategory == .mathSymbol
    case 0xE0100...0xE01EF: return before.properties.isIdeographic
    default: return (0x1820...0x18AA).contains(before.value)
    }
  }

  private static let joiner: Unicode.Scalar = "\u{200D}"
  private static let nonJoiner: Unicode.Scalar = "\u{200C}"

  /// Whether it is a joiner or a non-joiner that changes how its neighbors are written: after a virama, as in RFC 5892
  /// A.1 and A.2, a joiner between emoji, or a non-joiner between letters of the Arabic script.
  static func isJoining(at index: Int, in scalars: [Unicode.Scalar]) -> Bool {
    let scalar = scalars[index]
    guard scalar == joiner || scalar == nonJoiner, index > 0 else { return false }
    if scalars[index - 1].properties.canonicalCombiningClass == .virama { return true }
    guard index + 1 < scalars.count, let before = base(before: index, in: scalars) else { return false }
    let after = scalars[index + 1]
    return scalar == joiner ? isEmoji(before) && isEmoji(after) : isArabicLetter(before) && isArabicLetter(after)
  }

  /// The character that the marks, selectors and skin tones right before `index` belong to.
  private static func base(before index: Int, in scalars: [Unicode.Scalar]) -> Unicode.Scalar? {
    scalars[..<index].last { scalar in
      scalar.properties.generalCategory != .nonspacingMark && !scalar.properties.isEmojiModifier
    }
  }

  /// Excludes characters that are emoji only with a selector after them: digits, `#`, `*`, `©` and `®`.
  private static func isEmoji(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isEmoji && scalar.value > 0xFF }

  private static func isArabicLetter(_ scalar: Unicode.Scalar) -> Bool {
    guard scalar.properties.generalCategory == .otherLetter else { return false }
    switch scalar.value {
    case 0x600...0x6FF, 0x750...0x77F, 0x870...0x8FF, 0xFB50...0xFDFF, 0xFE70...0xFEFF: return true
    default: return false
    }
  }
}
