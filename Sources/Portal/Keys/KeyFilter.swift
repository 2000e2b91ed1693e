package import Foundation

/// Selects the keys in a list: those that match all conditions.
package struct KeyFilter: Sendable, Equatable {
  package static let textLengthMax = 100

  package var status: Key.Status?
  /// The key must have all of them.
  package var tags: [String]
  /// A part of the name, the description or the start, ignoring case.
  package var text: String?
  package var environment: Key.Environment?
  /// The apis that they may be for, besides all; nil: any.
  package var apiIDs: [UUID]?

  package init(
    status: Key.Status? = nil, tags: [String] = [], text: String? = nil, environment: Key.Environment? = nil,
    apiIDs: [UUID]? = nil
  ) {
    self.status = status
    self.tags = tags
    self.text = text
    self.environment = environment
    self.apiIDs = apiIDs
  }
}

/// A short word for grouping keys.
package enum KeyTag {
  package static let countMax = 16
  package static let lengthMax = 32

  /// `^[a-z0-9][a-z0-9:._-]{0,31}$`
  package static func isValid(_ tag: String) -> Bool {
    tag.utf8.count <= lengthMax && Scope.isValid(tag) && !tag.utf8.contains(UInt8(ascii: "*"))
  }
}
