package import Foundation
package import Postgres

/// Executes a request once, whichever operation it is for. The answer is stored in the operation's transaction, so
/// either both the change and its answer are committed, or neither is.
///
/// The status code is not stored. It is determined by the route, and the same key on another route is a different
/// request.
package struct Idempotency: Sendable {
  let pool: PostgresPool
  let outbox: Outbox

  package init(pool: PostgresPool, outbox: Outbox = Outbox(isOpen: false)) {
    self.pool = pool
    self.outbox = outbox
  }

  /// Returns what `answer` returns for the first request, and the same for a repeat, without calling `answer` again.
  /// Throws `.idempotencyConflict` if the key was used for a different request. An error from `answer` is not stored.
  /// Without a request, `answer` is called in a transaction of the account, and nothing is stored.
  ///
  /// The account's row and the request stay locked until the commit, so a repeat that arrives while the first request
  /// is in progress waits for its answer.
  package func once(
    _ request: IdempotentRequest?, of accountID: UUID, _ answer: (PostgresConnection) async throws -> FirstAnswer
  ) async throws -> FirstAnswer {
    let answer = try await pool.withTransaction(as: .account(accountID)) { transaction in
      guard let request else { return try await answer(transaction) }
      // The request is locked as well, because a house account is not.
      let answers = try await transaction.pipeline(
        LockAccount(accountID: accountID), LockAccountRequest(request: request),
        then: FindFirstAnswer(request: request))
      if let found = answers.first { return try found.answer(to: request) }
      let answer = try await answer(transaction)
      let sealedSecret = try answer.secret.map { try request.seal($0, of: answer.newID) }
      try await transaction.execute(InsertFirstAnswer(request: request, answer: answer, sealedSecret: sealedSecret))
      return answer
    }
    outbox.ring()
    return answer
  }

  /// As ``once(_:of:_:)``, for a request that creates the account `accountID`, in a transaction of that account. A
  /// repeat names another account and gets the answer with the one that was created first. It waits while the first
  /// request is in progress. Once that account is deleted, a repeat creates another.
  package func once(
    _ request: IdempotentRequest?, creating accountID: UUID,
    _ answer: (PostgresConnection) async throws -> FirstAnswer
  ) async throws -> FirstAnswer {
    guard let request else { return try await pool.withTransaction(as: .account(accountID), answer) }
    return try await pool.withTransaction(as: .staff) { transaction in
      let (_, answers, _) = try await transaction.pipeline(
        LockAccountRequest(request: request), FindAccountRequest(request: request), SetLocally(.account(accountID)))
      if let found = answers.first { return try found.answer(to: request) }
      let answer = try await answer(transaction)
      try await transaction.execute(
        InsertAccountRequest(accountID: accountID, request: request, answer: try answer.objects(atLeast: 1)[0]))
      return answer
    }
  }

  /// The stored answer, or nil if there is none. Throws `.idempotencyConflict` if the key was used for a different
  /// request.
  package func firstAnswer(to request: IdempotentRequest) async throws -> FirstAnswer? {
    try await pool.query(FindFirstAnswer(request: request), as: .account(request.accountID)).first?.answer(to: request)
  }
}
