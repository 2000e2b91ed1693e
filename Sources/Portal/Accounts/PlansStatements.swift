import Foundation
import Postgres

/// The columns of `plans plan`, in the order in which `Plan.init(row:)` reads them.
let planColumns = """
  plan.name, plan.key_cap, plan.scopes, plan.rate_limit_per_minute_max, plan.max_key_lifetime_days, plan.api_ids,
  plan.role_ids
  """

extension Plan {
  init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      name: try row.next(), keyCap: try row.next(), scopes: try row.next(), rateLimitPerMinuteMax: try row.next(),
      maxKeyLifetimeDays: try row.next(), apiIDs: try row.next(), roleIDs: try row.next())
  }
}

struct ListPlans: PostgresStatement {
  static let sql = "select \(planColumns) from plans plan order by plan.name"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Plan { try Plan(row: &row) }
}

struct FindPlan: PostgresStatement {
  static let sql = "select \(planColumns) from plans plan where plan.name = $1"
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(name) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Plan { try Plan(row: &row) }
}

struct SetPlan: PostgresStatement {
  static let sql = """
    insert into plans (name, key_cap, scopes, rate_limit_per_minute_max, max_key_lifetime_days, api_ids, role_ids)
    values ($1, $2, $3, $4, $5, $6, $7)
    on conflict (name) do update set
      key_cap = excluded.key_cap, scopes = excluded.scopes,
      rate_limit_per_minute_max = excluded.rate_limit_per_minute_max,
      max_key_lifetime_days = excluded.max_key_lifetime_days, api_ids = excluded.api_ids, role_ids = excluded.role_ids
    """
  let plan: Plan
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      plan.name, plan.keyCap.map { Int32($0) }, plan.scopes, plan.rateLimitPerMinuteMax.map { Int32($0) },
      plan.maxKeyLifetimeDays.map { Int32($0) }, plan.apiIDs, plan.roleIDs)
  }
}

/// The apis among those asked for that exist. They cannot be deleted until the end of the transaction.
struct HoldAPIsOfPlan: PostgresStatement {
  static let sql = "select id, slug from apis where id = any ($1) or slug = any ($2) order by id for key share"
  let references: [CatalogReference]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(references.compactMap(\.id), references.compactMap(\.name))
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogNamed {
    CatalogNamed(id: try row.next(), name: try row.next())
  }
}

/// Like ``HoldAPIsOfPlan``, for roles.
struct HoldRolesOfPlan: PostgresStatement {
  static let sql = "select id, name from roles where id = any ($1) or name = any ($2) order by id for key share"
  let references: [CatalogReference]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(references.compactMap(\.id), references.compactMap(\.name))
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> CatalogNamed {
    CatalogNamed(id: try row.next(), name: try row.next())
  }
}

struct SetAccountPlan: PostgresStatement {
  static let sql = "update accounts set plan = $2 where id = $1"
  let accountID: UUID
  let plan: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, plan) }
}
