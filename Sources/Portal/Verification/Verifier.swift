import Foundation
package import Postgres

/// "Is this key good?", answered from memory wherever that is allowed: no statement, no wait, no parsing on a hit.
package struct Verifier: Sendable {
  package let keys: ReadThroughCache<VerifiableKey>
  package let format: KeyFormat
  private static let scopeListCountMax = 4_096

  let pool: PostgresPool
  private let scopeLists: SharedValues<[String]>
  let limiter: RateLimiter
  let limits: RateLimits
  let usage: UsageRecorder
  package let clock: DatabaseClock
  let observer: Observer

  package init(
    pool: PostgresPool, format: KeyFormat, cacheLimits: CoherentCacheState<VerifiableKey>.Limits,
    limiter: RateLimiter, limits: RateLimits, usage: UsageRecorder, clock: DatabaseClock = DatabaseClock(),
    observer: Observer
  ) {
    self.format = format
    self.pool = pool
    self.limiter = limiter
    self.limits = limits
    self.usage = usage
    self.clock = clock
    self.observer = observer
    let scopeLists = SharedValues<[String]>(countMax: Self.scopeListCountMax)
    self.scopeLists = scopeLists
    keys = ReadThroughCache(
      cacheLimits, executor: pool.executor, observer: observer, onAnotherHistory: { pool.condemnConnections() }
    ) { hashes in
      let rows = try await pool.query(FindVerifiableKeys(hashes: hashes))
      return try SecretsRead(rows.map { ($0.position, $0.found.map { ($0.hash, $0.key.sharing(scopeLists)) }) })
    }
  }

  /// Reads the keys that were used last into the cache, so that a server that has just started need not look up each;
  /// returns how many. For after the first sync.
  package func preload(_ count: Int) async throws -> Int {
    try await pool.withTransaction { transaction in
      try await transaction.execute(DeclareRecentlyUsedKeys())
      var (readCount, storedCount) = (0, 0)
      while readCount < count {
        let ids = try await transaction.query(FetchRecentlyUsedKeys()).prefix(count - readCount)
        if ids.isEmpty { break }
        readCount += ids.count
        for row in try await transaction.query(FindVerifiableKeysByID(ids: ids)) {
          guard let (hash, key) = row.found else { continue }
          let outcome = keys.cache.fill(hash, key.sharing(scopeLists), readAt: row.position, at: .now)
          if outcome == .stored { storedCount += 1 }
        }
      }
      return storedCount
    }
  }

  /// Judges one request. Throws `.unavailable` (or what the database threw) when it has to be asked and cannot be: the
  /// key is not in the cache, the cache is past its lease, or a limit needs it.
  package func verify(_ request: VerificationRequest) async throws -> Verdict {
    let key: VerifiableKey? = if let hash = request.hash { try await keys.value(of: hash) } else { nil }
    return try await verify(key, request)
  }

  /// Judges many requests, in their order; throws as ``verify(_:)-(VerificationRequest)``. Where that is because a key
  /// cannot be looked up, none was counted.
  package func verify(_ requests: [VerificationRequest]) async throws -> [Verdict] {
    var found = try await keys.values(of: requests.compactMap(\.hash))[...]
    var verdicts: [Verdict] = []
    for request in requests {
      verdicts.append(try await verify(request.hash == nil ? nil : found.removeFirst(), request))
    }
    return verdicts
  }

  /// The verdict on a request that no key came with.
  package func verifyNone() -> Verdict {
    observer.observe(.verified(.missingKey))
    return .missingKey
  }

  /// Notes that somebody asked what cannot be understood, which is shown beside the verdicts.
  package func noteInvalidRequest() { observer.observe(.verificationInvalid) }

  /// The verdict, if it can be given from memory; else nil, and nothing was counted. Then
  /// ``verify(_:)-(VerificationRequest)`` can give it.
  package func verifyAtOnce(_ request: VerificationRequest, at moment: Moment) -> Verdict? {
    guard let key = cachedKey(request, at: moment) else { return nil }
    let verdict: Verdict
    switch judge(key, request, at: moment) {
    case .final(let final): verdict = final
    case .admissible(let key):
      guard let decision = limiter.admit(key, cost: request.cost, at: moment.milliseconds) else { return nil }
      verdict = Verdict(key, decision)
    }
    if request.hash != nil { observer.observe(.cacheHit) }
    return counted(verdict, request, at: moment)
  }

  /// The verdicts on many requests, in their order, if all of them can be given from memory; else nil, and nothing was
  /// counted. `lookedUp` of their keys were no hits, but looked up for them just now.
  package func verifyAtOnce(
    _ requests: [VerificationRequest], lookedUp: Int = 0, at moment: Moment
  ) -> [Verdict]? {
    var verdicts: [Verdict] = []
    verdicts.reserveCapacity(requests.count)
    // All are looked for before anything is taken. What is known of a key is not copied more often than needed: each
    // copy would touch the memory of all its parts.
    for request in requests {
      guard let found = cachedKey(request, at: moment) else { return nil }
      if let key = found, key.environment.isWithin(request.environment) {
        verdicts.append(Verdict(code: .valid, found: (key, .undecided)))
      } else {
        verdicts.append(.notFound)
      }
    }
    var taken = RateLimiter.Taken()
    for (place, request) in requests.enumerated() {
      guard decide(&verdicts[place], request, at: moment, &taken) else {
        limiter.giveBack(taken)
        return nil
      }
    }
    var hitCount = -lookedUp
    for (place, request) in requests.enumerated() {
      if request.hash != nil { hitCount += 1 }
      count(verdicts[place], request, at: moment)
    }
    for _ in 0..<max(0, hitCount) { observer.observe(.cacheHit) }
    return verdicts
  }

  /// Puts the verdict in place of one that knows the key alone. False if that takes PostgreSQL.
  private func decide(
    _ verdict: inout Verdict, _ request: VerificationRequest, at now: Moment, _ taken: inout RateLimiter.Taken
  ) -> Bool {
    guard let (key, _) = verdict.found else { return true }
    if let refusal = key.refusal(of: request, at: now.expiryDate) {
      verdict.code = refusal
      verdict.found?.limits = limiter.peek(key, at: now.milliseconds)
      return true
    }
    guard !key.needsConsistentLimits,
      let decision = limiter.admitFast(key, cost: request.cost, at: now.milliseconds, &taken)
    else { return false }
    verdict.code = decision.isAdmitted ? .valid : .rateLimited
    verdict.found?.limits = decision
    return true
  }

  /// The places of requests whose keys are not in the cache; nil if the cache is past its lease.
  package func missing(_ requests: [VerificationRequest], at moment: Moment) -> [Int]? {
    var places: [Int] = []
    for (place, request) in requests.enumerated() {
      guard let hash = request.hash else { continue }
      switch keys.cache.lookup(hash, at: moment.instant) {
      case .hit, .absent: break
      case .miss: places.append(place)
      case .stale: return nil
      }
    }
    return places
  }

  /// What is known of the key from memory; nil if PostgreSQL has to be asked.
  private func cachedKey(_ request: VerificationRequest, at moment: Moment) -> VerifiableKey?? {
    guard let hash = request.hash else { return .some(nil) }
    return switch keys.cache.lookup(hash, at: moment.instant) {
    case .miss, .stale: nil
    case .absent: .some(nil)
    case .hit(let key): .some(key)
    }
  }

  private func verify(_ key: VerifiableKey?, _ request: VerificationRequest) async throws -> Verdict {
    let now = try await clock.now(on: pool)
    switch judge(key, request, at: now) {
    case .final(let verdict): return counted(verdict, request, at: now)
    case .admissible(let key):
      if let decision = limiter.admit(key, cost: request.cost, at: now.milliseconds) {
        return counted(Verdict(key, decision), request, at: now)
      }
      return counted(Verdict(key, try await limits.admit(key, cost: request.cost)), request, at: now)
    }
  }

  private enum Judgement {
    case final(Verdict)
    /// Good but for its limits, which are not asked yet.
    case admissible(VerifiableKey)
  }

  private func judge(_ key: VerifiableKey?, _ request: VerificationRequest, at now: Moment) -> Judgement {
    guard let key, key.environment.isWithin(request.environment) else { return .final(.notFound) }
    guard let refusal = key.refusal(of: request, at: now.expiryDate) else { return .admissible(key) }
    return .final(Verdict(code: refusal, found: (key, limiter.peek(key, at: now.milliseconds))))
  }

  private func counted(_ verdict: Verdict, _ request: VerificationRequest, at now: Moment) -> Verdict {
    count(verdict, request, at: now)
    return verdict
  }

  private func count(_ verdict: Verdict, _ request: VerificationRequest, at now: Moment) {
    if let key = verdict.found?.key { usage.verified(key, request.endpoint, isValid: verdict.isValid, at: now.date) }
    observer.observe(.verified(verdict.code))
  }
}

extension VerifiableKey {
  fileprivate func sharing(_ scopeLists: SharedValues<[String]>) -> VerifiableKey {
    var key = self
    key.scopes = scopeLists.shared(scopes)
    return key
  }
}

extension Verdict {
  /// On a key that is good but for its limits.
  fileprivate init(_ key: VerifiableKey, _ decision: RateLimitDecision) {
    self.init(code: decision.isAdmitted ? .valid : .rateLimited, found: (key, decision))
  }
}
