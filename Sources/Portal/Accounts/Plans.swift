package import Foundation
package import Postgres

/// The plans, and their assignment to accounts. Lowering a plan also takes effect for existing keys, immediately.
package struct Plans: Sendable {
  let pool: PostgresPool
  let propagations: Propagations

  package init(pool: PostgresPool, propagations: Propagations) {
    self.pool = pool
    self.propagations = propagations
  }

  package func list() async throws -> [Plan] { try await pool.query(ListPlans(), as: .staff) }

  /// Creates the plan, or changes the existing plan of this name. `apis` and `roles` take the place of the plan's own.
  /// Throws `.invalid` for those that do not exist.
  package func set(
    _ plan: Plan, apis: [CatalogReference]? = nil, roles: [CatalogReference] = [], by caller: Caller
  ) async throws -> (plan: Plan, propagation: Propagation) {
    let clock = ContinuousClock.now
    let plan = try await pool.withTransaction(as: .staff) { transaction in
      var plan = plan
      let (foundAPIs, foundRoles) = try await transaction.pipeline(
        HoldAPIsOfPlan(references: apis ?? []), HoldRolesOfPlan(references: roles))
      // Sorted, because their order means nothing.
      plan.apiIDs = try apis?.resolved(among: foundAPIs, "the id or slug of an api") { .apiID($0) }.map(\.id).sorted()
      plan.roleIDs = try roles.resolved(among: foundRoles, "the id or name of a role") { .roleID($0) }
        .map(\.id).sorted()
      // Avoids a write that changes nothing, because every change of a plan empties the caches.
      if try await transaction.query(FindPlan(name: plan.name)) == [plan] { return plan }
      _ = try await transaction.pipeline(
        SetPlan(plan: plan),
        InsertAuditEvent.inSystem(.planSet, "plan", by: caller, detail: AuditDetail(plan.name)))
      return plan
    }
    return (plan, await propagations.wait(since: clock))
  }

  /// Assigns a plan to an account. If the account already has the plan, nothing is written. Throws `.notFound`.
  package func assign(
    _ name: String, to accountID: UUID, by caller: Caller, _ reason: SupportReason
  ) async throws -> (account: Account, propagation: Propagation) {
    let clock = ContinuousClock.now
    let account = try await pool.withTransaction(as: .staff(in: accountID)) { transaction in
      let (accounts, plans) = try await transaction.pipeline(LockAccount(accountID: accountID), FindPlan(name: name))
      guard let account = accounts.first else { throw PortalError.notFound }
      guard !plans.isEmpty else { throw PortalError.invalid(.plan, "is not the name of a plan") }
      let event = InsertAuditEvent.onPlan(of: accountID, from: account.plan.name, to: name, by: caller, reason)
      guard let event else { return account }
      let changed = try await transaction.pipeline(
        SetAccountPlan(accountID: accountID, plan: name), event, then: LockAccount(accountID: accountID))
      return try LockAccount.one(of: changed)
    }
    return (account, await propagations.wait(since: clock))
  }
}
