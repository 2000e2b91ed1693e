import Foundation
import Postgres

/// The columns of a `ManagedAccount`, from `managedAccountTables`.
private let managedAccountColumns = """
  \(accountColumns), account.external_id, account.metadata, account.named_limits::text, account.created_at,
  \(creditColumns)
  """

private let managedAccountTables = """
  accounts account join plans plan on plan.name = account.plan
  left join credits bucket on bucket.account_id = account.id and bucket.id = account.credits_id
  """

extension ManagedAccount {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      account: try Account(row: &row), externalID: try row.next(), metadata: try row.next(),
      limits: try [RateLimit](column: row.next()), createdAt: try row.next(),
      credits: try CreditBalance(columns: &row))
  }
}

/// Newest first, starting below `before`. House accounts are listed only if they are asked for.
struct ListManagedAccounts: PostgresStatement {
  static let sql = """
    select \(managedAccountColumns) from \(managedAccountTables)
    where account.deleted_at is null and ($1::uuid is null or account.id < $1)
      and ($2::text is null or account.external_id = $2) and ($3::text is null or account.kind = $3)
      and (account.kind <> 'house' or $3 = 'house')
    order by account.id desc
    limit $4
    """
  let filter: ManagedAccountFilter
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(before, filter.externalID, filter.kind, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> ManagedAccount {
    try ManagedAccount(row: &row)
  }
}

struct FindManagedAccount: PostgresStatement {
  static let sql = """
    select \(managedAccountColumns) from \(managedAccountTables)
    where account.id = $1 and account.deleted_at is null
    """
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> ManagedAccount {
    try ManagedAccount(row: &row)
  }
}

struct InsertExternalAccount: PostgresStatement {
  static let sql = """
    insert into accounts (id, name, external_id, metadata, plan, kind, named_limits)
    values ($1, $2, $3, $4, $5, 'external', $6::text::jsonb)
    """
  let id: UUID
  let settings: ManagedAccountSettings
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      id, settings.name, settings.externalID, settings.metadata, settings.plan,
      settings.limits.isEmpty ? nil : settings.limits.json)
  }
}

struct InsertHouseAccount: PostgresStatement {
  static let sql = "insert into accounts (id, name, plan, kind, house_api_id) values ($1, $3, $4, 'house', $2)"
  let id: UUID
  let apiID: UUID
  let name: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, apiID, name, Plan.externalName) }
}

/// The id of the account with an external id, for staff.
struct FindExternalAccount: PostgresStatement {
  typealias Row = UUID
  static let sql = "select id from accounts where external_id = $1 and deleted_at is null"
  let externalID: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(externalID) }
}

/// The id of an api's house account, for staff.
struct FindHouseAccount: PostgresStatement {
  typealias Row = UUID
  static let sql = "select id from accounts where house_api_id = $1 and deleted_at is null"
  let apiID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(apiID) }
}

/// Writes all settings, which were read while the account was locked. Runs for the account that a backend has named.
struct UpdateManagedAccount: PostgresStatement {
  static let sql = """
    update accounts set name = $2, external_id = $3, metadata = $4, plan = $5, named_limits = $6::text::jsonb
    where id = $1
    """
  let accountID: UUID
  let settings: ManagedAccountSettings
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      accountID, settings.name, settings.externalID, settings.metadata, settings.plan,
      settings.limits.isEmpty ? nil : settings.limits.json)
  }
}

/// Makes an external account one that people log in to, under another plan. Runs for the account that was named.
struct MakeCustomer: PostgresStatement {
  static let sql = "update accounts set kind = 'customer', plan = $2 where id = $1 and kind = 'external'"
  let accountID: UUID
  let plan: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, plan) }
}
