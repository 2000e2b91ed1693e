import Foundation
import Postgres

// The rows are made from the key's row and the catalog's, so that none can be of another account than its key.

struct InsertKeyRoles: PostgresStatement {
  static let sql = """
    insert into key_roles (account_id, key_id, role_id)
    select key.account_id, key.id, granted.id from api_keys key, unnest($3::uuid[]) granted (id)
    where key.account_id = $1 and key.id = $2
    on conflict do nothing
    """
  let accountID: UUID
  let keyID: UUID
  let roleIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, keyID, roleIDs) }
}

struct DeleteKeyRoles: PostgresStatement {
  static let sql = "delete from key_roles where account_id = $1 and key_id = $2 and role_id = any ($3)"
  let accountID: UUID
  let keyID: UUID
  let roleIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, keyID, roleIDs) }
}

struct InsertKeyPermissions: PostgresStatement {
  static let sql = """
    insert into key_permissions (account_id, key_id, permission_id)
    select key.account_id, key.id, granted.id from api_keys key, unnest($3::uuid[]) granted (id)
    where key.account_id = $1 and key.id = $2
    on conflict do nothing
    """
  let accountID: UUID
  let keyID: UUID
  let permissionIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, keyID, permissionIDs) }
}

struct DeleteKeyPermissions: PostgresStatement {
  static let sql = "delete from key_permissions where account_id = $1 and key_id = $2 and permission_id = any ($3)"
  let accountID: UUID
  let keyID: UUID
  let permissionIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, keyID, permissionIDs) }
}

/// Gives a new key the roles of the key that it succeeds.
struct CopyKeyRoles: PostgresStatement {
  static let sql = """
    insert into key_roles (account_id, key_id, role_id)
    select account_id, $3, role_id from key_roles where account_id = $1 and key_id = $2
    """
  let accountID: UUID
  let from: UUID
  let to: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, from, to) }
}

/// Like ``CopyKeyRoles``, for direct permissions.
struct CopyKeyPermissions: PostgresStatement {
  static let sql = """
    insert into key_permissions (account_id, key_id, permission_id)
    select account_id, $3, permission_id from key_permissions where account_id = $1 and key_id = $2
    """
  let accountID: UUID
  let from: UUID
  let to: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, from, to) }
}

/// The account of a key, for staff.
struct FindKeyAccount: PostgresStatement {
  typealias Row = UUID
  static let sql = "select account_id from api_keys where id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}
