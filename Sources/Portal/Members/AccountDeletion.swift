package import Foundation
package import Postgres

/// The result of deleting an account.
package struct DeletedAccount: Sendable {
  package var id: UUID
  package var deletedAt: Date
  package var revokedKeyCount: Int
  package var propagation: Propagation
}

/// Deletes accounts, irreversibly. The keys are revoked, all sessions in the account end, and the account can no longer
/// be found. People who belong to no other account lose their address, password and second factor, so that the address
/// can sign up again. Usage and the audit trail are kept for the operator.
package struct AccountDeletion: Sendable {
  let pool: PostgresPool
  let keys: Keys
  let propagations: Propagations
  let outbox: Outbox

  package init(pool: PostgresPool, keys: Keys, propagations: Propagations, outbox: Outbox) {
    self.pool = pool
    self.keys = keys
    self.propagations = propagations
    self.outbox = outbox
  }

  /// Deletes the account of `session`, and notifies owners and admins by mail. Throws `.forbidden` unless the person is
  /// an owner.
  package func delete(
    _ proof: CredentialChanges.Proof, of session: MemberSession, ip: String?
  ) async throws -> DeletedAccount {
    let (clock, id) = (ContinuousClock.now, session.account.id)
    let (deletedAt, keyCount) = try await pool.withTransaction(as: .identity) { transaction in
      // If two accounts are deleted at the same time, the second deletion sees, for each shared member, that the first
      // account is gone.
      _ = try await transaction.query(LockMembers(accountID: id))
      try await transaction.check(proof, of: session)
      // Since the session was looked up, the role may have changed, or another owner may have deleted the account.
      let (_, accounts, members) = try await transaction.pipeline(
        SetLocally(.account(id)), LockAccount(accountID: id), FindMember(accountID: id, userID: session.user.id))
      guard !accounts.isEmpty, let member = members.first else { throw PortalError.notFound }
      guard member.role.permits(.closeAccount) else {
        throw PortalError.forbidden(reason: "Only an owner may delete the account.")
      }
      return try await delete(id, by: session.caller(ip: ip), on: transaction)
    }
    outbox.ring()
    return DeletedAccount(
      id: id, deletedAt: deletedAt, revokedKeyCount: keyCount, propagation: await propagations.wait(since: clock))
  }

  /// Deletes an account for a backend, and notifies its owners and admins by mail, if it has any. Throws `.notFound`,
  /// and `.forbidden` for a house account.
  package func delete(_ id: UUID, by caller: Caller) async throws -> DeletedAccount {
    let clock = ContinuousClock.now
    let (deletedAt, keyCount) = try await pool.withTransaction(as: .identity) { transaction in
      let (_, _, accounts) = try await transaction.pipeline(
        LockMembers(accountID: id), SetLocally(.account(id)), LockAccount(accountID: id))
      guard let account = accounts.first else { throw PortalError.notFound }
      try account.checkIsCustomers()
      return try await delete(id, by: caller, on: transaction)
    }
    outbox.ring()
    return DeletedAccount(
      id: id, deletedAt: deletedAt, revokedKeyCount: keyCount, propagation: await propagations.wait(since: clock))
  }

  /// In a transaction of the account that has locked its people and the account. Returns the time, and the number of
  /// keys that this revokes.
  private func delete(
    _ id: UUID, by caller: Caller, on transaction: PostgresConnection
  ) async throws -> (deletedAt: Date, keyCount: Int) {
    let keyCount = try await keys.revokeAll(of: id, by: caller, nil, on: transaction)
    let deleted = try await transaction.pipeline(
      InsertAuditEvent.onAccount(id, .accountDeleted, by: caller),
      outbox.notice(.accountDeleted, of: id, subjectID: id, Mail.Parameters(actorName: caller.actor.name)),
      then: DeleteCurrentAccount())
    return (try DeleteCurrentAccount.one(of: deleted), keyCount)
  }
}
