import Foundation
package import Postgres

/// Slows down guessing, across all instances; ``Attempt`` explains how, and why.
package struct Attempts: Sendable {
  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// An attempt that was counted. Unless it is settled, it remains counted as failed.
  package struct Admission: Sendable {
    let attempt: Attempt
    /// The shared buckets that it was counted in.
    let counted: [Attempt.Bucket]
  }

  /// Counts an attempt that is about to be made. Throws `.tooManyRequests` when it has to wait, and then it is not
  /// counted.
  @discardableResult
  package func admit(_ attempt: Attempt) async throws -> Admission {
    guard let answer = try await pool.query(AdmitAttempt(attempt: attempt), as: .identity).first else {
      throw PortalError.unavailable(reason: "admit_attempt returned no row")
    }
    if answer.waitSeconds > 0 { throw PortalError.tooManyRequests(retryAfterSeconds: answer.waitSeconds) }
    return Admission(
      attempt: attempt, counted: attempt.shared.filter { !answer.isKnown || $0.id != attempt.waived })
  }

  /// Takes back an attempt that neither failed nor succeeded.
  func takeBack(_ admission: Admission) async throws {
    try await pool.execute(SettleAttempts(takingBack: admission), as: .identity)
  }

  /// Clears the attempt's own bucket and takes the attempt back from the shared ones.
  func succeeded(_ admission: Admission) async throws {
    try await pool.execute(SettleAttempts(succeeded: [admission]), as: .identity)
  }

  /// Ends the wait for a person's second factor after their password has changed, because the old password no longer
  /// leads there. Only one attempt is taken back, so this cannot be used to continue guessing.
  func endWait(forSecondFactorOf personID: UUID) async throws {
    try await takeBack(Admission(attempt: Attempt(.secondFactor, of: personID.text, from: nil), counted: []))
  }

  /// Clears the buckets as if `attempt` had succeeded, after an identity was proven in another way: a person who resets
  /// the password by mail can log in from the same address immediately, even during an attack.
  package func proved(_ attempt: Attempt) async throws {
    try await succeeded(Admission(attempt: attempt, counted: []))
  }
}
