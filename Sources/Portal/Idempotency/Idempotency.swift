package import Postgres

/// Carries a request out once, whichever verb it is for. The answer is stored in the verb's transaction, so there is
/// either a change and its answer, or neither.
///
/// The status is not stored: it is that of the route, and another route makes another request.
package struct Idempotency: Sendable {
  let pool: PostgresPool
  let outbox: Outbox

  package init(pool: PostgresPool, outbox: Outbox = Outbox(isOpen: false)) {
    self.pool = pool
    self.outbox = outbox
  }

  /// What `answer` gives the first time; for a repeat, the same again, without another call. Throws
  /// `.idempotencyConflict` if it was another request. What `answer` throws is not stored.
  ///
  /// The account's row stays locked until the commit, so a request that comes while its twin is under way waits for
  /// the answer.
  package func once(
    _ request: IdempotentRequest, _ answer: (PostgresConnection) async throws -> FirstAnswer
  ) async throws -> FirstAnswer {
    let answer = try await pool.withTransaction(as: .account(request.accountID)) { transaction in
      let (_, answers) = try await transaction.pipeline(
        LockAccount(accountID: request.accountID), FindFirstAnswer(request: request))
      if let found = answers.first { return try found.answer(to: request) }
      let answer = try await answer(transaction)
      let sealedSecret = try answer.secret.map { try request.seal($0, of: answer.newID) }
      try await transaction.execute(InsertFirstAnswer(request: request, answer: answer, sealedSecret: sealedSecret))
      return answer
    }
    outbox.ring()
    return answer
  }

  /// What a request was answered before, if it was.
  package func firstAnswer(to request: IdempotentRequest) async throws -> FirstAnswer? {
    try await pool.query(FindFirstAnswer(request: request), as: .account(request.accountID)).first?.answer(to: request)
  }
}
