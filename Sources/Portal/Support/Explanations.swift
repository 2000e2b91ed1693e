package import Foundation
package import Postgres

/// Explains to staff why a key is or was good for a request, or not. Nothing is taken or counted.
package struct Explanations: Sendable {
  /// The key that a question is about.
  package enum Subject: Sendable, Equatable {
    case id(UUID)
    /// A text that contains the key, see ``KeyFormat/key(pasted:)``.
    case pasted(String)
  }

  /// How far the clock of somebody who asks about this moment may be ahead.
  private static let aheadSecondsMax = 1.0

  let pool: PostgresPool
  let format: KeyFormat
  /// Nil where no requests are counted, as at the command line.
  let limiter: RateLimiter?
  package let clock: DatabaseClock

  package init(
    pool: PostgresPool, format: KeyFormat, limiter: RateLimiter? = nil, clock: DatabaseClock = DatabaseClock()
  ) {
    self.pool = pool
    self.format = format
    self.limiter = limiter
    self.clock = clock
  }

  /// Judges a request with the settings of a moment in the past, or with those of now. The hash of the request does not
  /// matter. Throws `.notAKey`, and `.invalid` for a moment in the future or before the settings are kept.
  package func explain(
    _ subject: Subject, _ request: VerificationRequest, at past: Date? = nil
  ) async throws -> Explanation {
    let now = try await clock.now(on: pool)
    if let past, past.timeIntervalSince(now.date) > Self.aheadSecondsMax {
      throw PortalError.invalid(.at, "must not be in the future")
    }
    let id = try await id(of: subject)
    guard let past else {
      let key = try await id.flatMap { try await present($0) }
      let limits = key.flatMap { limiter?.peek($0.key.limits, cost: request.cost, at: now.milliseconds) }
      return Explanation(key, request, at: now.expiryDate, limits: limits)
    }
    guard let found = try await pool.query(FindSettingsAt(id: id, at: past), as: .staff).first,
      let keptSince = found.keptSince, past >= keptSince
    else { throw PortalError.invalid(.at, "is before the time since when settings are kept") }
    return Explanation(found.key, request, at: past)
  }

  /// Nil if there is no such key. A key of a deleted account is not found.
  private func id(of subject: Subject) async throws -> UUID? {
    let statement: FindListedKeys
    switch subject {
    case .id(let id): statement = FindListedKeys(ids: [id], hashes: [])
    case .pasted(let text):
      guard let secret = format.key(pasted: text) else { throw PortalError.notAKey }
      statement = FindListedKeys(ids: [], hashes: [secret.hash])
    }
    return try await pool.query(statement, as: .staff).first?.id
  }

  /// The key as verification reads it, from PostgreSQL and not from a cache.
  private func present(_ id: UUID) async throws -> JudgedKey? {
    guard let found = try await pool.query(FindVerifiableKeysByID(ids: [id]), as: .gateway).first?.found,
      let states = try await pool.query(FindKeyStates(id: id), as: .staff).first
    else { return nil }
    return JudgedKey(key: try found.key.get(), states)
  }
}

extension Optional {
  /// As the function of the standard library, for one that waits.
  fileprivate func flatMap<Value>(_ transform: (Wrapped) async throws -> Value?) async rethrows -> Value? {
    guard let self else { return nil }
    return try await transform(self)
  }
}
