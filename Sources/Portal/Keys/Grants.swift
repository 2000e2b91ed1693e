package import Foundation
package import Postgres

/// The roles or permissions that a key is to get, and those that it is to lose.
package struct GrantChanges: Sendable, Equatable {
  /// The most that one request may name, of each.
  package static let countMax = 1_000

  package var add: [CatalogReference]
  package var remove: [CatalogReference]

  package init(add: [CatalogReference] = [], remove: [CatalogReference] = []) {
    self.add = add
    self.remove = remove
  }
}

/// What the company grants to keys of any account. Statements run as staff in the key's account. A statement that runs
/// as a member can only add rows, which ``Keys`` does for the successor of a rolled key.
package struct Grants: Sendable {
  package static let roleCountMax = 100
  package static let permissionCountMax = 1_000

  let pool: PostgresPool
  let keys: Keys
  package var clock: DatabaseClock { keys.clock }

  package init(pool: PostgresPool, keys: Keys) {
    self.pool = pool
    self.keys = keys
  }

  /// Changes the roles of a key: all of the changes or none. Adding what the key has, and removing what it does not
  /// have, changes nothing; if nothing changes, nothing is written. Throws `.notFound`, `.keyNotActive` for a revoked
  /// key, and `.invalid` for a role that does not exist.
  package func changeRoles(
    of keyID: UUID, _ changes: GrantChanges, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> Keys.Updated {
    try await change(keyID, by: caller) { key, transaction in
      let found = try await transaction.query(HoldRoles(references: changes.add + changes.remove))
      let (added, removed) = try changes.resolved(
        among: found, "the id or name of a role", held: key.roles, countMax: Self.roleCountMax)
      if added.isEmpty, removed.isEmpty { return key }
      let changed = try await transaction.pipeline(
        InsertKeyRoles(accountID: key.accountID, keyID: keyID, roleIDs: added.map(\.id)),
        DeleteKeyRoles(accountID: key.accountID, keyID: keyID, roleIDs: removed.map(\.id)),
        InsertAuditEvent.onKey(
          keyID, of: key.accountID, .keyRolesChanged, by: caller, reason, detail: .grants(added, removed)),
        then: FindKey(accountID: key.accountID, id: keyID))
      return try FindKey.one(of: changed)
    }
  }

  /// Like ``changeRoles(of:_:by:_:)``, for the permissions that the key has directly.
  package func changePermissions(
    of keyID: UUID, _ changes: GrantChanges, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> Keys.Updated {
    try await change(keyID, by: caller) { key, transaction in
      let found = try await transaction.query(HoldPermissions(references: changes.add + changes.remove))
      let (added, removed) = try changes.resolved(
        among: found, "the id or slug of a permission", held: key.permissions, countMax: Self.permissionCountMax)
      if added.isEmpty, removed.isEmpty { return key }
      let changed = try await transaction.pipeline(
        InsertKeyPermissions(accountID: key.accountID, keyID: keyID, permissionIDs: added.map(\.id)),
        DeleteKeyPermissions(accountID: key.accountID, keyID: keyID, permissionIDs: removed.map(\.id)),
        InsertAuditEvent.onKey(
          keyID, of: key.accountID, .keyPermissionsChanged, by: caller, reason, detail: .grants(added, removed)),
        then: FindKey(accountID: key.accountID, id: keyID))
      return try FindKey.one(of: changed)
    }
  }

  /// Sets all resources of a key. If nothing changes, nothing is written. Throws `.notFound`, `.keyNotActive` for a
  /// revoked key, and `.scopeNotAllowed` or `.policyViolation` for scopes beyond the account's rules.
  package func setResources(
    of keyID: UUID, _ resources: ResourceScopes, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> Keys.Updated {
    try await change(keyID, by: caller) { key, transaction in
      if key.resources == resources { return key }
      var settings = KeySettings(of: key)
      settings.resources = resources
      try key.rules.check(settings, madeAt: key.createdAt, only: [.resources])
      let (old, new) = (Set(key.resources.entries), Set(resources.entries))
      let detail = AuditDetail.difference(
        added: resources.entries.filter { !old.contains($0) }.map(\.description),
        removed: key.resources.entries.filter { !new.contains($0) }.map(\.description))
      let changed = try await transaction.pipeline(
        SetKeyResources(accountID: key.accountID, id: keyID, resources: resources),
        InsertAuditEvent.onKey(
          keyID, of: key.accountID, .keyResourcesChanged, by: caller, reason, detail: AuditDetail(detail)),
        then: FindKey(accountID: key.accountID, id: keyID))
      return try FindKey.one(of: changed)
    }
  }

  /// `body` gets the key, whose row and account are locked.
  private func change(
    _ keyID: UUID, by caller: Caller, _ body: @Sendable (Key, PostgresConnection) async throws -> Key
  ) async throws -> Keys.Updated {
    let start = ContinuousClock.now
    guard let accountID = try await pool.query(FindKeyAccount(id: keyID), as: .staff).first else {
      throw PortalError.notFound
    }
    let key = try await pool.withTransaction(as: .staff(in: accountID)) { transaction in
      let found = try await transaction.pipeline(
        LockAccount(accountID: accountID), then: LockKey(accountID: accountID, id: keyID))
      guard let key = found.first, caller.reaches(key) else { throw PortalError.notFound }
      guard key.revokedAt == nil else { throw PortalError.keyNotActive }
      return try await body(key, transaction)
    }
    return Keys.Updated(key: key, propagation: await keys.propagation(since: start))
  }
}

extension GrantChanges {
  /// What changes for a key that has the things named `held`. Throws `.invalid` for what does not exist, for what is
  /// to be both added and removed, and if the key would have more than `countMax`.
  fileprivate func resolved(
    among found: [CatalogNamed], _ what: String, held: [String], countMax: Int
  ) throws(PortalError) -> (added: [CatalogNamed], removed: [CatalogNamed]) {
    let added = try add.resolved(among: found, what) { .added($0) }
    let removed = try remove.resolved(among: found, what) { .removed($0) }
    let (addedIDs, addedNames) = (Set(added.map(\.id)), Set(added.map(\.name)))
    let place = remove.firstIndex { reference in
      switch reference {
      case .id(let id): addedIDs.contains(id)
      case .name(let name): addedNames.contains(name)
      }
    }
    if let place { throw .invalid(.removed(place), "must not be among those to add") }
    let held = Set(held)
    let (new, gone) = (added.filter { !held.contains($0.name) }, removed.filter { held.contains($0.name) })
    guard held.count + new.count - gone.count <= countMax || new.isEmpty else {
      throw .invalid(.adding, "would give the key more than \(countMax)")
    }
    return (new, gone)
  }
}

extension ResourceScopes.Entry {
  /// Such as `project:123 (read write)`.
  fileprivate var description: String { "\(name) (\(scopes.joined(separator: " ")))" }
}

extension AuditDetail {
  fileprivate static func grants(_ added: [CatalogNamed], _ removed: [CatalogNamed]) -> AuditDetail {
    AuditDetail(difference(added: added.map(\.name), removed: removed.map(\.name)))
  }
}
