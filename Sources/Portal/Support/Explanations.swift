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
  /// matter. Throws `.notAKey`, and `.invalid` for a moment in the future or before the settings are kept; and
  /// ``UnknownLimits``, as verification does.
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
      try key.map { try check($0.key, request) }
      let limits = key.flatMap { judged in
        let charges = judged.key.charges(of: request) ?? judged.key.limits.charges(cost: request.cost)
        return limiter.map {
          charges.all.isEmpty ? .unlimited : $0.peek(charges, withCosts: true, at: now.milliseconds)
        }
      }
      let remaining = try await key.flatMap { try await pool.remaining(of: $0.key) }
      return Explanation(
        key, request, at: now.expiryDate, limits: limits, credits: remaining.map { .remaining($0) } ?? .unlimited)
    }
    guard let found = try await pool.query(FindSettingsAt(id: id, at: past), as: .staff).first,
      let keptSince = found.keptSince, past >= keptSince
    else { throw PortalError.invalid(.at, "is before the time since when settings are kept") }
    try found.key.map { try check($0.key, request) }
    return Explanation(found.key, request, at: past)
  }

  /// A gateway gets no verdict on a request that names limits which the key does not have.
  private func check(_ key: VerifiableKey, _ request: VerificationRequest) throws {
    guard key.isFound(by: request) else { return }
    let unknown = key.limits.unknown(request.limits)
    if !unknown.isEmpty { throw UnknownLimits(places: unknown) }
  }

  /// Nil if there is no such key. A key of a deleted account is not found.
  private func id(of subject: Subject) async throws -> UUID? {
    switch subject {
    case .id(let id): return try await pool.query(FindListedKeys(ids: [id], hashes: []), as: .staff).first?.id
    case .pasted(let text):
      guard let reference = KeyList.Reference(text, format), let hash = reference.hash else {
        throw PortalError.notAKey
      }
      let statement = FindListedKeys(ids: [], hashes: [hash], imports: reference.imports)
      let found = try await pool.query(statement, as: .staff).first?.id
      if found == nil, !reference.isOfThisPortal { throw PortalError.notAKey }
      return found
    }
  }

  /// The key as verification reads it, from PostgreSQL and not from a cache.
  private func present(_ id: UUID) async throws -> JudgedKey? {
    guard let found = try await pool.query(FindVerifiableKeysByID(ids: [id]), as: .gateway).first?.found,
      let states = try await pool.query(FindKeyStates(id: id), as: .staff).first
    else { return nil }
    var key = try found.key.get()
    if let grants = key.grants, let apiID = grants.apiID, grants.endpointLimitsDigest != nil {
      let limits = try await pool.query(FindEndpointLimits(apiIDs: [apiID]), as: .gateway).first
      _ = try limits?.limits.get()
      key.grants = KeyGrants(grants, limits)
    }
    return JudgedKey(key: key, states)
  }
}

extension Optional {
  /// As the function of the standard library, for one that waits.
  fileprivate func flatMap<Value>(_ transform: (Wrapped) async throws -> Value?) async rethrows -> Value? {
    guard let self else { return nil }
    return try await transform(self)
  }
}
