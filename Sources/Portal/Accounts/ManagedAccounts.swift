package import Foundation
import JSON
package import Postgres

/// Accounts as a company's backend manages them: it creates accounts for its customers, which people may join later.
package struct ManagedAccounts: Sendable {
  let pool: PostgresPool
  let propagations: Propagations

  package init(pool: PostgresPool, propagations: Propagations) {
    self.pool = pool
    self.propagations = propagations
  }

  /// All accounts that are not deleted, most recent first.
  package func list(
    _ filter: ManagedAccountFilter = ManagedAccountFilter(), page: PageRequest = PageRequest()
  ) async throws -> Page<ManagedAccount> {
    let found = try await pool.pipeline(
      ForceCustomPlan(), then: ListManagedAccounts(filter: filter, before: page.before, count: page.limit + 1),
      as: .staff)
    return Page(found, limit: page.limit, id: \.account.id)
  }

  /// Its balance of credits includes what the instances have spent up to now. Throws `.notFound`.
  package func find(_ id: UUID) async throws -> ManagedAccount {
    guard var found = try await pool.query(FindManagedAccount(accountID: id), as: .account(id)).first else {
      throw PortalError.notFound
    }
    if let credits = found.credits { found.credits = try await CreditReadings(pool: pool).read(credits.id, of: id) }
    return found
  }

  /// Creates an external account with this id, in a transaction of that account. Throws `.externalIDTaken`, and
  /// `.invalid` if there is no such plan.
  package func create(
    _ settings: ManagedAccountSettings, credits: CreditSettings? = nil, id: UUID, by caller: Caller,
    on transaction: PostgresConnection
  ) async throws -> ManagedAccount {
    guard try await !transaction.query(FindPlan(name: settings.plan)).isEmpty else { throw Self.unknownPlan }
    do {
      let made = try await transaction.pipeline(
        InsertExternalAccount(id: id, settings: settings),
        InsertAuditEvent.onAccount(id, .accountCreated, by: caller), then: FindManagedAccount(accountID: id))
      let account = try FindManagedAccount.one(of: made)
      guard let credits else { return account }
      _ = try await transaction.query(SetLocally(.staff(in: id)))
      _ = try await CreditBuckets(accountID: id, caller: caller).change(
        .account(id), from: nil, credits.change, on: transaction)
      let found = try await transaction.pipeline(SetLocally(.account(id)), then: FindManagedAccount(accountID: id))
      return try FindManagedAccount.one(of: found)
    } catch let error as PostgresError {
      throw error.violates("accounts_external_id_unique") ? PortalError.externalIDTaken : error
    }
  }

  /// The id of the account with this external id, or nil.
  package func find(externalID: String) async throws -> UUID? {
    try await pool.query(FindExternalAccount(externalID: externalID), as: .staff).first
  }

  /// The id of an api's house account, or nil if it has none yet.
  package func findHouse(of apiID: UUID) async throws -> UUID? {
    try await pool.query(FindHouseAccount(apiID: apiID), as: .staff).first
  }

  /// Creates the external account of an external id or, without one, the house account of an api, with this id and in
  /// a transaction of that account. Throws `.externalIDTaken` or `.nameTaken` if there is one already, and `.notFound`
  /// if the api has been deleted.
  package func create(
    _ id: UUID, for externalID: String?, orHouseOf apiID: UUID, named slug: String, by caller: Caller,
    on transaction: PostgresConnection
  ) async throws {
    guard let externalID else {
      return try await createHouse(of: apiID, named: slug, id: id, by: caller, on: transaction)
    }
    let settings = ManagedAccountSettings(name: ManagedAccount.name(for: externalID), externalID: externalID)
    _ = try await create(settings, id: id, by: caller, on: transaction)
  }

  private func createHouse(
    of apiID: UUID, named slug: String, id: UUID, by caller: Caller, on transaction: PostgresConnection
  ) async throws {
    do {
      _ = try await transaction.pipeline(
        InsertHouseAccount(id: id, apiID: apiID, name: ManagedAccount.name(for: "Keys of \(slug)")),
        InsertAuditEvent.onAccount(id, .accountCreated, by: caller))
    } catch {
      if error.violates("accounts_house_api_unique") { throw PortalError.nameTaken }
      throw error.violates("accounts_house_api_fkey") ? PortalError.notFound : error
    }
  }

  /// Changes an account of customers. If nothing changes, nothing is written. Throws `.notFound`, `.externalIDTaken`,
  /// `.invalid` if there is no such plan, `.creditsUnlimited` for refills of an account without credits, and
  /// `.forbidden` for a house account.
  package func update(
    _ id: UUID, _ changes: ManagedAccountChanges, by caller: Caller
  ) async throws -> (account: ManagedAccount, propagation: Propagation) {
    let start = ContinuousClock.now
    do {
      let account = try await pool.withTransaction(as: .staff(in: id)) { transaction in
        let (locked, found, plans) = try await transaction.pipeline(
          LockAccount(accountID: id), FindManagedAccount(accountID: id), FindPlan(name: changes.plan ?? ""))
        guard !locked.isEmpty, let account = found.first else { throw PortalError.notFound }
        try account.account.checkIsCustomers()
        guard changes.plan == nil || !plans.isEmpty else { throw Self.unknownPlan }
        let old = ManagedAccountSettings(of: account)
        let new = changes.applied(to: old)
        let events = Self.events(of: id, from: old, to: new, by: caller)
        if events.isEmpty, changes.credits == nil { return account }
        if !events.isEmpty { try await transaction.execute(UpdateManagedAccount(accountID: id, settings: new)) }
        if let credits = changes.credits {
          _ = try await CreditBuckets(accountID: id, caller: caller).change(
            .account(id), from: account.credits, credits, on: transaction)
        }
        _ = try await transaction.pipeline(each: events)
        return try FindManagedAccount.one(of: try await transaction.query(FindManagedAccount(accountID: id)))
      }
      return (account, await propagations.wait(since: start))
    } catch let error as PostgresError where error.violates("accounts_external_id_unique") {
      throw PortalError.externalIDTaken
    }
  }

  private static let unknownPlan = PortalError.invalid(.plan, "is not the name of a plan")

  private static func events(
    of id: UUID, from old: ManagedAccountSettings, to new: ManagedAccountSettings, by caller: Caller
  ) -> [InsertAuditEvent] {
    var events: [InsertAuditEvent] = []
    let names = new.changedNames(from: old)
    if !names.isEmpty {
      events.append(
        .onAccount(id, .accountUpdated, by: caller, detail: AuditDetail(names.joined(separator: ", "))))
    }
    return events + [.onPlan(of: id, from: old.plan, to: new.plan, by: caller)].compactMap(\.self)
  }
}
