import Foundation
import Postgres

// MARK: Namespaces

private let namespaceColumns = "namespace.id, namespace.created_at, namespace.name"

extension LimitNamespace {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(id: try row.next(), createdAt: try row.next(), name: try row.next())
  }
}

/// Newest first, starting below `before`.
struct ListLimitNamespaces: PostgresStatement {
  static let sql = """
    select \(namespaceColumns) from limit_namespaces namespace
    where $1::uuid is null or namespace.id < $1 order by namespace.id desc limit $2
    """
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(before, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> LimitNamespace { try LimitNamespace(row: &row) }
}

struct FindLimitNamespace: PostgresStatement {
  static let sql = "select \(namespaceColumns) from limit_namespaces namespace where namespace.name_hash = $1"
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(SecretHash(of: name.utf8)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> LimitNamespace { try LimitNamespace(row: &row) }
}

/// Like `FindLimitNamespace`, and locks the namespace until the end of the transaction: its overrides change one after
/// the other.
struct LockLimitNamespace: PostgresStatement {
  static let sql = FindLimitNamespace.sql + " for update of namespace"
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(SecretHash(of: name.utf8)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> LimitNamespace { try LimitNamespace(row: &row) }
}

/// Lets one transaction at a time make namespaces, so that their number is known.
struct LockNewLimitNamespaces: PostgresStatement {
  typealias Row = Bool
  static let isRead = false
  static let sql = "select true from pg_advisory_xact_lock(hashtext('limit_namespaces'))"
}

/// Inserts a namespace if there is none with this name and there is room for it. New namespaces must be locked first.
struct InsertLimitNamespace: PostgresStatement {
  typealias Row = UUID
  static let sql = """
    insert into limit_namespaces (id, name, name_hash)
    select $1, $2, $3 where (select count(*) from limit_namespaces) < $4
    on conflict (name_hash) do nothing
    returning id
    """
  let id: UUID
  let name: String
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(id, name, SecretHash(of: name.utf8), LimitNamespace.countMax)
  }
}

/// Its overrides go with it.
struct DeleteLimitNamespace: PostgresStatement {
  static let sql = "delete from limit_namespaces where id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

/// Finds namespaces by the hashes of their names, with their overrides, as ``FindVerifiableKeys`` finds keys.
struct FindLimitNamespaces: PostgresStatement {
  static let sql = """
    select \(headColumns), namespace.name_hash, namespace.id, held.ids, held.identifiers, held.limits, held.windows
    from invalidation_head head
    left join limit_namespaces namespace on namespace.name_hash = any ($1)
    left join lateral (
      select coalesce(array_agg(held.id order by held.id), '{}') as ids,
        coalesce(array_agg(held.identifier order by held.id), '{}') as identifiers,
        coalesce(array_agg(held.limit_value order by held.id), '{}') as limits,
        coalesce(array_agg(held.window_milliseconds order by held.id), '{}') as windows
      from limit_overrides held where held.namespace_id = namespace.id
    ) held on true
    """
  let hashes: [SecretHash]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(hashes) }
  static func decode(
    _ row: inout PostgresRow
  ) throws(PostgresError) -> (position: LogPosition, found: (SecretHash, Result<KnownLimitNamespace, PostgresError>)?) {
    let position = try LogPosition(columns: &row)
    guard let hash = try row.next(SecretHash?.self) else { return (position, nil) }
    return (position, (hash, Result { () throws(PostgresError) in try KnownLimitNamespace(columns: &row) }))
  }
}

extension KnownLimitNamespace {
  fileprivate convenience init(columns row: inout PostgresRow) throws(PostgresError) {
    let id = try row.next(UUID.self)
    let (ids, identifiers) = (try row.next([UUID].self), try row.next([String].self))
    let (limits, windows) = (try row.next([Int].self), try row.next([Int].self))
    let overrides = zip(zip(ids, identifiers), zip(limits, windows)).compactMap { named, numbers in
      LimitOverrides.identifier(named.1).map { identifier in
        LimitOverrides.Override(
          id: named.0, identifier: identifier,
          limit: WindowLimit(limit: numbers.0, windowMilliseconds: numbers.1))
      }
    }
    self.init(id: id, overrides: LimitOverrides(overrides))
  }
}

// MARK: Overrides

private let overrideColumns = "held.id, held.created_at, held.identifier, held.limit_value, held.window_milliseconds"

extension NamespaceOverride {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), createdAt: try row.next(), identifier: try row.next(),
      limit: WindowLimit(limit: try row.next(), windowMilliseconds: try row.next()))
  }
}

/// Newest first, starting below `before`.
struct ListNamespaceOverrides: PostgresStatement {
  static let sql = """
    select \(overrideColumns)
    from limit_overrides held join limit_namespaces namespace on namespace.id = held.namespace_id
    where namespace.name_hash = $1 and ($2::text is null or held.identifier = $2)
      and ($3::uuid is null or held.id < $3)
    order by held.id desc limit $4
    """
  let namespace: String
  let identifier: String?
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(SecretHash(of: namespace.utf8), identifier, before, count)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> NamespaceOverride {
    try NamespaceOverride(row: &row)
  }
}

struct FindNamespaceOverride: PostgresStatement {
  static let sql = """
    select \(overrideColumns)
    from limit_overrides held join limit_namespaces namespace on namespace.id = held.namespace_id
    where held.id = $1 and namespace.name_hash = $2
    """
  let id: UUID
  let namespace: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, SecretHash(of: namespace.utf8)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> NamespaceOverride {
    try NamespaceOverride(row: &row)
  }
}

/// The override that is set for exactly this identifier or pattern.
struct FindOverrideOfIdentifier: PostgresStatement {
  static let sql = """
    select \(overrideColumns) from limit_overrides held where held.namespace_id = $1 and held.identifier = $2
    """
  let identifier: String
  let namespaceID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(namespaceID, identifier) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> NamespaceOverride {
    try NamespaceOverride(row: &row)
  }
}

/// The number of overrides of a namespace, and of those with a star.
struct CountNamespaceOverrides: PostgresStatement {
  static let sql = """
    select count(*), count(*) filter (where strpos(identifier, '*') > 0) from limit_overrides where namespace_id = $1
    """
  let namespaceID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(namespaceID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (all: Int, patterns: Int) {
    (try row.next(), try row.next())
  }
}

/// Inserts an override, or changes the numbers of the one that its identifier has. The namespace must be locked first.
struct StoreNamespaceOverride: PostgresStatement {
  static let sql = """
    insert into limit_overrides as held (id, namespace_id, identifier, limit_value, window_milliseconds)
    values ($1, $2, $3, $4, $5)
    on conflict (namespace_id, identifier)
    do update set limit_value = excluded.limit_value, window_milliseconds = excluded.window_milliseconds
    returning \(overrideColumns)
    """
  let id: UUID
  let namespaceID: UUID
  let identifier: String
  let limit: WindowLimit
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(id, namespaceID, identifier, limit.limit, limit.windowMilliseconds)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> NamespaceOverride {
    try NamespaceOverride(row: &row)
  }
}

struct DeleteNamespaceOverride: PostgresStatement {
  static let sql = """
    delete from limit_overrides held where held.id = $1 and held.namespace_id = $2 returning \(overrideColumns)
    """
  let id: UUID
  let namespaceID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, namespaceID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> NamespaceOverride {
    try NamespaceOverride(row: &row)
  }
}
