import JSON
import Portal

extension JSONWriter {
  /// The items of a page, as objects, and the cursor of the next page.
  package mutating func page<Item>(_ name: StaticString, _ page: Page<Item>, _ body: (inout JSONWriter, Item) -> Void) {
    objects(name, page.items, body)
    field("nextCursor", page.next.map { Cursor.text(of: $0) })
  }
}
