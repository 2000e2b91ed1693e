package import Foundation

/// An override of a namespace, as its managers see it.
package struct NamespaceOverride: Sendable, Equatable {
  /// The maximum number of overrides of a namespace, besides ``LimitOverrides/patternCountMax`` for those with a star.
  package static let countMax = 10_000

  package var id: UUID
  package var createdAt: Date
  /// An identifier, or a pattern of identifiers, in which `*` stands for any characters.
  package var identifier: String
  /// It replaces both numbers of the caller.
  package var limit: WindowLimit

  package static func isPattern(_ identifier: String) -> Bool { identifier.utf8.contains(UInt8(ascii: "*")) }
}
