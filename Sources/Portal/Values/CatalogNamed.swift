import Foundation

/// A permission or a role by its id, and the slug or name that people know it by.
struct CatalogNamed: Sendable, Equatable {
  var id: UUID
  var name: String
}

extension [CatalogReference] {
  /// The things that were found for these references, each once, in their order. Throws `.invalid` for those that were
  /// not found, at the places that `field` gives.
  func resolved(
    among found: [CatalogNamed], _ what: String, at field: (Int) -> FieldProblem.Field
  ) throws(PortalError) -> [CatalogNamed] {
    let byID = Dictionary(found.map { ($0.id, $0) }) { first, _ in first }
    let byName = Dictionary(found.map { ($0.name, $0) }) { first, _ in first }
    var seen: Set<UUID> = []
    var resolved: [CatalogNamed] = []
    var problems: [FieldProblem] = []
    for (index, reference) in enumerated() {
      let named =
        switch reference {
        case .id(let id): byID[id]
        case .name(let name): byName[name]
        }
      if let named {
        if seen.insert(named.id).inserted { resolved.append(named) }
      } else {
        problems.append(FieldProblem(field(index), "is not \(what)"))
      }
    }
    if !problems.isEmpty { throw .invalid(problems) }
    return resolved
  }
}
