import JSON
import Portal

extension JSONWriter {
  /// A page of a list, as objects, and where the next one begins.
  package mutating func page<Item>(_ name: StaticString, _ page: Page<Item>, _ body: (inout JSONWriter, Item) -> Void) {
    objects(name, page.items, body)
    field("nextCursor", page.next.map { Cursor.text(of: $0) })
  }
}
