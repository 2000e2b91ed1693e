import Foundation
package import Postgres

/// The permissions that the company grants to keys. A changed slug takes effect at once for the keys that have it.
package struct CatalogPermissions: Sendable {
  let pool: PostgresPool
  let propagations: Propagations

  package init(pool: PostgresPool, propagations: Propagations) {
    self.pool = pool
    self.propagations = propagations
  }

  /// Newest first.
  package func list(page: PageRequest = PageRequest()) async throws -> Page<CatalogPermission> {
    let found = try await pool.query(ListPermissions(before: page.before, count: page.limit + 1), as: .staff)
    return Page(found, limit: page.limit, id: \.id)
  }

  /// Throws `.notFound`.
  package func find(_ reference: CatalogReference) async throws -> CatalogPermission {
    guard let permission = try await pool.query(FindPermission(reference: reference), as: .staff).first else {
      throw PortalError.notFound
    }
    return permission
  }

  /// Throws `.nameTaken`.
  package func create(
    _ settings: CatalogPermission.Settings, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> CatalogPermission {
    let id = UUID.version7()
    do throws(PostgresError) {
      let (made, _) = try await pool.pipeline(
        InsertPermission(id: id, settings: settings),
        InsertAuditEvent.inSystem(
          .permissionCreated, "permission", id, by: caller, reason, detail: AuditDetail(settings.slug)), as: .staff)
      return CatalogPermission(id: id, createdAt: try InsertPermission.one(of: made), settings: settings)
    } catch {
      throw error.violates("permissions_slug_unique") ? PortalError.nameTaken : error
    }
  }

  /// If nothing changes, nothing is written. Throws `.notFound` and `.nameTaken`.
  package func update(
    _ reference: CatalogReference, _ changes: CatalogPermissionChanges, by caller: Caller,
    _ reason: SupportReason? = nil
  ) async throws -> (permission: CatalogPermission, propagation: Propagation) {
    let start = ContinuousClock.now
    let permission: CatalogPermission
    do {
      permission = try await pool.withTransaction(as: .staff) { transaction in
        guard var permission = try await transaction.query(LockPermission(reference: reference)).first else {
          throw PortalError.notFound
        }
        let settings = changes.applied(to: permission.settings)
        if settings.isIdentical(to: permission.settings) { return permission }
        let detail = AuditDetail.renaming(permission.settings.slug, to: settings.slug)
        _ = try await transaction.pipeline(
          UpdatePermission(id: permission.id, settings: settings),
          InsertAuditEvent.inSystem(.permissionUpdated, "permission", permission.id, by: caller, reason, detail: detail)
        )
        permission.settings = settings
        return permission
      }
    } catch let error as PostgresError where error.violates("permissions_slug_unique") {
      throw PortalError.nameTaken
    }
    return (permission, await propagations.wait(since: start))
  }

  /// Throws `.notFound`, and `.inUse` while roles or keys that are not revoked have the permission.
  package func delete(
    _ reference: CatalogReference, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws {
    try await pool.withTransaction(as: .staff) { transaction in
      guard let permission = try await transaction.query(LockPermission(reference: reference)).first else {
        throw PortalError.notFound
      }
      let uses = try FindPermissionUses.one(of: try await transaction.query(FindPermissionUses(id: permission.id)))
      if uses.roles { throw PortalError.inUse(reason: "Roles have this permission.") }
      if uses.keys { throw PortalError.inUse(reason: "Keys that are not revoked have this permission.") }
      _ = try await transaction.pipeline(
        DeletePermission(id: permission.id),
        InsertAuditEvent.inSystem(
          .permissionDeleted, "permission", permission.id, by: caller, reason,
          detail: AuditDetail(permission.settings.slug)))
    }
  }
}
