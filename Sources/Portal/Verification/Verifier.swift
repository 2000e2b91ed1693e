import Foundation
package import Postgres

/// Verifies keys, from memory wherever that is allowed: a cache hit takes no statement, no wait and no parsing.
package struct Verifier: Sendable {
  /// How long a request waits before its key is looked up again whose bucket does not exist any more.
  private static let pauseAfterGone: Duration = .milliseconds(5)

  package let keys: ReadThroughCache<VerifiableKey>
  package let format: KeyFormat
  let pool: PostgresPool
  private let reader: KeyReader
  let limiter: RateLimiter
  let limits: RateLimits
  let credits: CreditLedger
  let usage: UsageRecorder
  package let clock: DatabaseClock
  let observer: Observer

  /// Without a ledger, credits are leased for this verifier alone, and what is spent of them is only in memory.
  package init(
    pool: PostgresPool, format: KeyFormat, cacheLimits: CoherentCacheState<VerifiableKey>.Limits,
    limiter: RateLimiter, limits: RateLimits, credits: CreditLedger? = nil, usage: UsageRecorder,
    clock: DatabaseClock = DatabaseClock(), observer: Observer
  ) {
    self.format = format
    self.pool = pool
    self.limiter = limiter
    self.limits = limits
    self.credits = credits ?? CreditLedger(pool: pool, lease: cacheLimits.lease, observer: observer)
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
        let rows = try await transaction.query(FindVerifiableKeysByID(ids: ids))
        let limits = try await reader.shared.endpointLimits(of: rows) { try await transaction.query($0) }
        for row in rows {
          guard let (hash, found) = row.found, case .success(let key) = reader.shared.applied(to: found, limits) else {
            continue
          }
          let outcome = keys.cache.fill(hash, key, readAt: row.position, at: .now)
          if outcome == .stored { storedCount += 1 }
        }
      }
      return storedCount
    }
  }

  /// Verifies one request. Throws `.unavailable`, or the error of the database, if PostgreSQL is needed and cannot be
  /// reached. It is needed if the key is not in the cache, the lease of the cache has expired, a limit requires it, or
  /// the credits that this instance has leased do not do.
  /// `secret` is the text that was presented, without which imported keys are not found before their first use.
  /// Throws ``UnknownLimits`` if the request names limits that the key does not have.
  package func verify(_ request: VerificationRequest, _ secret: Secret? = nil) async throws -> Verdict {
    let key: VerifiableKey? = if let hash = request.hash { try await keys.value(of: hash, secret) } else { nil }
    return try await verify(key, request)
  }

  /// Verifies many requests, in their order. Throws as ``verify(_:_:)-(VerificationRequest,_)``, except for unknown
  /// limits, which are the result of their request; if a key cannot be looked up, none of the requests is counted.
  package func verify(
    _ requests: [VerificationRequest], _ secrets: [SecretHash: Secret] = [:]
  ) async throws -> [Result<Verdict, UnknownLimits>] {
    var found = try await keys.values(of: requests.compactMap(\.hash), secrets)[...]
    var results: [Result<Verdict, UnknownLimits>] = []
    for request in requests {
      do {
        results.append(.success(try await verify(request.hash == nil ? nil : found.removeFirst(), request)))
      } catch let unknown as UnknownLimits {
        results.append(.failure(unknown))
      }
    }
    return results
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
      var spending: CreditReservation?
      guard let decision = decide(key, request, at: moment, &reservation, &spending) else { return nil }
      verdict = Verdict(key, decision, spent: spending.map { credits.commit($0, at: moment.instant) })
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
    var spendings: [(place: Int, reservation: CreditReservation)] = []
    for (place, request) in requests.enumerated() {
      guard let key = verdicts[place].found?.key else { continue }
      var spending: CreditReservation?
      guard let decision = decide(key, request, at: moment, &reservation, &spending) else {
        limiter.release(reservation)
        for spending in spendings { credits.release(spending.reservation) }
        return nil
      }
      if let spending { spendings.append((place, spending)) }
      verdicts[place].code = decision.code
      verdicts[place].found?.limits = decision.limits
      verdicts[place].credits = decision.credits
    }
    for (place, reservation) in spendings {
      verdicts[place].credits = credits.commit(reservation, at: moment.instant)
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

  /// Whether the key of the request is in the cache, and PostgreSQL has to be asked for its credits.
  package func lacksCredits(_ request: VerificationRequest, at moment: Moment) -> Bool {
    guard case .key(let key) = cached(request, at: moment), let buckets = key.credits,
      key.refusal(of: request, at: moment.expiryDate) == nil
    else { return false }
    switch credits.reserve(buckets, cost: request.creditCost, at: moment.instant) {
    case .unsure: return true
    case .refused: return false
    case .reserved(let spending):
      credits.release(spending)
      return false
    }
  }

  /// Asks PostgreSQL for what a request costs, so that ``verifyCached(_:at:)`` can answer it unless others are faster.
  package func fetchCredits(for request: VerificationRequest) async {
    guard case .key(let key) = cached(request, at: clock.now), let buckets = key.credits,
      let decision = try? await credits.reserveWaiting(buckets, cost: request.creditCost)
    else { return }
    release(decision)
  }

  /// Returns what this instance has of buckets that a sync of the log names as changed, and of all if it is not known
  /// what has changed. `outcome` is that of the caches.
  package func followCredits(_ sync: SyncResult, _ outcome: SyncOutcome) {
    if outcome.isHistoryBroken || sync.invalidations.contains(where: { $0.target == .everything }) {
      credits.changedAll()
    } else {
      for case .credits(let bucket) in sync.invalidations.lazy.map(\.target) { credits.changed(bucket) }
    }
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

  /// `deadline` is until when a request may wait for its credits; nil: for the lease.
  private func verify(
    _ key: VerifiableKey?, _ request: VerificationRequest, until deadline: ContinuousClock.Instant? = nil
  ) async throws -> Verdict {
    let now = try await clock.now(on: pool)
    guard let key, key.isFound(by: request) else { return counted(.notFound, request, at: now) }
    if let buckets = key.credits, isStale(request) {
      // It may have missed a change of the bucket as well.
      credits.changed(buckets)
    }
    if request.namesLimits {
      let unknown = key.limits.unknown(request.limits)
      if !unknown.isEmpty { throw UnknownLimits(places: unknown) }
    }
    var reservation: RateLimiter.Reservation?
    var spending: CreditReservation?
    if let decision = decide(key, request, at: now, &reservation, &spending) {
      let spent = spending.map { credits.commit($0, at: now.instant) }
      return counted(Verdict(key, decision, spent: spent), request, at: now)
    }
    if let buckets = key.credits {
      return try await verify(
        key, spendingFrom: buckets, request, at: now, until: deadline ?? .now + keys.cache.lease)
    }
    let charges = key.charges(of: request) ?? key.limits.charges(cost: request.cost)
    let decision = Decision(try await limits.admit(charges))
    return counted(Verdict(key, decision), request, at: now)
  }

  /// Verifies a request whose credits or limits need PostgreSQL. First its cost is set aside, which can be undone; then
  /// limits decide; then what was set aside is taken or released.
  private func verify(
    _ key: VerifiableKey, spendingFrom buckets: KeyCredits, _ request: VerificationRequest, at now: Moment,
    until deadline: ContinuousClock.Instant
  ) async throws -> Verdict {
    if let fast = fit(key, request, at: now), !fast.isAdmitted {
      return counted(Verdict(key, Decision(fast, credits: credits.peek(buckets))), request, at: now)
    }
    switch credits.reserve(buckets, cost: request.creditCost, at: now.instant) {
    case .reserved(let spending): return try await verify(key, spending, of: buckets, request)
    case .refused(let refusal): return exceeded(key, refusal, request, at: now)
    case .unsure: break
    }
    let decision = try await credits.reserveWaiting(buckets, cost: request.creditCost)
    // The key may have been revoked or changed meanwhile.
    let (present, later): (VerifiableKey?, Moment)
    do {
      present = if let hash = request.hash { try await keys.value(of: hash) } else { nil }
      later = try await clock.now(on: pool)
    } catch {
      release(decision)
      throw error
    }
    guard present == key, key.refusal(of: request, at: later.expiryDate) == nil else {
      release(decision)
      return try await verify(present, request, until: deadline)
    }
    switch decision {
    case .reserved(let spending): return try await verify(key, spending, of: buckets, request)
    case .refused(let refusal): return exceeded(key, refusal, request, at: later)
    case .gone:
      // The key has other credits by now, or none, and the log is about to say so.
      guard .now < deadline else { throw PortalError.unavailable(reason: "the credits of the key are being changed") }
      try await Task.sleep(for: Self.pauseAfterGone)
      return try await verify(present, request, until: deadline)
    }
  }

  /// Lets limits decide a request whose cost is set aside, and takes or releases that.
  private func verify(
    _ key: VerifiableKey, _ spending: CreditReservation, of buckets: KeyCredits, _ request: VerificationRequest
  ) async throws -> Verdict {
    let decided: RateLimitDecision
    let now: Moment
    do {
      decided = try await limits.admit(key.charges(of: request) ?? key.limits.charges(cost: request.cost))
      now = try await clock.now(on: pool)
    } catch {
      credits.release(spending)
      throw error
    }
    guard decided.isAdmitted else {
      credits.release(spending)
      return counted(Verdict(key, Decision(decided, credits: credits.peek(buckets))), request, at: now)
    }
    return counted(Verdict(key, Decision(decided), spent: credits.commit(spending, at: .now)), request, at: now)
  }

  private func exceeded(
    _ key: VerifiableKey, _ refusal: CreditRefusal, _ request: VerificationRequest, at now: Moment
  ) -> Verdict {
    counted(Verdict(key, exceeded(key, refusal, request, at: now)), request, at: now)
  }

  private func exceeded(
    _ key: VerifiableKey, _ refusal: CreditRefusal, _ request: VerificationRequest, at now: Moment
  ) -> Decision {
    Decision(
      code: .usageExceeded, limits: peek(key, key.charges(of: request), at: now), credits: CreditStanding(refusal))
  }

  /// Whether the cache has not followed the log for longer than the lease.
  private func isStale(_ request: VerificationRequest) -> Bool {
    guard let hash = request.hash, case .stale = keys.cache.lookup(hash, at: .now) else { return false }
    return true
  }

  private func release(_ decision: CreditLedger.Decision) {
    if case .reserved(let spending) = decision { credits.release(spending) }
  }

  /// Decides a request whose key was found. Nil if a limit or credits need PostgreSQL; then nothing is taken. Otherwise
  /// the costs that were taken of limits are added to `reservation`, unless that is nil, and `spending` is what was set
  /// aside of credits, to be taken or released.
  private func decide(
    _ key: VerifiableKey, _ request: VerificationRequest, at now: Moment,
    _ reservation: inout RateLimiter.Reservation?, _ spending: inout CreditReservation?
  ) -> Decision? {
    let charges = key.charges(of: request)
    if let refusal = key.refusal(of: request, at: now.expiryDate) {
      return Decision(
        code: refusal, limits: peek(key, charges, at: now), credits: key.credits.flatMap { credits.peek($0) })
    }
    if let buckets = key.credits { return decide(key, buckets, charges, request, at: now, &reservation, &spending) }
    return admit(key, charges, request, at: now, &reservation).map { Decision($0) }
  }

  private func decide(
    _ key: VerifiableKey, _ buckets: KeyCredits, _ charges: LimitCharges?, _ request: VerificationRequest,
    at now: Moment, _ reservation: inout RateLimiter.Reservation?, _ spending: inout CreditReservation?
  ) -> Decision? {
    switch credits.reserve(buckets, cost: request.creditCost, at: now.instant) {
    case .unsure: return nil
    case .refused(let refusal):
      // A limit that refuses as well goes first. Whatever it says, nothing is taken.
      guard let limits = fit(key, request, at: now) else { return nil }
      guard limits.isAdmitted else { return Decision(limits, credits: CreditStanding(remaining: refusal.left)) }
      return exceeded(key, refusal, request, at: now)
    case .reserved(let reserved):
      let limits = admit(key, charges, request, at: now, &reservation)
      if limits?.isAdmitted == true {
        spending = reserved
        return limits.map { Decision($0) }
      }
      credits.release(reserved)
      return limits.map { Decision($0, credits: credits.peek(buckets)) }
    }
  }

  /// `charges` are those of the request, and nil for most keys, which have no more than a limit per minute.
  private func admit(
    _ key: VerifiableKey, _ charges: LimitCharges?, _ request: VerificationRequest, at now: Moment,
    _ reservation: inout RateLimiter.Reservation?
  ) -> RateLimitDecision? {
    guard let charges else {
      return limiter.admit(key.limits, cost: request.cost, at: now.milliseconds, &reservation)
    }
    return limiter.admit(charges, at: now.milliseconds, &reservation)
  }

  private func peek(_ key: VerifiableKey, _ charges: LimitCharges?, at now: Moment) -> RateLimitDecision {
    guard let charges else { return limiter.peek(key.limits, at: now.milliseconds) }
    return limiter.peek(charges, at: now.milliseconds)
  }

  /// What the limits of the mode `fast` say. Takes nothing. Nil if PostgreSQL has to be asked.
  private func fit(_ key: VerifiableKey, _ request: VerificationRequest, at now: Moment) -> RateLimitDecision? {
    let charges = key.charges(of: request) ?? key.limits.charges(cost: request.cost)
    var taken: RateLimiter.Reservation? = RateLimiter.Reservation()
    let decision = limiter.admitFast(charges, at: now.milliseconds, &taken)
    limiter.release(taken)
    return decision
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
  /// Of a request that takes no credits: what is left of them.
  var credits: CreditStanding?
}

extension Decision {
  /// The decision on a key that only its limits can refuse.
  init(_ limits: RateLimitDecision, credits: CreditStanding? = nil) {
    self.init(code: limits.isAdmitted ? .valid : .rateLimited, limits: limits, credits: credits)
  }
}

extension Verdict {
  /// `spent` is what is left after the request has taken its cost.
  fileprivate init(_ key: VerifiableKey, _ decision: Decision, spent: CreditStanding? = nil) {
    self.init(code: decision.code, found: (key, decision.limits), credits: spent ?? decision.credits)
  }
}
