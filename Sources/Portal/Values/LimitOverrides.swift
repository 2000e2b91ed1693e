package import Foundation
import JSON

/// The numbers that replace those of callers, for some identifiers of a namespace of standalone limits.
package struct LimitOverrides: Sendable, Equatable {
  /// Of an identifier, and of a pattern: in Unicode scalars.
  package static let identifierLengthMax = 512
  /// Overrides of a namespace that have a star. All of them may be tried for one identifier.
  package static let patternCountMax = 100

  /// The numbers for an identifier, or for all that a pattern with `*` matches.
  package struct Override: Sendable, Equatable {
    package let id: UUID
    package let identifier: StarPattern
    /// It replaces both numbers of the caller.
    package let limit: WindowLimit

    package init(id: UUID, identifier: StarPattern, limit: WindowLimit) {
      self.id = id
      self.identifier = identifier
      self.limit = limit
    }
  }

  private let exact: [ByteText: Override]
  /// The longest first, in bytes; of equally long ones, that which comes first by its bytes.
  private let patterns: [Override]

  /// The identifiers are different from each other.
  package init(_ overrides: [Override]) {
    exact = Dictionary(overrides.map { (ByteText($0.identifier.text), $0) }) { first, _ in first }
    patterns = overrides.filter { $0.identifier.starCount > 0 }.sorted { one, other in
      let (text, otherText) = (one.identifier.text, other.identifier.text)
      return text.utf8.count != otherText.utf8.count
        ? text.utf8.count > otherText.utf8.count : ByteText(text) < ByteText(otherText)
    }
  }

  /// An identifier, or a pattern of identifiers; nil if it is empty or too long.
  package static func identifier(_ text: String) -> StarPattern? {
    StarPattern(text, lengthMax: identifierLengthMax)
  }

  /// The override of exactly this identifier, or else the longest pattern that matches it; nil if the caller's own
  /// numbers apply.
  package func override(for identifier: String) -> Override? {
    if let override = exact[ByteText(identifier)] { return override }
    var identifier = identifier
    return identifier.withUTF8 { identifier in patterns.first { $0.identifier.matches(identifier) } }
  }
}
