package import Foundation
package import Postgres

/// What is left of an account that its owner has deleted.
package struct DeletedAccount: Sendable {
  package var id: UUID
  package var deletedAt: Date
  package var revokedKeyCount: Int
  package var propagation: Propagation
}

/// Deleting accounts. There is no way back: the keys are revoked and everybody is logged out at once, nobody finds the
/// account any more, and people who are in no other account are forgotten, so that their addresses can sign up again.
/// Usage and the audit trail stay for the operator.
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

  /// Deletes the account of `session`; owners and admins are told by mail. Throws `.forbidden` for who is not its
  /// owner.
  package func delete(
    _ proof: CredentialChanges.Proof, of session: MemberSession, ip: String?
  ) async throws -> DeletedAccount {
    let (clock, id) = (ContinuousClock.now, session.account.id)
    let (deletedAt, keyCount) = try await pool.withTransaction(as: .identity) { transaction in
      // Of two accounts that end at the same time the second sees, of each member, that the first is gone.
      _ = try await transaction.query(LockMembers(accountID: id))
      try await transaction.check(proof, of: session)
      // The role may be another since the session was looked up, and the account deleted by another owner.
      let (_, accounts, members) = try await transaction.pipeline(
        SetLocally(.account(id)), LockAccount(accountID: id), FindMember(accountID: id, userID: session.user.id))
      guard !accounts.isEmpty, let member = members.first else { throw PortalError.notFound }
      guard member.role.permits(.closeAccount) else {
        throw PortalError.forbidden(reason: "Only an owner may delete the account.")
      }
      let caller = session.caller(ip: ip)
      let keyCount = try await keys.revokeAll(of: id, by: caller, nil, on: transaction)
      let (_, _, deleted) = try await transaction.pipeline(
        InsertAuditEvent.onAccount(id, .accountDeleted, by: caller),
        outbox.notice(
          .accountDeleted, of: id, subjectID: id, Mail.Parameters(actorName: session.user.email)),
        DeleteCurrentAccount())
      return (deleted[0], keyCount)
    }
    outbox.ring()
    return DeletedAccount(
      id: id, deletedAt: deletedAt, revokedKeyCount: keyCount, propagation: await propagations.wait(since: clock))
  }
}
