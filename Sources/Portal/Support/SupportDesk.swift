package import Foundation
package import Postgres

/// What staff look for: one of these.
package struct KeySearch: Sendable, Equatable {
  package var id: UUID?
  package var accountID: UUID?
  /// The beginning of what a customer sees of the key.
  package var start: String?
  package var hash: SecretHash?

  package init(id: UUID? = nil, accountID: UUID? = nil, start: String? = nil, hash: SecretHash? = nil) {
    self.id = id
    self.accountID = accountID
    self.start = start
    self.hash = hash
  }
}

/// What staff may do with customers' keys and accounts. Every change carries its reason into the audit trail that the
/// customer reads, in the transaction of the change.
package struct SupportDesk: Sendable {
  package static let resultCountMax = 100

  let pool: PostgresPool
  let keys: Keys
  let propagations: Propagations
  let outbox: Outbox

  package init(
    pool: PostgresPool, keys: Keys, propagations: Propagations, outbox: Outbox = Outbox(isOpen: false)
  ) {
    self.pool = pool
    self.keys = keys
    self.propagations = propagations
    self.outbox = outbox
  }

  package func search(_ search: KeySearch) async throws -> [Key] {
    try await pool.query(SearchKeys(search: search, count: Self.resultCountMax), as: .staff)
  }

  /// The instances that have been heard of lately, those that are behind first.
  package func instances() async throws -> [InstanceReport] {
    try await pool.query(ListInstances(count: Self.resultCountMax), as: .staff)
  }

  /// Revokes any customer's key; as ``Keys/revoke(_:of:by:_:)``.
  package func revokeKey(_ id: UUID, by caller: Caller, _ reason: SupportReason) async throws -> Keys.Revoked {
    guard let accountID = try await pool.query(FindKeyAccount(id: id), as: .staff).first else {
      throw PortalError.notFound
    }
    return try await keys.revoke(id, of: accountID, by: caller, reason)
  }

  /// Suspends or resumes an account with all its keys; nothing happens if it is so already.
  package func setSuspension(
    of accountID: UUID, to isSuspended: Bool, by caller: Caller, _ reason: SupportReason
  ) async throws -> (account: Account, propagation: Propagation) {
    let clock = ContinuousClock.now
    let account = try await pool.withTransaction(as: .staff(in: accountID)) { transaction in
      guard let account = try await transaction.query(LockAccount(accountID: accountID)).first else {
        throw PortalError.notFound
      }
      if (account.suspendedAt != nil) == isSuspended { return account }
      let (_, _, _, changed) = try await transaction.pipeline(
        SetAccountSuspension(accountID: accountID, isSuspended: isSuspended, reason: isSuspended ? reason.text : nil),
        InsertAuditEvent.onAccount(accountID, isSuspended ? .accountSuspended : .accountResumed, by: caller, reason),
        outbox.notice(
          .accountSuspended, of: accountID, subjectID: accountID, if: isSuspended,
          Mail.Parameters(actorName: caller.actor.name, reason: reason.text, ticket: reason.ticket)),
        LockAccount(accountID: accountID))
      return changed[0]
    }
    outbox.ring()
    return (account, await propagations.wait(since: clock))
  }
}
