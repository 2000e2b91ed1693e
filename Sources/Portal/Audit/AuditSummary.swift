package import Foundation
import JSON

/// How many events of a trail match a filter.
package struct AuditSummary: Sendable, Equatable {
  /// The events with one action.
  package struct Entry: Sendable, Equatable {
    package var action: String
    package var count: Int
    /// The time of the latest.
    package var lastAt: Date
  }

  /// One for each action that occurs, sorted by the bytes of the action.
  package let entries: [Entry]

  init(_ entries: [Entry]) { self.entries = entries }

  package var total: Int { entries.reduce(0) { $0.addingBounded($1.count) } }
  /// The time of the latest event; nil if there is none.
  package var lastAt: Date? { entries.map(\.lastAt).max() }
}
