package import Foundation

/// A name of the catalog: the slug of an api or of a permission, or the name of a role. Names are compared exactly, and
/// `*` in them is a letter like any other.
package enum CatalogName {
  package static let lengthMax = 128
  package static let pattern = "^[A-Za-z0-9_:.*-]{1,128}$"

  /// Whether it matches ``pattern``. An id is not a name, so that a text is never both; neither are the words of
  /// permission queries.
  package static func isValid(_ text: String) -> Bool {
    let bytes = text.utf8
    guard (1...lengthMax).contains(bytes.count), bytes.allSatisfy(isAllowed) else { return false }
    return UUID(uuidString: text) == nil && !["and", "or"].contains(text.lowercased())
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "_:.*-".utf8.contains(byte)
    }
  }
}

/// What a client names a thing of the catalog by: its id, or its name.
package enum CatalogReference: Sendable, Hashable {
  case id(UUID)
  case name(String)

  /// Nil for a text that is neither an id nor a name.
  package init?(_ text: String) {
    // Bounded before it is compared: it may be any text.
    guard text.utf8.count <= CatalogName.lengthMax else { return nil }
    if let id = UUID(uuidString: text) {
      self = .id(id)
    } else if CatalogName.isValid(text) {
      self = .name(text)
    } else {
      return nil
    }
  }

  package var id: UUID? { if case .id(let id) = self { id } else { nil } }
  package var name: String? { if case .name(let name) = self { name } else { nil } }

  /// As a client would write it.
  package var text: String {
    switch self {
    case .id(let id): id.text
    case .name(let name): name
    }
  }
}
