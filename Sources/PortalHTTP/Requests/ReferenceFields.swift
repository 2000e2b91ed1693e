package import Hummingbird
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

extension RequestContext {
  /// A thing of the catalog that the path names by its id, or by its slug or name. Other text is `.notFound`.
  package func catalogReference(_ name: String) throws(PortalError) -> CatalogReference {
    guard let text = parameters.get(name)?.utf8, text.count <= 3 * CatalogName.lengthMax,
      let reference = Query.decoded(text).flatMap({ CatalogReference($0) })
    else { throw .notFound }
    return reference
  }
}
