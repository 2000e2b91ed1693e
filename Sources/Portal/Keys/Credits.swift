package import Foundation
package import Postgres

/// The credits of keys and accounts, which the company sells or grants. A key's successor draws from the key's balance.
/// Statements that change credits run as staff in the account: one that runs as a member can only read them.
package struct Credits: Sendable {
  let pool: PostgresPool
  let keys: Keys
  private let readings: CreditReadings

  package init(pool: PostgresPool, keys: Keys) {
    self.pool = pool
    self.keys = keys
    readings = CreditReadings(pool: pool)
  }

  /// The balance, with what the instances have spent up to now; see ``CreditBalance/held``. Nil: unlimited. Throws
  /// `.notFound`, also for a key that the caller may not see.
  package func find(of owner: CreditOwner, by caller: Caller) async throws -> CreditBalance? {
    let accountID = try await accountID(of: owner)
    guard let bucketID = try await current(of: owner, in: accountID, by: caller)?.id else { return nil }
    return try await readings.read(bucketID, of: accountID)
  }

  /// The account whose credits these are, for ``change(_:of:in:by:_:on:)``. Waits until the instances have settled, so
  /// that the balance after the change is as they know it. Throws as ``find(of:by:)``.
  package func settledAccountID(of owner: CreditOwner, by caller: Caller) async throws -> UUID {
    let accountID = try await accountID(of: owner)
    if let bucketID = try await current(of: owner, in: accountID, by: caller)?.id {
      _ = try await readings.read(bucketID, of: accountID)
    }
    return accountID
  }

  /// Changes the credits, in a transaction of the account, and returns what there is then. If nothing changes, nothing
  /// is written. Throws `.notFound`, `.keyNotActive` for a revoked key, `.creditsUnlimited` where a change needs a
  /// balance and there is none, and `.invalid` for too many.
  package func change(
    _ change: CreditChange, of owner: CreditOwner, in accountID: UUID, by caller: Caller,
    _ reason: SupportReason? = nil, on transaction: PostgresConnection
  ) async throws -> CreditBalance? {
    let (_, accounts) = try await transaction.pipeline(
      SetLocally(.staff(in: accountID)), LockAccount(accountID: accountID))
    guard !accounts.isEmpty else { throw PortalError.notFound }
    let current: CreditBalance?
    switch owner {
    case .key(let id):
      guard let key = try await transaction.query(LockKey(accountID: accountID, id: id)).first, caller.reaches(key)
      else { throw PortalError.notFound }
      guard key.revokedAt == nil else { throw PortalError.keyNotActive }
      current = key.credits
    case .account:
      current = try FindManagedAccount.one(
        of: try await transaction.query(FindManagedAccount(accountID: accountID))
      ).credits
    }
    let buckets = CreditBuckets(accountID: accountID, caller: caller, reason: reason)
    _ = try await buckets.change(owner, from: current, change, on: transaction)
    let balance: CreditBalance?
    switch owner {
    case .key(let id):
      balance = try await transaction.query(FindKey(accountID: accountID, id: id)).first?.credits
    case .account:
      balance = try await transaction.query(FindManagedAccount(accountID: accountID)).first?.credits
    }
    _ = try await transaction.query(SetLocally(.account(accountID)))
    return balance
  }

  /// How far a change that began at `start` has propagated.
  package func propagation(since start: ContinuousClock.Instant) async -> Propagation {
    await keys.propagation(since: start)
  }

  /// Takes back what silent holders have set aside, for an operator. Returns the number of leases.
  package func forgive(_ silence: CreditSilence, by caller: Caller) async throws -> Int {
    try await JobRun(name: "credits", pool: pool, caller: caller).forgiveCredits(silence)
  }

  private func accountID(of owner: CreditOwner) async throws -> UUID {
    switch owner {
    case .account(let id): return id
    case .key(let id):
      guard let accountID = try await pool.query(FindKeyAccount(id: id), as: .staff).first else {
        throw PortalError.notFound
      }
      return accountID
    }
  }

  private func current(
    of owner: CreditOwner, in accountID: UUID, by caller: Caller
  ) async throws -> CreditBalance? {
    switch owner {
    case .key(let id):
      let found = try await pool.query(FindKey(accountID: accountID, id: id), as: .account(accountID))
      guard let key = found.first, caller.reaches(key) else { throw PortalError.notFound }
      return key.credits
    case .account:
      guard
        let account = try await pool.query(FindManagedAccount(accountID: accountID), as: .account(accountID)).first
      else { throw PortalError.notFound }
      return account.credits
    }
  }
}

extension JobRun {
  /// The most accounts that are read at a time.
  private static let accountCountMax = 100
  /// The most buckets that one transaction refills.
  private static let refillCountMax = 1_000
  /// The most rows that one statement deletes.
  private static let deletedCountMax = 10_000

  /// Refills buckets that nobody uses. Returns their number.
  func refillCredits() async throws -> Int {
    var refilled = 0
    while true {
      let count = try await query(RefillOverdueCredits(count: Self.refillCountMax)) ?? 0
      refilled += count
      // Those that another transaction has locked are refilled there, or by the next run.
      if count < Self.refillCountMax { return refilled }
    }
  }

  /// Notes which holders are alive, forgives those that have long been silent, and deletes what is left of those that
  /// nobody will ask for any more. Returns the number of leases that were forgiven.
  func tendCredits(_ silence: CreditSilence) async throws -> Int {
    _ = try await execute(HearCreditHolders())
    let count = try await forgiveCredits(silence)
    _ = try await deleteAll(DeleteOldCreditLeases(limit: Self.deletedCountMax))
    _ = try await deleteAll(DeleteOldCreditHolders(limit: Self.deletedCountMax))
    return count
  }

  /// In transactions of one account each, with an event for each lease. Returns the number of leases.
  func forgiveCredits(_ silence: CreditSilence) async throws -> Int {
    var (count, last) = (0, UUID?.none)
    while true {
      let accounts = try await step {
        try await $0.query(ListSilentCreditAccounts(silence: silence, after: last, count: Self.accountCountMax))
      }
      for account in accounts { count += try await forgiveCredits(silence, of: account) }
      guard let next = accounts.last else { return count }
      last = next
    }
  }

  private func forgiveCredits(_ silence: CreditSilence, of accountID: UUID) async throws -> Int {
    var count = 0
    while true {
      let forgiven = try await step(as: .staff(in: accountID)) { transaction in
        // Before the buckets and the head of the trail, as by everybody who changes credits of the account.
        let forgiven = try await transaction.pipeline(
          LockAccount(accountID: accountID), then: ForgiveCredits(accountID: accountID, silence: silence))
        _ = try await transaction.pipeline(
          each: forgiven.map { row in
            InsertAuditEvent(
              accountID: accountID, caller: caller, action: .creditsForgiven, targetKind: "credits",
              targetID: row.bucketID,
              detail: AuditDetail("\(row.amount) that the silent instance \(row.holder.text) had set aside"))
          })
        return forgiven
      }
      count += forgiven.count
      if forgiven.count < ForgiveCredits.countMax { return count }
    }
  }
}
