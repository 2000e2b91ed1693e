import Foundation
package import Postgres

/// The roles that the company grants to keys. A change takes effect at once for all keys that have the role, and writes
/// a single row to the invalidation log.
package struct CatalogRoles: Sendable {
  let pool: PostgresPool
  let propagations: Propagations

  package init(pool: PostgresPool, propagations: Propagations) {
    self.pool = pool
    self.propagations = propagations
  }

  /// Newest first.
  package func list(page: PageRequest = PageRequest()) async throws -> Page<CatalogRole> {
    let found = try await pool.query(ListRoles(before: page.before, count: page.limit + 1), as: .staff)
    return Page(found, limit: page.limit, id: \.id)
  }

  /// Throws `.notFound`.
  package func find(_ reference: CatalogReference) async throws -> CatalogRole {
    guard let role = try await pool.query(FindRole(reference: reference), as: .staff).first else {
      throw PortalError.notFound
    }
    return role
  }

  /// Throws `.nameTaken`, and `.invalid` for a permission that does not exist.
  package func create(
    _ settings: CatalogRole.Settings, permissions: [CatalogReference], by caller: Caller,
    _ reason: SupportReason? = nil
  ) async throws -> CatalogRole {
    let id = UUID.version7()
    do {
      return try await pool.withTransaction(as: .staff) { transaction in
        let held = try await Self.hold(permissions, on: transaction)
        let made = try await transaction.pipeline(
          InsertRole(id: id, settings: settings),
          InsertRolePermissions(roleID: id, permissionIDs: held.map(\.id)),
          InsertAuditEvent.inSystem(.roleCreated, "role", id, by: caller, reason, detail: AuditDetail(settings.name)),
          then: FindRole(reference: .id(id)))
        return try FindRole.one(of: made)
      }
    } catch let error as PostgresError where error.violates("roles_name_unique") {
      throw PortalError.nameTaken
    }
  }

  /// If nothing changes, nothing is written. Throws `.notFound`, `.nameTaken`, and `.invalid` for a permission that
  /// does not exist.
  package func update(
    _ reference: CatalogReference, _ changes: CatalogRoleChanges, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> (role: CatalogRole, propagation: Propagation) {
    let start = ContinuousClock.now
    let role: CatalogRole
    do {
      role = try await pool.withTransaction(as: .staff) { transaction in
        guard let id = try await transaction.query(LockRole(reference: reference)).first,
          let old = try await transaction.query(FindRole(reference: .id(id))).first
        else { throw PortalError.notFound }
        let settings = changes.applied(to: old.settings)
        var held: [CatalogNamed]?
        if let permissions = changes.permissions { held = try await Self.hold(permissions, on: transaction) }
        let (before, after) = (Set(old.permissions), held.map { Set($0.map(\.name)) } ?? Set(old.permissions))
        let (added, removed) = (after.subtracting(before).sorted(), before.subtracting(after).sorted())
        if settings.isIdentical(to: old.settings), added.isEmpty, removed.isEmpty { return old }
        if !settings.isIdentical(to: old.settings) {
          try await transaction.execute(UpdateRole(id: id, settings: settings))
        }
        if let held, !added.isEmpty || !removed.isEmpty {
          _ = try await transaction.pipeline(
            DeleteRolePermissions(roleID: id, permissionIDs: held.map(\.id)),
            InsertRolePermissions(roleID: id, permissionIDs: held.map(\.id)))
        }
        let detail = AuditDetail(
          AuditDetail.renaming(old.settings.name, to: settings.name).text
            + AuditDetail.difference(added: added, removed: removed, after: ": "))
        let changed = try await transaction.pipeline(
          InsertAuditEvent.inSystem(.roleUpdated, "role", id, by: caller, reason, detail: detail),
          then: FindRole(reference: .id(id)))
        return try FindRole.one(of: changed)
      }
    } catch let error as PostgresError where error.violates("roles_name_unique") {
      throw PortalError.nameTaken
    }
    return (role, await propagations.wait(since: start))
  }

  /// Throws `.notFound`, and `.inUse` while keys that are not revoked have the role, or plans give it.
  package func delete(
    _ reference: CatalogReference, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws {
    try await pool.withTransaction(as: .staff) { transaction in
      guard let id = try await transaction.query(LockRole(reference: reference)).first,
        let role = try await transaction.query(FindRole(reference: .id(id))).first
      else { throw PortalError.notFound }
      let uses = try FindRoleUses.one(of: try await transaction.query(FindRoleUses(id: id)))
      if uses.keys { throw PortalError.inUse(reason: "Keys that are not revoked have this role.") }
      if uses.plans { throw PortalError.inUse(reason: "Plans give keys this role.") }
      _ = try await transaction.pipeline(
        DeleteRole(id: id),
        InsertAuditEvent.inSystem(
          .roleDeleted, "role", id, by: caller, reason, detail: AuditDetail(role.settings.name)))
    }
  }

  private static func hold(
    _ references: [CatalogReference], on transaction: PostgresConnection
  ) async throws -> [CatalogNamed] {
    if references.isEmpty { return [] }
    let found = try await transaction.query(HoldPermissions(references: references))
    return try references.resolved(among: found, "the id or slug of a permission") { .permission($0) }
  }
}

extension AuditDetail {
  /// What was added and removed, such as `+a, -b`; empty if that is nothing.
  static func difference(added: [String], removed: [String], after prefix: String = "") -> String {
    let parts = added.map { "+" + $0 } + removed.map { "-" + $0 }
    return parts.isEmpty ? "" : prefix + parts.joined(separator: ", ")
  }
}
