import Foundation
package import Postgres

/// "Is this key good?", answered from memory wherever that is allowed: no statement, no wait, no parsing on a hit.
package struct Verifier: Sendable {
  package let keys: ReadThroughCache<VerifiableKey>
  let format: KeyFormat
  let limiter: RateLimiter
  let usage: UsageRecorder
  let observer: Observer

  package init(
    pool: PostgresPool, format: KeyFormat, limits: CoherentCacheState<VerifiableKey>.Limits, limiter: RateLimiter,
    usage: UsageRecorder, observer: Observer
  ) {
    self.format = format
    self.limiter = limiter
    self.usage = usage
    self.observer = observer
    keys = ReadThroughCache(limits, executor: pool.executor, observer: observer) { hashes in
      let rows = try await pool.query(FindVerifiableKeys(hashes: hashes))
      return try SecretsRead(rows.map { ($0.position, $0.found.map { ($0.hash, $0.key) }) })
    }
  }

  /// Judges one request. Throws `.unavailable` (or what the database threw) when the key is not in the cache, or the cache
  /// is past its lease, and the database cannot be asked.
  package func verify(_ request: VerificationRequest) async throws -> Verdict {
    let key = format.mayExist(request.key) ? try await keys.value(of: request.key.hash) : nil
    return judge(key, request, at: Date())
  }

  /// Judges many requests, in their order; throws as ``verify(_:)-(VerificationRequest)``, and then none was counted.
  package func verify(_ requests: [VerificationRequest]) async throws -> [Verdict] {
    // A text that can't be a key has no hash that is worth asking for.
    let hashes = requests.map { format.mayExist($0.key) ? $0.key.hash : nil }
    var found = try await keys.values(of: hashes.compactMap(\.self))[...]
    let now = Date()
    return zip(requests, hashes).map { request, hash in
      judge(hash == nil ? nil : found.removeFirst(), request, at: now)
    }
  }

  private func judge(_ key: VerifiableKey?, _ request: VerificationRequest, at now: Date) -> Verdict {
    let verdict = decide(key, request, at: now)
    observer.observe(.verified(verdict.code))
    return verdict
  }

  /// A refused request consumes nothing of the limit.
  private func decide(_ key: VerifiableKey?, _ request: VerificationRequest, at now: Date) -> Verdict {
    guard let key else { return .notFound }
    var code = key.refusal(of: request, at: now)
    let rateLimit =
      code == nil
      ? limiter.admit(key.id, cost: request.cost, limitPerMinute: key.rateLimitPerMinute, at: now)
      : limiter.peek(key.id, limitPerMinute: key.rateLimitPerMinute, at: now)
    if code == nil, !rateLimit.isAdmitted { code = .rateLimited }
    let verdict = Verdict(code: code ?? .valid, found: (key, rateLimit))
    usage.verified(key, request.endpoint, isValid: verdict.isValid, at: now)
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
