package import Foundation
package import Postgres

/// What came of taking somebody out.
package struct PersonErasure: Sendable, Equatable {
  package var id: UUID
  /// When they ceased to be there: nothing of theirs opens anything from then on.
  package var erasedAt: Date
  /// Events of the trails out of which they were taken by this call.
  package var redactedEventCount: Int
  /// Whether nothing is left; otherwise the job `erasures` goes on.
  package var isFinished: Bool
}

/// Taking customers out of all that is kept. There is no way back.
///
/// It has two parts. The first is one transaction: sessions, memberships, factors, tokens, mails and the person go, so
/// that nobody logs in as them and their address is free. The second takes them out of what is kept for good, the
/// trails and the names of who made a key, in steps that are a transaction each. Whatever interrupts it, doing it again
/// goes on with what is left.
package struct PersonErasures: Sendable {
  /// Events that one transaction looks through, while it holds the head of their trail.
  static let stepEventCount = 5_000
  /// Keys that one transaction changes.
  static let stepKeyCount = 1_000
  /// What stands in the trails in place of a name or an address.
  static let name = "erased person"

  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// The person of `session`, by themselves. Throws `.lastOwner` while an account that has other members or keys would
  /// be left without an owner.
  package func erase(
    _ proof: CredentialChanges.Proof, of session: MemberSession
  ) async throws -> PersonErasure {
    // The trail tells who it was, and does not name them.
    let caller = Caller(actor: MemberSession.actor(id: session.user.id, name: Self.name))
    return try await erase(session.user.id, by: caller, nil) { try await $0.check(proof, of: session) }
  }

  /// Anybody, or whose erasure has begun: that goes on. Throws `.notFound`, and `.lastOwner` as above.
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
      // They are gone already, and whoever asked has no session to ask again with. The job does the rest.
    }
    return erasure
  }

  /// The first part; when it was done, also if that is a while ago.
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
          try await transaction.tell(event, by: caller, reason)
        }
        return erasedAt
      }
    } catch let error as PostgresError where error.violates("memberships_last_owner") {
      throw PortalError.lastOwner
    }
  }

  /// The second part; how many events it has redacted.
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
  /// Writes what the end of a person comes to, in the account that it is about.
  fileprivate nonisolated func tell(
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
  /// Finishes what was begun; how many people.
  func finishErasures() async throws -> Int {
    var count = 0
    for id in try await pool.query(ListUnfinishedErasures(count: 100), as: .identity) {
      _ = try await PersonErasures(pool: pool).finish(id, by: caller)
      count += 1
    }
    return count
  }
}
