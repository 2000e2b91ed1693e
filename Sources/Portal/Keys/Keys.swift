package import Foundation
package import Postgres

/// Operations on an account's keys. Each change and its audit event share one transaction; a trigger notifies the
/// instances. Locks are taken in the order account, keys.
package struct Keys: Sendable {
  /// The detail in the audit trail when a roll revokes a key that was in the grace of an earlier roll.
  private static let rolledAgain = AuditDetail("Its successor was rolled.")

  let pool: PostgresPool
  let format: KeyFormat
  let propagations: Propagations
  let outbox: Outbox
  package let clock: DatabaseClock

  package init(
    pool: PostgresPool, format: KeyFormat, propagations: Propagations, outbox: Outbox = Outbox(isOpen: false),
    clock: DatabaseClock = DatabaseClock()
  ) {
    self.pool = pool
    self.format = format
    self.propagations = propagations
    self.outbox = outbox
    self.clock = clock
  }

  /// When the key was first revoked, and how far the revocation has propagated.
  package struct Revoked: Sendable {
    package var id: UUID
    package var revokedAt: Date
    package var propagation: Propagation
  }

  /// The key after the change, and how far the change has propagated.
  package struct Updated: Sendable {
    package var key: Key
    package var propagation: Propagation
  }

  /// PostgreSQL's time, for the methods that take a transaction.
  package func now() async throws -> Moment { try await clock.now(on: pool) }

  /// How far a change that began at `start` has propagated.
  package func propagation(since start: ContinuousClock.Instant) async -> Propagation {
    await propagations.wait(since: start)
  }

  /// Most recent first. Throws `.notFound` if the account does not exist.
  package func list(
    of accountID: UUID, _ filter: KeyFilter = KeyFilter(), page: PageRequest = PageRequest()
  ) async throws -> Page<Key> {
    let keys = try await pool.pipeline(
      ForceCustomPlan(),
      then: ListKeys(accountID: accountID, filter: filter, before: page.before, count: page.limit + 1),
      as: .account(accountID))
    if keys.isEmpty, try await pool.query(FindKeyRules(accountID: accountID), as: .account(accountID)).isEmpty {
      throw PortalError.notFound
    }
    return Page(keys, limit: page.limit, id: \.id)
  }

  /// Its balance of credits includes what the instances have spent up to now. Throws `.notFound`, also for a key of
  /// another account, or one that the caller may not see.
  package func find(_ id: UUID, of accountID: UUID, by caller: Caller? = nil) async throws -> Key {
    var key = try await findSettled(id, of: accountID, by: caller)
    if let credits = key.credits {
      key.credits = try await CreditReadings(pool: pool).read(credits.id, of: accountID)
    }
    return key
  }

  /// As ``find(_:of:by:)``, but its balance of credits is what PostgreSQL knows, and no instance is asked.
  func findSettled(_ id: UUID, of accountID: UUID, by caller: Caller? = nil) async throws -> Key {
    guard let key = try await pool.query(FindKey(accountID: accountID, id: id), as: .account(accountID)).first,
      caller?.reaches(key) ?? true
    else { throw PortalError.notFound }
    return key
  }

  /// Creates a key, in a transaction of the account. `api` takes the place of the settings' api. If `takesUsualLimit`,
  /// its limit per minute is not that of the settings but what is usual for the account: the default for one that
  /// people log in to, none for any other. With `credits`, which only a backend may give, it has a balance of its own.
  /// Throws if the plan or the policy does not allow it, `.keyCapReached`, and `.invalid` for an api that does not
  /// exist. The account's row stays locked from the count to the commit, so that concurrent requests cannot exceed the
  /// cap. A house account has no cap and is not locked.
  package func create(
    _ settings: KeySettings, api: CatalogReference? = nil, takesUsualLimit: Bool = false,
    credits: CreditSettings? = nil, for accountID: UUID, by caller: Caller, at now: Moment,
    on transaction: PostgresConnection
  ) async throws -> IssuedKey {
    var settings = settings
    let (accounts, found, counts) = try await transaction.pipeline(
      LockAccount(accountID: accountID), FindKeyRules(accountID: accountID), CountLiveKeys(accountID: accountID))
    guard let account = accounts.first, let rules = found.first else { throw PortalError.notFound }
    if let only = caller.environment, only != settings.environment {
      throw PortalError.forbidden(reason: "The token is restricted to the environment \(only.rawValue).")
    }
    if let api { settings.apiID = try await Self.id(of: api, for: caller, under: rules.plan, on: transaction) }
    try caller.checkMayManage(apiID: settings.apiID)
    try account.checkActive()
    if takesUsualLimit {
      settings.rateLimitPerMinute = account.kind == .customer ? Key.rateLimitPerMinuteDefault : nil
    }
    try rules.check(settings, madeAt: now.date)
    if account.kind != .house, let cap = rules.plan.keyCap, try CountLiveKeys.one(of: counts) >= cap {
      throw PortalError.keyCapReached(cap: cap)
    }
    guard let credits else { return try await issue(settings, for: accountID, by: caller, on: transaction) }
    // Before the key, so that this is its first revision.
    let bucketID = UUID.version7()
    _ = try await transaction.pipeline(
      SetLocally(.staff(in: accountID)), InsertCredits(accountID: accountID, id: bucketID, settings: credits),
      then: SetLocally(.account(accountID)))
    let issued = try await issue(settings, credits: bucketID, for: accountID, by: caller, on: transaction)
    try await transaction.execute(
      InsertAuditEvent.onKey(
        issued.key.id, of: accountID, .keyCreditsChanged, by: caller, detail: AuditDetail(credits.change.summary)))
    return issued
  }

  /// Revokes a key. Revoking it again changes nothing and returns the time of the first revocation.
  package func revoke(
    _ id: UUID, of accountID: UUID, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> Revoked {
    let start = ContinuousClock.now
    let revokedAt = try await pool.withTransaction(as: .account(accountID)) { transaction in
      let found = try await transaction.pipeline(
        LockAccount(accountID: accountID), then: LockKey(accountID: accountID, id: id))
      guard let key = found.first, caller.reaches(key) else { throw PortalError.notFound }
      if let revokedAt = key.revokedAt { return revokedAt }
      return try await revoke(key, by: caller, reason, on: transaction)
    }
    outbox.ring()
    return Revoked(id: id, revokedAt: revokedAt, propagation: await propagation(since: start))
  }

  /// Revokes a key that is locked and not revoked yet. Returns the time. The mail has the stated reason, or else the
  /// detail.
  private func revoke(
    _ key: Key, by caller: Caller, _ reason: SupportReason?, detail: AuditDetail? = nil,
    on transaction: PostgresConnection
  ) async throws -> Date {
    let (revoked, _, _) = try await transaction.pipeline(
      RevokeKey(accountID: key.accountID, id: key.id),
      InsertAuditEvent.onKey(key.id, of: key.accountID, .keyRevoked, by: caller, reason, detail: detail),
      outbox.notice(
        .keyRevoked, of: key.accountID, subjectID: key.id, if: !caller.actor.isCustomer,
        Mail.Parameters(
          actorName: caller.actor.name, keyName: key.name, keyStart: key.start, reason: reason?.text ?? detail?.text,
          ticket: reason?.ticket, isByHolder: caller.actor.kind == .key ? true : nil)))
    return try RevokeKey.one(of: revoked)
  }

  /// Changes the credits of a key that is locked, in a transaction of the account, and returns the key.
  private static func changeCredits(
    of key: Key, _ change: CreditChange, by caller: Caller, on transaction: PostgresConnection
  ) async throws -> Key {
    let buckets = CreditBuckets(accountID: key.accountID, caller: caller)
    _ = try await transaction.query(SetLocally(.staff(in: key.accountID)))
    _ = try await buckets.change(.key(key.id), from: key.credits, change, on: transaction)
    let found = try await transaction.pipeline(
      SetLocally(.account(key.accountID)), then: FindKey(accountID: key.accountID, id: key.id))
    return try FindKey.one(of: found)
  }

  /// Changes a key. Throws `.keyNotActive` for a revoked key, and for a new expiry of a rolled key;
  /// `.preconditionFailed` if the key's revision is not in `revisions`; `.creditsUnlimited` for refills of a key
  /// without credits. If nothing changes, nothing is written.
  package func update(
    _ id: UUID, of accountID: UUID, _ changes: KeyChanges, ifRevision revisions: Set<Int>? = nil, by caller: Caller
  ) async throws -> Updated {
    let start = ContinuousClock.now
    let now = try await now().expiryDate
    let key = try await pool.withTransaction(as: .account(accountID)) { transaction in
      let (accounts, found, counts) = try await transaction.pipeline(
        LockAccount(accountID: accountID), LockKey(accountID: accountID, id: id),
        CountLiveKeys(accountID: accountID, otherThan: id))
      guard let account = accounts.first, let key = found.first, caller.reaches(key) else {
        throw PortalError.notFound
      }
      guard key.mayTake(changes) else { throw PortalError.keyNotActive }
      if let revisions, !revisions.contains(key.revision) { throw PortalError.preconditionFailed }
      let old = KeySettings(of: key)
      var settings = changes.applied(to: old)
      switch changes.api {
      case .keep: break
      case .remove:
        // Members choose among the apis of their plan. What a backend has chosen for them otherwise, only it changes.
        if case .user = caller.actor, old.apiID != nil, key.rules.plan.apiIDs == nil { throw Self.apiOfBackend }
        settings.apiID = nil
      case .set(let api):
        settings.apiID = try await Self.id(of: api, for: caller, under: key.rules.plan, on: transaction)
      }
      if settings.apiID != old.apiID {
        try caller.checkMayManage(apiID: settings.apiID)
        // A member must not take what was granted for one api to another.
        if case .user = caller.actor, key.hasOwnGrants { throw Self.apiOfBackend }
      }
      let isEnabled = changes.isEnabled ?? key.isEnabled
      let isSame = settings.isIdentical(to: old) && isEnabled == key.isEnabled
      if isSame, changes.credits == nil { return key }
      try account.checkActive()
      // Enabling a key checks all of its settings, as creating one does.
      let isRevived = isEnabled && !key.isEnabled
      try key.rules.check(
        settings, madeAt: key.createdAt, only: isRevived ? nil : settings.ruledFields(changedFrom: old))
      // A key that is no longer expired counts towards the cap again.
      if key.isExpired(at: now), !key.expiring(at: settings.expiresAt).isExpired(at: now),
        account.kind != .house, let cap = key.rules.plan.keyCap, try CountLiveKeys.one(of: counts) >= cap
      {
        throw PortalError.keyCapReached(cap: cap)
      }
      var changed = key
      if !isSame {
        let action: AuditEvent.Action =
          isEnabled == key.isEnabled ? .keyUpdated : isEnabled ? .keyEnabled : .keyDisabled
        let found = try await Self.naming {
          try await transaction.pipeline(
            UpdateKey(accountID: accountID, id: id, settings: settings, isEnabled: isEnabled),
            InsertAuditEvent.onKey(id, of: accountID, action, by: caller), then: FindKey(accountID: accountID, id: id))
        }
        changed = try FindKey.one(of: found)
      }
      guard let credits = changes.credits else { return changed }
      return try await Self.changeCredits(of: changed, credits, by: caller, on: transaction)
    }
    return Updated(key: key, propagation: await propagation(since: start))
  }

  /// Revokes all keys that are not revoked yet, in one transaction. Returns their number.
  package func revokeAll(
    of accountID: UUID, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> (count: Int, propagation: Propagation) {
    let start = ContinuousClock.now
    let count = try await pool.withTransaction(as: .account(accountID)) { transaction in
      guard try await !transaction.query(LockAccount(accountID: accountID)).isEmpty else { throw PortalError.notFound }
      return try await revokeAll(of: accountID, by: caller, reason, on: transaction)
    }
    outbox.ring()
    return (count, await propagation(since: start))
  }

  /// Like ``revokeAll(of:by:_:)``, in a transaction that has locked the account. `requesterName` is the name of the
  /// person who requested it, if that is not the caller.
  func revokeAll(
    of accountID: UUID, by caller: Caller, _ reason: SupportReason?, requesterName: String? = nil,
    on transaction: PostgresConnection
  ) async throws -> Int {
    var count = 0
    var isDone = false
    while !isDone {
      let ids = try await transaction.query(RevokeAllKeys(accountID: accountID))
      if !ids.isEmpty {
        try await transaction.execute(
          InsertKeyAuditEvents(accountID: accountID, keyIDs: ids, action: .keyRevoked, caller: caller, reason: reason))
      }
      count += ids.count
      isDone = ids.count < RevokeAllKeys.countMax
    }
    guard count > 0 else { return 0 }
    try await transaction.execute(
      outbox.notice(
        .keysRevoked, of: accountID, subjectID: accountID, if: !caller.actor.isCustomer,
        Mail.Parameters(
          actorName: caller.actor.name, requesterName: requesterName, keyCount: count, reason: reason?.text,
          ticket: reason?.ticket)))
    return count
  }

  /// Replaces a key by a successor with the same name and settings, which continues the windows of its limits, in a
  /// transaction of the account. Without a grace the old key is revoked; with one it expires after the grace. Keys that
  /// are still in the grace of an earlier roll are revoked in any case, and are `ended`: at most two keys of a lineage
  /// work, however often it is rolled. The cap is not checked, because the number of counted keys stays the same.
  package func roll(
    _ id: UUID, of accountID: UUID, graceSeconds: Int, by caller: Caller, at now: Moment,
    on transaction: PostgresConnection
  ) async throws -> (successor: IssuedKey, predecessor: Key, ended: [Key]) {
    // `others` are the keys of the lineage that are in the grace of an earlier roll.
    let (accounts, found, others) = try await transaction.pipeline(
      LockAccount(accountID: accountID), LockKey(accountID: accountID, id: id),
      LockPredecessors(accountID: accountID, id: id))
    guard let account = accounts.first, let key = found.first, caller.reaches(key) else { throw PortalError.notFound }
    try account.checkActive()
    guard key.status(at: now.expiryDate) == .active, key.rolledAt == nil else { throw PortalError.keyNotActive }
    let settings = KeySettings(of: key)
    try key.rules.check(settings, of: .key, madeAt: now.date)
    let successor = try await issue(settings, for: account.id, inPlaceOf: key, by: caller, on: transaction)
    let retired = try await transaction.pipeline(
      RetireRolledKey(accountID: account.id, id: key.id, graceSeconds: graceSeconds),
      InsertAuditEvent.onKey(key.id, of: account.id, .keyRolled, by: caller),
      then: FindKey(accountID: account.id, id: key.id))
    for other in others { _ = try await revoke(other, by: caller, nil, detail: Self.rolledAgain, on: transaction) }
    let ended = try await transaction.pipeline(each: others.map { FindKey(accountID: account.id, id: $0.id) })
    return (successor, try FindKey.one(of: retired), Array(ended.joined()))
  }

  /// `bucketID` are the credits of a key without a predecessor.
  private func issue(
    _ settings: KeySettings, credits bucketID: UUID? = nil, for accountID: UUID, inPlaceOf predecessor: Key? = nil,
    by caller: Caller, on transaction: PostgresConnection
  ) async throws -> IssuedKey {
    let id = UUID.version7()
    var api: CatalogAPI?
    if let apiID = settings.apiID { api = try await transaction.query(FindAPI(reference: .id(apiID))).first }
    let secret = format.makeSecret(
      settings.environment, prefix: settings.prefix ?? api?.settings.keyPrefix,
      byteCount: settings.byteLength ?? api?.settings.keyBytes ?? CatalogAPI.keyBytesDefault)
    var found = try await Self.naming {
      try await transaction.pipeline(
        InsertKey(
          id: id, accountID: accountID, settings: settings, secret: secret, creator: caller.actor,
          predecessorID: predecessor?.id, bucketID: bucketID ?? predecessor?.credits?.id),
        InsertAuditEvent.onKey(id, of: accountID, .keyCreated, by: caller),
        outbox.notice(
          .keyCreated, of: accountID, subjectID: id,
          Mail.Parameters(
            actorName: caller.actor.name, keyName: settings.name, keyStart: KeyFormat.start(of: secret))),
        then: FindKey(accountID: accountID, id: id))
    }
    if let predecessor, !predecessor.roles.isEmpty || !predecessor.permissions.isEmpty {
      found = try await transaction.pipeline(
        CopyKeyRoles(accountID: accountID, from: predecessor.id, to: id),
        CopyKeyPermissions(accountID: accountID, from: predecessor.id, to: id),
        then: FindKey(accountID: accountID, id: id))
    }
    return IssuedKey(key: try FindKey.one(of: found), secret: secret)
  }

  private static let apiOfBackend = PortalError.invalid(.api, "was chosen by the company, which alone changes it")

  /// The id of an api that a key is to be for. A member of the account may name only those that the plan lists, and is
  /// not told which others exist.
  private static func id(
    of api: CatalogReference, for caller: Caller, under plan: Plan, on transaction: PostgresConnection
  ) async throws -> UUID {
    guard let found = try await transaction.query(FindAPI(reference: api)).first else { throw noSuchAPI }
    if case .user = caller.actor, plan.apiIDs?.contains(found.id) != true { throw noSuchAPI }
    return found.id
  }

  /// Runs statements that name an api. It may have been deleted since it was found.
  private static func naming<Result>(_ body: () async throws -> Result) async throws -> Result {
    do {
      return try await body()
    } catch let error as PostgresError where error.violates("api_keys_api_fkey") {
      throw noSuchAPI
    }
  }

  private static var noSuchAPI: PortalError { .invalid(.api, "is not the id or slug of an api") }
}

extension Key {
  var isEnabled: Bool { disabledAt == nil }

  fileprivate func expiring(at date: Date?) -> Key {
    var key = self
    key.expiresAt = date
    return key
  }

  /// A revoked key cannot change, and a rolled key cannot outlive its grace.
  fileprivate func mayTake(_ changes: KeyChanges) -> Bool {
    revokedAt == nil && (rolledAt == nil || changes.expiresAt == .keep)
  }
}

extension Caller {
  /// Whether the key is visible to the caller.
  func reaches(_ key: Key) -> Bool { key.environment.isWithin(environment) && key.apiID.isWithin(apis: apiIDs) }

  /// Throws `.forbidden` for an api other than those that the caller is restricted to, and for all apis.
  fileprivate func checkMayManage(apiID: UUID?) throws(PortalError) {
    guard let apiIDs else { return }
    guard let apiID, apiIDs.contains(apiID) else {
      throw .forbidden(reason: "The token is restricted to some apis; apiId must be one of them.")
    }
  }
}
