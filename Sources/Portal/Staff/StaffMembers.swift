package import Foundation
package import Postgres

/// The members of staff, managed by admins and the command line. Each change ends all sessions of the changed member,
/// in the same transaction. Every change locks all active admins and then checks again that the caller is one of them,
/// so at least one admin remains even if several are removed concurrently.
package struct StaffMembers: Sendable {
  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Newest members first.
  package func list(page: PageRequest) async throws -> Page<StaffDetails> {
    let found = try await pool.query(ListStaff(before: page.before, count: page.limit + 1), as: .identity)
    return Page(found, limit: page.limit, id: \.member.id)
  }

  /// Throws `.notFound`.
  package func find(_ id: UUID) async throws -> StaffDetails {
    guard let found = try await pool.query(FindStaff(id: id), as: .identity).first else { throw PortalError.notFound }
    return found
  }

  /// Throws `.notFound`.
  package func find(_ email: EmailAddress) async throws -> StaffDetails {
    guard let found = try await pool.query(FindStaffByEmail(email: email), as: .identity).first else {
      throw PortalError.notFound
    }
    return found
  }

  /// Changes the role, or disables or enables a member. If nothing changes, nothing is written and no session ends. The
  /// pending requests of a disabled member are withdrawn. Throws `.notFound`, `.preconditionFailed` if the revision is
  /// not in `revisions`, `.lastAdmin`, and `.unauthenticated` if the caller is no longer an admin.
  package func update(
    _ id: UUID, _ changes: StaffChanges, ifRevision revisions: Set<Int>? = nil, by caller: Caller
  ) async throws -> StaffDetails {
    try await change(id, by: caller) { old, all, transaction in
      if let revisions, !revisions.contains(old.revision) { throw PortalError.preconditionFailed }
      let role = changes.role ?? old.member.role
      let isEnabled = changes.isEnabled ?? old.isEnabled
      if role == old.member.role, isEnabled == old.isEnabled { return old }
      if old.isActiveAdmin { try Self.check(role, isEnabled, id, among: all) }
      let changed = try await transaction.pipeline(
        UpdateStaff(id: id, role: role, isEnabled: isEnabled), DeleteSessions<StaffSession>(personID: id),
        then: FindStaff(id: id))
      var events: [InsertAuditEvent] = []
      if role != old.member.role {
        let detail = AuditDetail("\(old.member.email): from \(old.member.role.rawValue) to \(role.rawValue)")
        events.append(.inSystem(.staffRoleChanged, StaffSession.personKind, id, by: caller, detail: detail))
      }
      if isEnabled != old.isEnabled {
        events.append(
          .inSystem(
            isEnabled ? .staffEnabled : .staffDisabled, StaffSession.personKind, id, by: caller,
            detail: old.auditDetail))
      }
      try await Self.record(events, withdrawing: isEnabled ? nil : id, by: caller, transaction)
      return try FindStaff.one(of: changed)
    }
  }

  /// Removes a member with their sessions and second factor, and withdraws their pending requests. Their name stays in
  /// the trails, and the service tokens that they created remain valid. Throws the same errors as
  /// ``update(_:_:ifRevision:by:)``.
  package func remove(_ id: UUID, by caller: Caller) async throws {
    try await change(id, by: caller) { old, all, transaction in
      if old.isActiveAdmin { try all.checkActiveAdmin(otherThan: id) }
      try await transaction.execute(DeleteStaff(id: id))
      try await Self.record(
        [.inSystem(.staffRemoved, StaffSession.personKind, id, by: caller, detail: old.auditDetail)], withdrawing: id,
        by: caller, transaction)
    }
  }

  /// Deletes the second factor of a member who has lost it, even if it is not confirmed yet. Login then requires only
  /// the password, until they set up another. Throws `.notFound`, also if there is no second factor, and `.forbidden`
  /// for the caller's own, which they disable with password and code.
  package func resetSecondFactor(_ id: UUID, by caller: Caller) async throws {
    try await change(id, by: caller) { old, _, transaction in
      guard caller.actor.id != id else {
        throw PortalError.forbidden(
          reason: "Disable your own second factor at /v1/support/me/second-factor, with password and code.")
      }
      guard try await transaction.execute(DeleteSecondFactor(personID: id)) > 0 else { throw PortalError.notFound }
      // Guesses at the old second factor do not delay the use of the new one.
      let guesses = Attempts.Admission(attempt: Attempt(.secondFactor, of: id.text, from: nil), counted: [])
      _ = try await transaction.pipeline(
        DeleteSessions<StaffSession>(personID: id), SettleAttempts(succeeded: [guesses]))
      try await Self.record(
        [.inSystem(.staffSecondFactorReset, StaffSession.personKind, id, by: caller, detail: old.auditDetail)],
        withdrawing: nil, by: caller, transaction)
    }
  }

  /// Calls `body` with the member and with a list of that member and all active admins, all of them locked.
  private func change<Value>(
    _ id: UUID, by caller: Caller,
    _ body: (StaffDetails, [StaffDetails], PostgresConnection) async throws -> Value
  ) async throws -> Value {
    try await pool.withTransaction(as: .identity) { transaction in
      let found = try await transaction.query(LockStaffAndAdmins(id: id))
      if case .staff(let actorID, _) = caller.actor {
        guard found.contains(where: { $0.member.id == actorID && $0.isActiveAdmin }) else {
          throw PortalError.unauthenticated
        }
      }
      guard let member = found.first(where: { $0.member.id == id }) else { throw PortalError.notFound }
      return try await body(member, found, transaction)
    }
  }

  private static func check(
    _ role: StaffMember.Role, _ isEnabled: Bool, _ id: UUID, among all: [StaffDetails]
  ) throws(PortalError) {
    if role != .admin || !isEnabled { try all.checkActiveAdmin(otherThan: id) }
  }

  /// Records the events, and withdraws the unconfirmed requests of `requesterID`, because a requester must be on staff
  /// to answer for a request. Accounts are locked before any trail is written. Must be the last step of the
  /// transaction, because it leaves the transaction's settings at the last account.
  private static func record(
    _ events: [InsertAuditEvent], withdrawing requesterID: UUID?, by caller: Caller, _ transaction: PostgresConnection
  ) async throws {
    var withdrawn: [StaffConfirmation] = []
    if let requesterID {
      let waiting = try await transaction.pipeline(
        SetLocally(.staff), then: ListConfirmationsOf(requesterID: requesterID))
      for confirmation in waiting {
        guard let accountID = confirmation.accountID else {
          withdrawn += try await transaction.query(TakeListConfirmation(id: confirmation.id))
          continue
        }
        let taken = try await transaction.pipeline(
          SetLocally(.staff(in: accountID)), LockAccount(accountID: accountID),
          then: TakeConfirmation(accountID: accountID, id: confirmation.id))
        withdrawn += taken
      }
    }
    let lists = withdrawn.filter { $0.accountID == nil }
    try await transaction.record(
      events
        + lists.map { .onConfirmation($0.id, of: nil, .revocationWithdrawn, by: caller, $0.reason) })
    for confirmation in withdrawn where confirmation.accountID != nil {
      _ = try await transaction.pipeline(
        SetLocally(confirmation.settings),
        InsertAuditEvent.onConfirmation(
          confirmation.id, of: confirmation.accountID, .revocationWithdrawn, by: caller, confirmation.reason))
    }
  }
}
