import Foundation
import Postgres

/// Revoking lists of keys of whatever accounts.
extension SupportDesk {
  /// Revokes the keys of a list, all of them or none. If more than ``StaffConfirmation/soloKeyCountMax`` are not
  /// revoked yet, none is revoked: the list waits for another member of staff. The result has a line for each text, in
  /// the order of the list.
  package func revokeKeys(
    listed texts: [String], by caller: Caller, _ reason: SupportReason
  ) async throws -> (lines: [KeyList.Line], revocation: KeysRevocation) {
    let start = ContinuousClock.now
    let references = texts.map { KeyList.Reference($0, keys.format) }
    let found = try await pool.query(
      FindListedKeys(
        ids: references.compactMap { $0?.id }, hashes: references.compactMap { $0?.hash },
        imports: references.flatMap { $0?.imports ?? [] }), as: .staff)
    var lines = KeyList.lines(references, among: found)
    let wanted = lines.compactMap { $0.outcome == .waiting ? $0.keyID : nil }.sorted { $0.text < $1.text }
    guard wanted.count <= StaffConfirmation.soloKeyCountMax else {
      return (lines, .waits(try await request(wanted, by: caller, reason)))
    }
    let revoked = try await pool.withTransaction(as: .staff) { transaction in
      try await revoke(found.filter { wanted.contains($0.id) }, by: caller, reason, on: transaction)
    }
    for index in lines.indices {
      guard let id = lines[index].keyID, let outcome = revoked[id] else { continue }
      lines[index].revokedAt = outcome.revokedAt
      // Somebody else may have revoked it meanwhile.
      if lines[index].outcome == .waiting { lines[index].outcome = outcome.isNew ? .revoked : .alreadyRevoked }
    }
    outbox.ring()
    return (
      lines,
      .done(keyCount: revoked.values.count(where: \.isNew), propagation: await propagations.wait(since: start))
    )
  }

  /// A request that another member of staff has to confirm. The same request again is the one that waits already.
  private func request(
    _ keyIDs: [UUID], by caller: Caller, _ reason: SupportReason
  ) async throws -> StaffConfirmation {
    try await pool.withTransaction(as: .staff) { transaction in
      let find = FindListConfirmation(requesterID: caller.actor.id, keyIDs: keyIDs)
      if let waiting = try await transaction.query(find).first { return waiting }
      let id = UUID.version7()
      let made = try await transaction.pipeline(
        InsertConfirmation(
          id: id, accountID: nil, keyIDs: keyIDs, keyCount: keyIDs.count, caller: caller, reason: reason),
        InsertAuditEvent.onConfirmation(
          id, of: nil, .revocationRequested, by: caller, reason, detail: AuditDetail("\(keyIDs.count) listed keys")),
        then: find)
      return try FindListConfirmation.one(of: made)
    }
  }

  /// As ``confirm(_:by:)``, for a list of keys.
  func confirmList(_ id: UUID, by caller: Caller) async throws -> (keyCount: Int, propagation: Propagation) {
    let start = ContinuousClock.now
    let count = try await pool.withTransaction(as: .staff) { transaction in
      guard let confirmation = try await transaction.query(TakeListConfirmation(id: id)).first else {
        throw PortalError.notFound
      }
      try confirmation.checkConfirmation(by: caller)
      let found = try await transaction.query(FindListedKeys(ids: confirmation.keyIDs ?? [], hashes: []))
      let revoked = try await revoke(
        found, by: caller, confirmation.reason, requesterName: confirmation.requesterName, on: transaction)
      let count = revoked.values.count(where: \.isNew)
      try await transaction.execute(
        InsertAuditEvent.onConfirmation(
          id, of: nil, .revocationConfirmed, by: caller, confirmation.reason,
          detail: AuditDetail("\(count) listed keys")))
      return count
    }
    outbox.ring()
    return (count, await propagations.wait(since: start))
  }

  /// As ``withdraw(_:by:)``, for a list of keys.
  func withdrawList(_ id: UUID, by caller: Caller) async throws {
    try await pool.withTransaction(as: .staff) { transaction in
      guard let confirmation = try await transaction.query(TakeListConfirmation(id: id)).first else {
        throw PortalError.notFound
      }
      try await transaction.execute(
        InsertAuditEvent.onConfirmation(id, of: nil, .revocationWithdrawn, by: caller, confirmation.reason))
    }
  }

  /// Revokes keys of many accounts in one transaction, and returns when each was revoked, and whether by this. All
  /// accounts and keys are locked, in the order of the accounts' ids, before any trail is written. It leaves the
  /// transaction's settings at the last account.
  private func revoke(
    _ found: [KeyList.Found], by caller: Caller, _ reason: SupportReason, requesterName: String? = nil,
    on transaction: PostgresConnection
  ) async throws -> [UUID: (revokedAt: Date?, isNew: Bool)] {
    let accounts = Dictionary(grouping: found, by: \.accountID).sorted { $0.key.text < $1.key.text }
    var locked: [(accountID: UUID, keys: [LockListedKeys.Row])] = []
    for (accountID, keys) in accounts {
      let rows = try await transaction.pipeline(
        SetLocally(.staff(in: accountID)), LockAccount(accountID: accountID),
        then: LockListedKeys(accountID: accountID, ids: keys.map(\.id)))
      locked.append((accountID, rows))
    }
    var outcomes: [UUID: (revokedAt: Date?, isNew: Bool)] = [:]
    for (accountID, keys) in locked {
      for key in keys where key.revokedAt != nil { outcomes[key.id] = (key.revokedAt, false) }
      let wanted = keys.filter { $0.revokedAt == nil }
      guard let first = wanted.first else { continue }
      let ids = wanted.map(\.id)
      var parameters = Mail.Parameters(
        actorName: caller.actor.name, requesterName: requesterName, reason: reason.text, ticket: reason.ticket)
      if wanted.count == 1 {
        (parameters.keyName, parameters.keyStart) = (first.name, first.start)
      } else {
        (parameters.keyCount, parameters.isPartial) = (wanted.count, true)
      }
      let (_, revoked, _, _) = try await transaction.pipeline(
        SetLocally(.staff(in: accountID)), RevokeListedKeys(accountID: accountID, ids: ids),
        InsertKeyAuditEvents(accountID: accountID, keyIDs: ids, action: .keyRevoked, caller: caller, reason: reason),
        outbox.notice(
          wanted.count == 1 ? .keyRevoked : .keysRevoked, of: accountID,
          subjectID: wanted.count == 1 ? first.id : accountID, parameters))
      for (id, revokedAt) in revoked { outcomes[id] = (revokedAt, true) }
    }
    return outcomes
  }
}
