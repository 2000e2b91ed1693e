package import Portal

extension RequestFields {
  /// The api that a member names by its id or slug. Nil if the member is missing or null, and after a problem.
  package mutating func apiReference(_ name: String) -> CatalogReference? {
    guard let text = optionalString(name, 1...CatalogName.lengthMax) else { return nil }
    guard let reference = CatalogReference(text) else {
      refuse(name, "must be the id or slug of an api")
      return nil
    }
    return reference
  }
}
