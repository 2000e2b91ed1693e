import ArgumentParser
import Portal
import Postgres

extension PortalConfiguration {
  /// Runs `body` with verbs of the catalog, such as `CatalogRoles.init`.
  func withCatalog<Verbs: Sendable, Value: Sendable>(
    _ verbs: (PostgresPool, Propagations) -> Verbs, _ body: (Verbs) async throws -> Value
  ) async throws -> Value {
    try await PostgresPool.with(database.with(.portal)) { pool in
      try await body(verbs(pool, Propagations(pool: pool)))
    }
  }
}

extension ValidationError {
  /// A thing of the catalog, by its id, or by its slug or name.
  static func parse(catalog text: String) throws -> CatalogReference {
    guard let reference = CatalogReference(text) else {
      throw ValidationError("\(text) is neither an id nor a slug or name.")
    }
    return reference
  }

  static func check(catalogName name: String, _ argument: String) throws {
    guard CatalogName.isValid(name) else {
      throw ValidationError("\(argument) must match \(CatalogName.pattern), and be neither a UUID nor AND or OR.")
    }
  }

  /// An option that is not given keeps the description, and an empty one removes it.
  static func change(ofDescription typed: String?) throws -> OptionalChange<String> {
    guard let typed else { return .keep }
    return typed.isEmpty ? .remove : .set(try check(description: typed))
  }
}
