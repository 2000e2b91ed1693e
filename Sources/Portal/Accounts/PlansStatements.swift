import Foundation
import Postgres

/// The columns of `plans plan`, in the order in which `Plan.init(row:)` reads them.
let planColumns = """
  plan.name, plan.key_cap, plan.scopes, plan.rate_limit_per_minute_max, plan.max_key_lifetime_days
  """

extension Plan {
  init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      name: try row.next(), keyCap: try row.next(), scopes: try row.next(), rateLimitPerMinuteMax: try row.next(),
      maxKeyLifetimeDays: try row.next())
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
    insert into plans (name, key_cap, scopes, rate_limit_per_minute_max, max_key_lifetime_days)
    values ($1, $2, $3, $4, $5)
    on conflict (name) do update set
      key_cap = excluded.key_cap, scopes = excluded.scopes,
      rate_limit_per_minute_max = excluded.rate_limit_per_minute_max,
      max_key_lifetime_days = excluded.max_key_lifetime_days
    """
  let plan: Plan
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      plan.name, plan.keyCap.map { Int32($0) }, plan.scopes, plan.rateLimitPerMinuteMax.map { Int32($0) },
      plan.maxKeyLifetimeDays.map { Int32($0) })
  }
}

struct SetAccountPlan: PostgresStatement {
  static let sql = "update accounts set plan = $2 where id = $1"
  let accountID: UUID
  let plan: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, plan) }
}
