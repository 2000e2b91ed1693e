package import Foundation
package import Postgres

/// The policies that accounts set for their keys.
package struct KeyPolicies: Sendable {
  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  package func find(of accountID: UUID) async throws -> KeyPolicy {
    guard let rules = try await pool.query(FindKeyRules(accountID: accountID), as: .account(accountID)).first else {
      throw PortalError.notFound
    }
    return rules.policy
  }

  /// Sets the policy for keys that are created, changed or rolled from now on. Existing keys report how they violate
  /// it, see ``Key/policyViolations``. Throws `.notFound`.
  package func set(_ policy: KeyPolicy, of accountID: UUID, by caller: Caller) async throws {
    try await pool.withTransaction(as: .account(accountID)) { transaction in
      let found = try await transaction.pipeline(
        LockAccount(accountID: accountID), then: FindKeyRules(accountID: accountID))
      guard let rules = found.first else { throw PortalError.notFound }
      if rules.policy == policy { return }
      _ = try await transaction.pipeline(
        SetKeyPolicy(accountID: accountID, policy: policy),
        InsertAuditEvent.onAccount(accountID, .accountPolicyChanged, by: caller))
    }
  }
}

extension JobRun {
  /// Accounts per query.
  private static let accountCountMax = 1_000

  /// Disables the keys that have been idle for longer than their account's policy allows, in one transaction per
  /// account. Returns the number of keys.
  func disableIdleKeys() async throws -> Int {
    var (count, last) = (0, UUID?.none)
    while true {
      let accounts = try await step {
        try await $0.query(ListIdlePolicies(after: last, count: Self.accountCountMax))
      }
      for account in accounts { count += try await disableIdleKeys(of: account) }
      guard let next = accounts.last else { return count }
      last = next
    }
  }

  private func disableIdleKeys(of accountID: UUID) async throws -> Int {
    try await step(as: .account(accountID)) { transaction in
      let ids = try await transaction.pipeline(
        LockAccount(accountID: accountID), then: DisableIdleKeys(accountID: accountID))
      if !ids.isEmpty {
        try await transaction.execute(
          InsertKeyAuditEvents(accountID: accountID, keyIDs: ids, action: .keyDisabled, caller: caller))
      }
      return ids.count
    }
  }
}
