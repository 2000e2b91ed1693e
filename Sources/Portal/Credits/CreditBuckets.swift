import Foundation
import Postgres

/// Changes credits in a transaction as staff in an account, whose row is locked.
struct CreditBuckets: Sendable {
  let accountID: UUID
  let caller: Caller
  var reason: SupportReason?

  /// Changes what a key, or the account, has, from `current` (nil: unlimited), and records it. Returns false if nothing
  /// changes. Throws `.creditsUnlimited` where a change needs a balance and there is none, and `.invalid` if there
  /// would be more than ``CreditBalance/amountMax``.
  func change(
    _ owner: CreditOwner, from current: CreditBalance?, _ change: CreditChange, on transaction: PostgresConnection
  ) async throws -> Bool {
    switch (current, change) {
    case (nil, .unlimited):
      return false
    case (nil, .settings(let remaining?, let refill)):
      var settings = CreditSettings(remaining: remaining)
      refill.apply(to: &settings.refill)
      try await open(owner, settings, on: transaction)
    case (nil, _):
      throw PortalError.creditsUnlimited
    case (let current?, .unlimited):
      try await transaction.execute(DeleteCredits(accountID: accountID, bucketID: current.id))
    case (let current?, .settings(let remaining, let refill)):
      var settings = CreditSettings(remaining: remaining ?? 0, refill: current.refill)
      refill.apply(to: &settings.refill)
      if remaining == nil, settings.refill == current.refill { return false }
      if settings.refill != current.refill {
        _ = try await transaction.query(
          SetCreditRefill(accountID: accountID, bucketID: current.id, refill: settings.refill))
      }
      if let remaining { try await store(current.id, .set, remaining, on: transaction) }
    case (let current?, .increment(let amount)):
      try await store(current.id, .increment, amount, on: transaction)
    case (let current?, .decrement(let amount)):
      try await store(current.id, .decrement, amount, on: transaction)
    }
    try await transaction.execute(event(owner, change))
    return true
  }

  private func open(
    _ owner: CreditOwner, _ settings: CreditSettings, on transaction: PostgresConnection
  ) async throws {
    let id = UUID.version7()
    try await transaction.execute(InsertCredits(accountID: accountID, id: id, settings: settings))
    switch owner {
    case .key(let keyID):
      try await transaction.execute(SetKeyCredits(accountID: accountID, keyID: keyID, bucketID: id))
    case .account:
      try await transaction.execute(SetAccountCredits(accountID: accountID, bucketID: id))
    }
  }

  private func store(
    _ bucketID: UUID, _ operation: ChangeCredits.Operation, _ amount: Int, on transaction: PostgresConnection
  ) async throws {
    let changed = try await transaction.query(
      ChangeCredits(accountID: accountID, bucketID: bucketID, operation: operation, amount: amount))
    if try ChangeCredits.one(of: changed).isFull {
      throw PortalError.invalid(.creditValue, "would make more than \(CreditBalance.amountMax) credits")
    }
  }

  private func event(_ owner: CreditOwner, _ change: CreditChange) -> InsertAuditEvent {
    let detail = AuditDetail(change.summary)
    return switch owner {
    case .key(let id): .onKey(id, of: accountID, .keyCreditsChanged, by: caller, reason, detail: detail)
    case .account: .onAccount(accountID, .accountCreditsChanged, by: caller, reason, detail: detail)
    }
  }
}

/// Reads balances that include what the instances have spent up to now.
struct CreditReadings: Sendable {
  private static let pollIntervals: [Duration] = [
    .milliseconds(1), .milliseconds(2), .milliseconds(4), .milliseconds(10),
  ]
  /// For an instance that missed the notification: it settles every second.
  static let timeoutDefault: Duration = .milliseconds(1_200)

  let pool: PostgresPool
  var timeout = Self.timeoutDefault

  /// Asks the instances that have something set aside, and waits until they have settled. Exact if no verification is
  /// in progress, but for what is ``CreditBalance/held``. Nil if there is no such bucket.
  func read(_ bucketID: UUID, of accountID: UUID) async throws -> CreditBalance? {
    let deadline = ContinuousClock.now + timeout
    var statement = ReadCredits(accountID: accountID, bucketID: bucketID, questions: [])
    do throws(PostgresError) {
      statement = ReadCredits(
        accountID: accountID, bucketID: bucketID,
        questions: try await pool.query(
          AskCreditHolders(accountID: accountID, bucketID: bucketID), as: .account(accountID)))
    } catch {
      // Nobody can be asked while changes are refused. A read still tells what is known.
      statement.areAsked = false
    }
    var intervals = Self.pollIntervals.makeIterator()
    while true {
      guard let read = try await pool.query(statement, as: .account(accountID)).first else { return nil }
      if read.awaitedCount == 0 || ContinuousClock.now >= deadline { return read.balance }
      try await Task.sleep(for: intervals.next() ?? .milliseconds(20))
    }
  }
}
