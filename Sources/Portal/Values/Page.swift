package import Foundation

/// Which part of a list, newest first, somebody wants.
package struct PageRequest: Sendable, Equatable {
  package static let limitDefault = 50
  package static let limitMax = 100

  package var limit: Int
  /// The last id of the page before; nil for the first page.
  package var before: UUID?

  package init(limit: Int = limitDefault, before: UUID? = nil) {
    self.limit = limit
    self.before = before
  }
}

/// Part of a list, and where the next part begins.
package struct Page<Item: Sendable>: Sendable {
  package var items: [Item]
  /// The id to go on from; nil on the last page.
  package var next: UUID?

  /// `found` holds one item more than the page if there is a next one.
  init(_ found: [Item], limit: Int, id: (Item) -> UUID) {
    items = Array(found.prefix(limit))
    next = found.count > limit ? items.last.map(id) : nil
  }
}
