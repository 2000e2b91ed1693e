package import Foundation

/// A request for one page of a list, newest first.
package struct PageRequest: Sendable, Equatable {
  package static let limitDefault = 50
  package static let limitMax = 100

  package var limit: Int
  /// The last id of the previous page; nil for the first page.
  package var before: UUID?

  package init(limit: Int = limitDefault, before: UUID? = nil) {
    self.limit = limit
    self.before = before
  }
}

/// One page of a list, and where the next page begins.
package struct Page<Item: Sendable>: Sendable {
  package var items: [Item]
  /// The id to continue from; nil on the last page.
  package var next: UUID?

  /// `found` holds one item more than the page if there is a next one.
  init(_ found: [Item], limit: Int, id: (Item) -> UUID) {
    items = Array(found.prefix(limit))
    next = found.count > limit ? items.last.map(id) : nil
  }
}
