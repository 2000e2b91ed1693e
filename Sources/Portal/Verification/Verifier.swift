import Foundation
package import Postgres

/// Verifies keys, from memory wherever that is allowed: a cache hit takes no statement, no wait and no parsing.
package struct Verifier: Sendable {
  package let keys: ReadThroughCache<VerifiableKey>
  package let format: KeyFormat
  let pool: PostgresPool
  private let reader: KeyReader
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
    let reader = KeyReader(pool: pool, salt: format.importSalt)
    self.reader = reader
    keys = ReadThroughCache(
      cacheLimits, executor: pool.executor, observer: observer, onAnotherHistory: { pool.condemnConnections() },
      read: reader.read)
  }

  /// Takes the result of a sync: what it says of the keys in the cache, and whether keys were imported.
  package func apply(_ sync: SyncResult) -> SyncOutcome {
    reader.imports.note(sync.importForms)
    return keys.cache.apply(sync)
  }

  /// The hash by which a presented text is looked up; nil if no look-up can find it. Where keys were imported, or it is
  /// not known yet whether any were, the checksum of a text says nothing.
  package func hash(of secret: Secret) -> SecretHash? {
    if reader.imports.isWithout { return format.hash(of: secret) }
    return format.isOfPossibleLength(secret) ? secret.hash : nil
  }

  /// A warning if there may be imported keys that this server cannot find; nil if there is none.
  package var importWarning: String? {
    let isMissing = format.importSalt == nil && reader.imports.forms.contains(where: \.isSalted)
    return isMissing ? "keys were imported with a salt, and KEY_IMPORT_SALT is not set" : nil
  }

  /// Reads the `count` most recently used keys into the cache, so that a server that has just started need not look up
  /// each of them. Returns how many were stored. Call it after the first sync.
  package func preload(_ count: Int) async throws -> Int {
    try await pool.withTransaction { transaction in
      try await transaction.execute(DeclareRecentlyUsedKeys())
      var (readCount, storedCount) = (0, 0)
      while readCount < count {
        let ids = try await transaction.query(FetchRecentlyUsedKeys()).prefix(count - readCount)
        if ids.isEmpty { break }
        readCount += ids.count
        for row in try await transaction.query(FindVerifiableKeysByID(ids: ids)) {
          guard case (let hash, .success(let key))? = row.found else { continue }
          let outcome = keys.cache.fill(hash, reader.shared.applied(to: key), readAt: row.position, at: .now)
          if outcome == .stored { storedCount += 1 }
        }
      }
      return storedCount
    }
  }

  /// Verifies one request. Throws `.unavailable`, or the error of the database, if PostgreSQL is needed and cannot be
  /// reached. It is needed if the key is not in the cache, the lease of the cache has expired, or a limit requires it.
  /// `secret` is the text that was presented, without which imported keys are not found before their first use.
  package func verify(_ request: VerificationRequest, _ secret: Secret? = nil) async throws -> Verdict {
    let key: VerifiableKey? = if let hash = request.hash { try await keys.value(of: hash, secret) } else { nil }
    return try await verify(key, request)
  }

  /// Verifies many requests, in their order. Throws as ``verify(_:_:)-(VerificationRequest,_)``; if a key cannot be
  /// looked up, none of the requests is counted.
  package func verify(
    _ requests: [VerificationRequest], _ secrets: [SecretHash: Secret] = [:]
  ) async throws -> [Verdict] {
    var found = try await keys.values(of: requests.compactMap(\.hash), secrets)[...]
    var verdicts: [Verdict] = []
    for request in requests {
      verdicts.append(try await verify(request.hash == nil ? nil : found.removeFirst(), request))
    }
    return verdicts
  }

  /// The verdict on a request without a key.
  package func verifyNone() -> Verdict {
    observer.observe(.verified(.missingKey))
    return .missingKey
  }

  /// Counts an invalid question, for the metrics next to the verdicts.
  package func noteInvalidRequest() { observer.observe(.verificationInvalid) }

  /// The verdict, if memory is enough to decide. Otherwise nil, and nothing is counted; call
  /// ``verify(_:_:)-(VerificationRequest,_)`` then.
  package func verifyCached(_ request: VerificationRequest, at moment: Moment) -> Verdict? {
    let verdict: Verdict
    switch cached(request, at: moment) {
    case .unknown: return nil
    case .none: verdict = .notFound
    case .key(let key):
      var reservation: RateLimiter.Reservation?
      guard let decision = decide(key, request, at: moment, &reservation) else { return nil }
      verdict = Verdict(key, decision)
    }
    if request.hash != nil { observer.observe(.cacheHit) }
    return counted(verdict, request, at: moment)
  }

  /// The verdicts on many requests, in their order, if memory is enough to decide all of them. Otherwise nil, and
  /// nothing is counted. `lookedUp` is the number of keys that were just looked up for these requests, and so do not
  /// count as cache hits.
  package func verifyCached(
    _ requests: [VerificationRequest], lookedUp: Int = 0, at moment: Moment
  ) -> [Verdict]? {
    var verdicts: [Verdict] = []
    verdicts.reserveCapacity(requests.count)
    // All keys are looked up before anything is taken. A key is copied no more often than needed, because each copy
    // touches the memory of all its parts.
    for request in requests {
      switch cached(request, at: moment) {
      case .unknown: return nil
      case .none: verdicts.append(.notFound)
      case .key(let key): verdicts.append(Verdict(key, .undecided))
      }
    }
    var reservation: RateLimiter.Reservation? = RateLimiter.Reservation()
    for (place, request) in requests.enumerated() {
      guard let key = verdicts[place].found?.key else { continue }
      guard let decision = decide(key, request, at: moment, &reservation) else {
        limiter.release(reservation)
        return nil
      }
      verdicts[place].code = decision.code
      verdicts[place].found?.limits = decision.limits
    }
    var hitCount = -lookedUp
    for (place, request) in requests.enumerated() {
      if request.hash != nil { hitCount += 1 }
      count(verdicts[place], request, at: moment)
    }
    for _ in 0..<max(0, hitCount) { observer.observe(.cacheHit) }
    return verdicts
  }

  /// The indexes of the requests whose keys are not in the cache; nil if the lease of the cache has expired.
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

  /// The result of a cache look-up of a request's key.
  private enum Cached {
    case key(VerifiableKey)
    /// There is no such key, or it is of another environment or for another api.
    case none
    /// Only PostgreSQL knows.
    case unknown
  }

  private func cached(_ request: VerificationRequest, at moment: Moment) -> Cached {
    guard let hash = request.hash else { return .none }
    return switch keys.cache.lookup(hash, at: moment.instant) {
    case .miss, .stale: .unknown
    case .absent: .none
    case .hit(let key): key.isFound(by: request) ? .key(key) : .none
    }
  }

  private func verify(_ key: VerifiableKey?, _ request: VerificationRequest) async throws -> Verdict {
    let now = try await clock.now(on: pool)
    guard let key, key.isFound(by: request) else { return counted(.notFound, request, at: now) }
    var reservation: RateLimiter.Reservation?
    if let decision = decide(key, request, at: now, &reservation) {
      return counted(Verdict(key, decision), request, at: now)
    }
    let decision = Decision(try await limits.admit(key.limits, cost: request.cost))
    return counted(Verdict(key, decision), request, at: now)
  }

  /// Decides a request whose key was found. Nil if a limit needs PostgreSQL; then nothing is taken. Otherwise the costs
  /// that were taken are added to `reservation`, unless that is nil.
  private func decide(
    _ key: VerifiableKey, _ request: VerificationRequest, at now: Moment, _ reservation: inout RateLimiter.Reservation?
  ) -> Decision? {
    if let refusal = key.refusal(of: request, at: now.expiryDate) {
      return Decision(code: refusal, limits: limiter.peek(key.limits, at: now.milliseconds))
    }
    return limiter.admit(key.limits, cost: request.cost, at: now.milliseconds, &reservation).map { Decision($0) }
  }

  private func counted(_ verdict: Verdict, _ request: VerificationRequest, at now: Moment) -> Verdict {
    count(verdict, request, at: now)
    return verdict
  }

  private func count(_ verdict: Verdict, _ request: VerificationRequest, at now: Moment) {
    if let key = verdict.found?.key {
      usage.verified(key.id, of: key.accountID, request.endpoint, isValid: verdict.isValid, at: now.date)
    }
    observer.observe(.verified(verdict.code))
  }
}

/// A verdict without its key.
private struct Decision {
  /// A placeholder until the request is decided.
  static let undecided = Decision(code: .valid, limits: .undecided)

  var code: VerdictCode
  var limits: RateLimitDecision
}

extension Decision {
  /// The decision on a key that only its limits can refuse.
  init(_ limits: RateLimitDecision) { self.init(code: limits.isAdmitted ? .valid : .rateLimited, limits: limits) }
}

extension Verdict {
  fileprivate init(_ key: VerifiableKey, _ decision: Decision) {
    self.init(code: decision.code, found: (key, decision.limits))
  }
}
