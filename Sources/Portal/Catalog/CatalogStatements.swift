import Foundation
import Postgres

extension CatalogReference {
  /// The condition for two parameters, an id and a name, of which one is null.
  fileprivate func bind(_ bindings: inout PostgresBindings) { bindings.append(id, name) }
}

// MARK: Apis

private let apiColumns = """
  api.id, api.created_at, api.slug, api.name, api.key_prefix, api.key_bytes, api.is_protected,
  api.endpoint_limits::text
  """

extension CatalogAPI {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), createdAt: try row.next(),
      settings: Settings(
        slug: try row.next(), name: try row.next(), keyPrefix: try row.next(), keyBytes: try row.next(),
        isProtected: try row.next(), endpointLimits: try EndpointLimits(column: row.next())))
  }
}

extension CatalogAPI.Settings {
  /// The column of the endpoint limits; null if there are none.
  fileprivate var endpointLimitsColumn: String? { endpointLimits.entries.isEmpty ? nil : endpointLimits.json }
}

/// Newest first, starting below `before`.
struct ListAPIs: PostgresStatement {
  static let sql = """
    select \(apiColumns) from apis api where $1::uuid is null or api.id < $1 order by api.id desc limit $2
    """
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(before, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogAPI { try CatalogAPI(row: &row) }
}

struct FindAPI: PostgresStatement {
  static let sql = "select \(apiColumns) from apis api where api.id = $1::uuid or api.slug = $2::text"
  let reference: CatalogReference
  func bind(_ bindings: inout PostgresBindings) { reference.bind(&bindings) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogAPI { try CatalogAPI(row: &row) }
}

/// Like `FindAPI`, and locks the api until the end of the transaction, also against new keys for it.
struct LockAPI: PostgresStatement {
  static let sql = FindAPI.sql + " for update of api"
  let reference: CatalogReference
  func bind(_ bindings: inout PostgresBindings) { reference.bind(&bindings) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogAPI { try CatalogAPI(row: &row) }
}

struct InsertAPI: PostgresStatement {
  typealias Row = Date
  static let sql = """
    insert into apis (id, slug, name, key_prefix, key_bytes, is_protected, endpoint_limits)
    values ($1, $2, $3, $4, $5, $6, $7::text::jsonb)
    returning created_at
    """
  let id: UUID
  let settings: CatalogAPI.Settings
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      id, settings.slug, settings.name, settings.keyPrefix, Int32(settings.keyBytes), settings.isProtected,
      settings.endpointLimitsColumn)
  }
}

struct UpdateAPI: PostgresStatement {
  static let sql = """
    update apis set slug = $2, name = $3, key_prefix = $4, key_bytes = $5, is_protected = $6,
      endpoint_limits = $7::text::jsonb
    where id = $1
    """
  let id: UUID
  let settings: CatalogAPI.Settings
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      id, settings.slug, settings.name, settings.keyPrefix, Int32(settings.keyBytes), settings.isProtected,
      settings.endpointLimitsColumn)
  }
}

/// Revoked keys that were for the api lose it.
struct DeleteAPI: PostgresStatement {
  static let sql = "delete from apis where id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

/// What uses an api that is locked: keys that are not revoked, service tokens that are neither revoked nor expired, and
/// plans.
struct FindAPIUses: PostgresStatement {
  static let sql = """
    select exists (select from api_keys where api_id = $1 and revoked_at is null),
      exists (
        select from service_tokens
        where $1 = any (api_ids) and revoked_at is null and coalesce(expires_at, 'infinity') > now()),
      exists (select from plans where $1 = any (api_ids))
    """
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (
    keys: Bool, tokens: Bool, plans: Bool
  ) {
    (try row.next(), try row.next(), try row.next())
  }
}

// MARK: Permissions

private let permissionColumns = "permission.id, permission.created_at, permission.slug, permission.description"

extension CatalogPermission {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), createdAt: try row.next(),
      settings: Settings(slug: try row.next(), description: try row.next()))
  }
}

/// Newest first, starting below `before`.
struct ListPermissions: PostgresStatement {
  static let sql = """
    select \(permissionColumns) from permissions permission
    where $1::uuid is null or permission.id < $1 order by permission.id desc limit $2
    """
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(before, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogPermission {
    try CatalogPermission(row: &row)
  }
}

struct FindPermission: PostgresStatement {
  static let sql = """
    select \(permissionColumns) from permissions permission
    where permission.id = $1::uuid or permission.slug = $2::text
    """
  let reference: CatalogReference
  func bind(_ bindings: inout PostgresBindings) { reference.bind(&bindings) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogPermission {
    try CatalogPermission(row: &row)
  }
}

/// Like `FindPermission`, and locks the permission until the end of the transaction, also against new grants of it.
struct LockPermission: PostgresStatement {
  static let sql = FindPermission.sql + " for update of permission"
  let reference: CatalogReference
  func bind(_ bindings: inout PostgresBindings) { reference.bind(&bindings) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogPermission {
    try CatalogPermission(row: &row)
  }
}

struct InsertPermission: PostgresStatement {
  typealias Row = Date
  static let sql = "insert into permissions (id, slug, description) values ($1, $2, $3) returning created_at"
  let id: UUID
  let settings: CatalogPermission.Settings
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, settings.slug, settings.description) }
}

struct UpdatePermission: PostgresStatement {
  static let sql = "update permissions set slug = $2, description = $3 where id = $1"
  let id: UUID
  let settings: CatalogPermission.Settings
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, settings.slug, settings.description) }
}

/// Revoked keys that had the permission lose it.
struct DeletePermission: PostgresStatement {
  static let sql = "delete from permissions where id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

/// What uses a permission that is locked: roles, and keys that are not revoked.
struct FindPermissionUses: PostgresStatement {
  static let sql = """
    select exists (select from role_permissions where permission_id = $1),
      exists (
        select from key_permissions held join api_keys key on key.id = held.key_id
        where held.permission_id = $1 and key.revoked_at is null)
    """
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (roles: Bool, keys: Bool) {
    (try row.next(), try row.next())
  }
}

// MARK: Roles

private let roleColumns = """
  role.id, role.created_at, role.name, role.description, array(
    select permission.slug
    from role_permissions included join permissions permission on permission.id = included.permission_id
    where included.role_id = role.id order by permission.slug collate "C")
  """

extension CatalogRole {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), createdAt: try row.next(),
      settings: Settings(name: try row.next(), description: try row.next()), permissions: try row.next())
  }
}

/// Newest first, starting below `before`.
struct ListRoles: PostgresStatement {
  static let sql = """
    select \(roleColumns) from roles role
    where $1::uuid is null or role.id < $1 order by role.id desc limit $2
    """
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(before, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogRole { try CatalogRole(row: &row) }
}

struct FindRole: PostgresStatement {
  static let sql = "select \(roleColumns) from roles role where role.id = $1::uuid or role.name = $2::text"
  let reference: CatalogReference
  func bind(_ bindings: inout PostgresBindings) { reference.bind(&bindings) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogRole { try CatalogRole(row: &row) }
}

/// Locks a role until the end of the transaction, also against new grants of it. Read it afterwards, with ``FindRole``:
/// then its permissions are those that were committed while the lock was waited for.
struct LockRole: PostgresStatement {
  typealias Row = UUID
  static let sql = "select role.id from roles role where role.id = $1::uuid or role.name = $2::text for update"
  let reference: CatalogReference
  func bind(_ bindings: inout PostgresBindings) { reference.bind(&bindings) }
}

struct InsertRole: PostgresStatement {
  static let sql = "insert into roles (id, name, description) values ($1, $2, $3)"
  let id: UUID
  let settings: CatalogRole.Settings
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, settings.name, settings.description) }
}

struct UpdateRole: PostgresStatement {
  static let sql = "update roles set name = $2, description = $3 where id = $1"
  let id: UUID
  let settings: CatalogRole.Settings
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, settings.name, settings.description) }
}

/// Revoked keys that had the role lose it.
struct DeleteRole: PostgresStatement {
  static let sql = "delete from roles where id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

/// What uses a role that is locked: keys that are not revoked, and plans.
struct FindRoleUses: PostgresStatement {
  static let sql = """
    select exists (
        select from key_roles held join api_keys key on key.id = held.key_id
        where held.role_id = $1 and key.revoked_at is null),
      exists (select from plans where $1 = any (role_ids))
    """
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (keys: Bool, plans: Bool) {
    (try row.next(), try row.next())
  }
}

/// The permissions among those asked for that exist. They cannot be deleted until the end of the transaction.
struct HoldPermissions: PostgresStatement {
  static let sql = """
    select id, slug from permissions where id = any ($1) or slug = any ($2) order by id for key share
    """
  let references: [CatalogReference]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(references.compactMap(\.id), references.compactMap(\.name))
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogNamed {
    CatalogNamed(id: try row.next(), name: try row.next())
  }
}

/// The roles among those asked for that exist. They cannot be deleted until the end of the transaction.
struct HoldRoles: PostgresStatement {
  static let sql = "select id, name from roles where id = any ($1) or name = any ($2) order by id for key share"
  let references: [CatalogReference]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(references.compactMap(\.id), references.compactMap(\.name))
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogNamed {
    CatalogNamed(id: try row.next(), name: try row.next())
  }
}

/// Removes the permissions of a role that are not among `permissionIDs`.
struct DeleteRolePermissions: PostgresStatement {
  static let sql = "delete from role_permissions where role_id = $1 and permission_id <> all ($2)"
  let roleID: UUID
  let permissionIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(roleID, permissionIDs) }
}

/// Adds those of `permissionIDs` that the role does not have.
struct InsertRolePermissions: PostgresStatement {
  static let sql = """
    insert into role_permissions (role_id, permission_id) select $1, id from unnest($2::uuid[]) id
    on conflict do nothing
    """
  let roleID: UUID
  let permissionIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(roleID, permissionIDs) }
}
