import Foundation
import Postgres

extension ServiceToken.Permission: PostgresCodable {}

/// The columns that `ServiceTokenDetails.init(row:)` expects, from `tokenTables`.
private let tokenColumns = """
  token.id, token.name, token.permissions, token.environment, token.api_ids, token.expires_at, token.revoked_at,
  token.rolled_at, token.replaces_id, activity.last_used_at, token.created_at
  """

private let tokenTables = """
  service_tokens token left join service_token_activity activity on activity.token_id = token.id
  """

extension ServiceTokenDetails {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), name: try row.next(), permissions: try row.next(), environment: try row.next(),
      apiIDs: try row.next(), expiresAt: try row.next(), revokedAt: try row.next(), rolledAt: try row.next(),
      replacesID: try row.next(), lastUsedAt: try row.next(), createdAt: try row.next())
  }
}

struct InsertServiceToken: PostgresStatement {
  typealias Row = Date
  static let sql = """
    insert into service_tokens (id, name, token_hash, permissions, environment, api_ids, expires_at, replaces_id)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
    returning created_at
    """
  let token: NewServiceToken
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      token.id, token.name, token.secret.hash, token.permissions, token.environment, token.apiIDs, token.expiresAt,
      token.replacesID)
  }
}

/// The apis among those asked for that exist, by id or slug. They cannot be deleted until the end of the transaction.
struct HoldAPIs: PostgresStatement {
  static let sql = "select id, slug from apis where id = any ($1) or slug = any ($2) order by id for key share"
  let references: [CatalogReference]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(references.compactMap(\.id), references.compactMap(\.name))
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogNamed {
    CatalogNamed(id: try row.next(), name: try row.next())
  }
}

/// Lists tokens with IDs below `before`, newest first.
struct ListServiceTokens: PostgresStatement {
  static let sql = """
    select \(tokenColumns) from \(tokenTables) where $1::uuid is null or token.id < $1 order by token.id desc limit $2
    """
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(before, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> ServiceTokenDetails {
    try ServiceTokenDetails(row: &row)
  }
}

/// A token, with its row locked until the end of the transaction. The lock does not conflict with inserts that
/// reference the token; otherwise a token in constant use could never be revoked.
struct LockServiceToken: PostgresStatement {
  static let sql = "select \(tokenColumns) from \(tokenTables) where token.id = $1 for no key update of token"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> ServiceTokenDetails {
    try ServiceTokenDetails(row: &row)
  }
}

struct RevokeServiceToken: PostgresStatement {
  typealias Row = Date
  static let sql = "update service_tokens set revoked_at = now() where id = $1 returning revoked_at"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

/// Marks a token as rolled. Without a grace period it is revoked immediately; otherwise it expires at the end of the
/// grace period, or at its own expiry if that is earlier.
struct RetireRolledServiceToken: PostgresStatement {
  static let sql = """
    update service_tokens set
      rolled_at = now(),
      revoked_at = case when $2::bigint = 0 then now() end,
      expires_at = case when $2::bigint = 0 then expires_at
        else least(coalesce(expires_at, 'infinity'), now() + make_interval(secs => $2)) end
    where id = $1
    """
  let id: UUID
  let graceSeconds: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, graceSeconds) }
}

/// Records when tokens were used, unless a later use is recorded already. Tokens that have been deleted are skipped.
/// Rows are written in the order of their IDs, so that instances that write the same tokens do not deadlock.
struct WriteServiceTokenUses: PostgresStatement {
  static let sql = """
    insert into service_token_activity as activity (token_id, last_used_at)
    select used.token_id, used.at from unnest($1::uuid[], $2::timestamptz[]) as used (token_id, at)
    join service_tokens token on token.id = used.token_id
    order by used.token_id
    on conflict (token_id) do update set last_used_at = excluded.last_used_at
      where excluded.last_used_at > activity.last_used_at
    """
  let uses: [ServiceTokenUses.Noted]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(uses.map(\.id), uses.map { Date(timeIntervalSince1970: Double($0.seconds)) })
  }
}

/// Finds service tokens by hash, as ``FindVerifiableKeys`` finds keys.
struct FindServiceTokens: PostgresStatement {
  static let sql = """
    select \(headColumns), token.token_hash, token.id, token.name, token.permissions, token.environment,
      token.api_ids, token.expires_at, token.revoked_at is not null
    from invalidation_head head left join service_tokens token on token.token_hash = any ($1)
    """
  struct Row {
    let position: LogPosition
    let found: (hash: SecretHash, token: Result<ServiceToken, PostgresError>)?
  }
  let hashes: [SecretHash]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(hashes) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    let position = try LogPosition(columns: &row)
    guard let hash = try row.next(SecretHash?.self) else { return Row(position: position, found: nil) }
    let token = Result { () throws(PostgresError) in
      ServiceToken(
        id: try row.next(), name: try row.next(), permissions: try row.next(), environment: try row.next(),
        apiIDs: try row.next(), expiresAt: try row.next(), isRevoked: try row.next())
    }
    return Row(position: position, found: (hash, token))
  }
}
