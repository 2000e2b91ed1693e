package import Foundation
package import Postgres

/// The result of erasing a person.
package struct PersonErasure: Sendable, Equatable {
  package var id: UUID
  /// When the person was deleted. None of their credentials has worked since.
  package var erasedAt: Date
  /// The number of audit events that this call redacted.
  package var redactedEventCount: Int
  /// Whether nothing is left to erase; otherwise the job `erasures` continues.
  package var isFinished: Bool
}

/// Erases customers from all stored data. This cannot be undone.
///
/// It has two parts. The first is one transaction that deletes sessions, memberships, factors, tokens, mails and the
/// person, so that nobody can log in as them and their address is free. The second removes them from data that is kept
/// for good, the trails and the names of keys' creators, in steps of one transaction each. If it is interrupted,
/// repeating it continues with what is left.
package struct PersonErasures: Sendable {
  /// The number of events that one transaction reads while it holds the lock on the head of their trail.
  static let stepEventCount = 5_000
  /// The most keys that one transaction changes.
  static let stepKeyCount = 1_000
  /// The replacement for a name or an address in the trails.
  static let name = "erased person"

  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Erases the person of `session`, at their own request. Throws `.lastOwner` while an account that has other members
  /// or keys would be left without an owner, and `.invalidCredentials` if `proof` is of another person or password.
  package func erase(
    _ proof: CredentialChanges.Proof, of session: MemberSession
  ) async throws -> PersonErasure {
    // The trail records the person's id, without their name.
    let caller = Caller(actor: MemberSession.actor(id: session.user.id, name: Self.name))
    return try await erase(session.user.id, by: caller, nil) { try await $0.check(proof, of: session) }
  }

  /// Erases a person, or continues an erasure that has begun. Throws `.notFound`, and `.lastOwner` as above.
  package func erase(
    _ id: UUID, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> PersonErasure {
    try await erase(id, by: caller, reason) { _ in }
  }

  private func erase(
    _ id: UUID, by caller: Caller, _ reason: SupportReason?, _ prove: (PostgresConnection) async throws -> Void
  ) async throws -> PersonErasure {
    var erasure = PersonErasure(
      id: id, erasedAt: try await begin(id, by: caller, reason, prove), redactedEventCount: 0, isFinished: false)
    do {
      erasure.redactedEventCount = try await finish(id, by: caller)
      erasure.isFinished = true
    } catch is PostgresError {
      // The person is deleted, so they have no session to repeat the request with. The job does the rest.
    }
    return erasure
  }

  /// Does the first part, unless it was done before. Returns when it was done.
  private func begin(
    _ id: UUID, by caller: Caller, _ reason: SupportReason?, _ prove: (PostgresConnection) async throws -> Void
  ) async throws -> Date {
    do {
      return try await pool.withTransaction(as: .identity) { transaction in
        try await prove(transaction)
        let told = try await transaction.query(BeginErasure(userID: id))
        guard let erasedAt = try await transaction.query(FindErasure(userID: id)).first else {
          throw PortalError.notFound
        }
        for event in told {
          try await transaction.record(event, by: caller, reason)
        }
        return erasedAt
      }
    } catch let error as PostgresError where error.violates("memberships_last_owner") {
      throw PortalError.lastOwner
    }
  }

  /// Does the second part. Returns the number of redacted events.
  func finish(_ id: UUID, by caller: Caller) async throws -> Int {
    var count = 0
    for trail in try await pool.query(GoOnErasing(userID: id), as: .identity) {
      if let accountID = trail.accountID {
        let step = EraseKeyMaker(userID: id, account: accountID, count: Self.stepKeyCount)
        while let touched = try await pool.query(step, as: .identity).first, touched > 0 {}
      }
      var after: Int? = 0
      while let start = after {
        let step = try await redact(id, in: trail, after: start, by: caller)
        count += step.eventCount
        after = step.last
      }
    }
    _ = try await pool.query(FinishErasure(userID: id), as: .identity)
    return count
  }

  private func redact(
    _ id: UUID, in trail: AuditTrail, after: Int, by caller: Caller
  ) async throws -> RedactAuditEvents.Row {
    try await pool.withTransaction(as: .identity) { transaction in
      let steps = try await transaction.query(
        RedactAuditEvents(userID: id, trail: trail, after: after, count: Self.stepEventCount))
      guard let step = steps.first else { return RedactAuditEvents.Row(last: nil, eventCount: 0, digest: nil) }
      if let digest = step.digest {
        try await transaction.execute(
          InsertAuditEvent.onPerson(
            id, MemberSession.personKind, in: trail.accountID, .auditRedacted, by: caller,
            detail: AuditDetail(AuditRedactionDigest.summary(step.eventCount, digest))))
      }
      return step
    }
  }
}

extension PostgresConnection {
  /// Records an event of an erasure in the trail of its account.
  fileprivate nonisolated func record(
    _ event: BeginErasure.Row, by caller: Caller, _ reason: SupportReason?
  ) async throws {
    _ = try await pipeline(
      SetLocally(event.accountID.map { .account($0) } ?? .identity),
      InsertAuditEvent(
        accountID: event.accountID, caller: caller, action: event.action, targetKind: event.targetKind,
        targetID: event.targetID, reason: reason, detail: event.detail))
  }
}

extension JobRun {
  /// Finishes erasures that have begun. Returns the number of people.
  func finishErasures() async throws -> Int {
    var count = 0
    for id in try await pool.query(ListUnfinishedErasures(count: 100), as: .identity) {
      _ = try await PersonErasures(pool: pool).finish(id, by: caller)
      count += 1
    }
    return count
  }
}
