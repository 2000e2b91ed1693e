import Foundation
package import Postgres

/// "Is this key good?", answered from memory wherever that is allowed: no statement, no wait, no parsing on a hit.
package struct Verifier: Sendable {
  package let keys: ReadThroughCache<VerifiableKey>
  package let format: KeyFormat
  let limiter: RateLimiter
  let limits: RateLimits
  let usage: UsageRecorder
  let observer: Observer

  package init(
    pool: PostgresPool, format: KeyFormat, cacheLimits: CoherentCacheState<VerifiableKey>.Limits,
    limiter: RateLimiter, limits: RateLimits, usage: UsageRecorder, observer: Observer
  ) {
    self.format = format
    self.limiter = limiter
    self.limits = limits
    self.usage = usage
    self.observer = observer
    keys = ReadThroughCache(cacheLimits, executor: pool.executor, observer: observer) { hashes in
      let rows = try await pool.query(FindVerifiableKeys(hashes: hashes))
      return try SecretsRead(rows.map { ($0.position, $0.found.map { ($0.hash, $0.key) }) })
    }
  }

  /// Judges one request. Throws `.unavailable` (or what the database threw) when it has to be asked and cannot be: the key
  /// is not in the cache, the cache is past its lease, or a limit needs it.
  package func verify(_ request: VerificationRequest) async throws -> Verdict {
    let key: VerifiableKey? = if let hash = request.hash { try await keys.value(of: hash) } else { nil }
    return try await judge(key, request)
  }

  /// Judges many requests, in their order; throws as ``verify(_:)-(VerificationRequest)``. Where that is because a key
  /// cannot be looked up, none was counted.
  package func verify(_ requests: [VerificationRequest]) async throws -> [Verdict] {
    var found = try await keys.values(of: requests.compactMap(\.hash))[...]
    var verdicts: [Verdict] = []
    for request in requests {
      verdicts.append(try await judge(request.hash == nil ? nil : found.removeFirst(), request))
    }
    return verdicts
  }

  private func judge(_ key: VerifiableKey?, _ request: VerificationRequest) async throws -> Verdict {
    guard let key else { return notFound() }
    let now = Date()
    if let refusal = key.refusal(of: request, at: now) { return refused(key, refusal, request, at: now) }
    if let decision = limiter.admit(key, cost: request.cost, at: now.milliseconds) {
      return decided(key, decision, request, at: now)
    }
    return decided(key, try await limits.admit(key, cost: request.cost), request, at: now)
  }

  // MARK: The ends of a judgement, each counted once

  private func notFound() -> Verdict {
    observer.observe(.verified(.notFound))
    return .notFound
  }

  /// A refused request consumes nothing of the limits.
  private func refused(
    _ key: VerifiableKey, _ code: Verdict.Code, _ request: VerificationRequest, at now: Date
  ) -> Verdict {
    count(Verdict(code: code, found: (key, limiter.peek(key, at: now.milliseconds))), key, request, at: now)
  }

  private func decided(
    _ key: VerifiableKey, _ decision: RateLimitDecision, _ request: VerificationRequest, at now: Date
  ) -> Verdict {
    let code: Verdict.Code = decision.isAdmitted ? .valid : .rateLimited
    return count(Verdict(code: code, found: (key, decision)), key, request, at: now)
  }

  private func count(
    _ verdict: Verdict, _ key: VerifiableKey, _ request: VerificationRequest, at now: Date
  ) -> Verdict {
    usage.verified(key, request.endpoint, isValid: verdict.isValid, at: now)
    observer.observe(.verified(verdict.code))
    return verdict
  }
}

extension SecretsRead {
  /// From the rows of a look-up, each with the position and, where something was found, its hash and value.
  init(_ rows: [(position: LogPosition, found: (SecretHash, Value)?)]) throws(PostgresError) {
    guard let position = rows.first?.position else {
      throw PostgresError(.protocolViolation, "invalidation_head is empty")
    }
    self.init(position: position, values: Dictionary(rows.compactMap(\.found)) { _, later in later })
  }
}
