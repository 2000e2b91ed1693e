import Foundation
package import Postgres

/// The apis of the deployment. A change takes effect at once for the keys that are for the api.
package struct CatalogAPIs: Sendable {
  let pool: PostgresPool
  let propagations: Propagations

  package init(pool: PostgresPool, propagations: Propagations) {
    self.pool = pool
    self.propagations = propagations
  }

  /// Newest first.
  package func list(page: PageRequest = PageRequest()) async throws -> Page<CatalogAPI> {
    let found = try await pool.query(ListAPIs(before: page.before, count: page.limit + 1), as: .staff)
    return Page(found, limit: page.limit, id: \.id)
  }

  /// Throws `.notFound`.
  package func find(_ reference: CatalogReference) async throws -> CatalogAPI {
    guard let api = try await pool.query(FindAPI(reference: reference), as: .staff).first else {
      throw PortalError.notFound
    }
    return api
  }

  /// Throws `.nameTaken`.
  package func create(
    _ settings: CatalogAPI.Settings, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> CatalogAPI {
    let id = UUID.version7()
    do throws(PostgresError) {
      let (made, _) = try await pool.pipeline(
        InsertAPI(id: id, settings: settings),
        InsertAuditEvent.inSystem(
          .apiCreated, "api", id, by: caller, reason, detail: AuditDetail(settings.slug)), as: .staff)
      return CatalogAPI(id: id, createdAt: try InsertAPI.one(of: made), settings: settings)
    } catch {
      throw error.violates("apis_slug_unique") ? PortalError.nameTaken : error
    }
  }

  /// If nothing changes, nothing is written. Throws `.notFound` and `.nameTaken`.
  package func update(
    _ reference: CatalogReference, _ changes: CatalogAPIChanges, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> (api: CatalogAPI, propagation: Propagation) {
    let start = ContinuousClock.now
    let api: CatalogAPI
    do {
      api = try await pool.withTransaction(as: .staff) { transaction in
        guard var api = try await transaction.query(LockAPI(reference: reference)).first else {
          throw PortalError.notFound
        }
        let settings = changes.applied(to: api.settings)
        if settings.isIdentical(to: api.settings) { return api }
        let detail = AuditDetail.renaming(api.settings.slug, to: settings.slug)
        _ = try await transaction.pipeline(
          UpdateAPI(id: api.id, settings: settings),
          InsertAuditEvent.inSystem(.apiUpdated, "api", api.id, by: caller, reason, detail: detail))
        api.settings = settings
        return api
      }
    } catch let error as PostgresError where error.violates("apis_slug_unique") {
      throw PortalError.nameTaken
    }
    return (api, await propagations.wait(since: start))
  }

  /// Throws `.notFound`, `.protected`, and `.inUse` while keys that are not revoked are for the api, plans list it, or
  /// service tokens are bound to it.
  package func delete(
    _ reference: CatalogReference, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws {
    try await pool.withTransaction(as: .staff) { transaction in
      guard let api = try await transaction.query(LockAPI(reference: reference)).first else {
        throw PortalError.notFound
      }
      if api.settings.isProtected { throw PortalError.protected }
      let uses = try FindAPIUses.one(of: try await transaction.query(FindAPIUses(id: api.id)))
      if uses.keys { throw PortalError.inUse(reason: "Keys that are not revoked are for this api.") }
      if uses.plans { throw PortalError.inUse(reason: "Plans list this api.") }
      if uses.tokens { throw PortalError.inUse(reason: "Service tokens are bound to this api.") }
      _ = try await transaction.pipeline(
        DeleteAPI(id: api.id),
        InsertAuditEvent.inSystem(
          .apiDeleted, "api", api.id, by: caller, reason, detail: AuditDetail(api.settings.slug)))
    }
  }
}

extension AuditDetail {
  /// The name of what was changed, and the former one if that is what changed.
  static func renaming(_ old: String, to new: String) -> AuditDetail {
    AuditDetail(old == new ? new : "from \(old) to \(new)")
  }
}
