package import Foundation
package import Postgres

/// The verbs of an account's keys. Each change is one transaction together with its audit event; a trigger tells the
/// instances. Locks are taken in the order account, keys.
package struct Keys: Sendable {
  /// Why a roll revokes a key that is in its grace period.
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

  /// What a roll leaves: the successor with its secret, the key it replaces, and those that were in the grace of an
  /// earlier roll, which it has ended.
  package struct Rolled: Sendable {
    package var successor: IssuedKey
    package var predecessor: Key
    package var ended: [Key]
    package var propagation: Propagation
  }

  /// When the key was revoked, first, and how far the news has come.
  package struct Revoked: Sendable {
    package var id: UUID
    package var revokedAt: Date
    package var propagation: Propagation
  }

  /// A key as it is now, and how far the news has come.
  package struct Updated: Sendable {
    package var key: Key
    package var propagation: Propagation
  }

  /// PostgreSQL's time, for verbs that are given a transaction.
  package func now() async throws -> Moment { try await clock.now(on: pool) }

  /// How far the news of a change has come that was begun at `start`.
  package func propagation(since start: ContinuousClock.Instant) async -> Propagation {
    await propagations.wait(since: start)
  }

  /// Throws `.notFound` if there is no such account.
  package func list(
    of accountID: UUID, _ filter: KeyFilter = KeyFilter(), page: PageRequest = PageRequest()
  ) async throws -> Page<Key> {
    let (_, keys) = try await pool.pipeline(
      ForceCustomPlan(), ListKeys(accountID: accountID, filter: filter, before: page.before, count: page.limit + 1),
      as: .account(accountID))
    if keys.isEmpty, try await pool.query(FindKeyRules(accountID: accountID), as: .account(accountID)).isEmpty {
      throw PortalError.notFound
    }
    return Page(keys, limit: page.limit, id: \.id)
  }

  /// Throws `.notFound` for another account's key, too, and for one of another environment, where one is given.
  package func find(
    _ id: UUID, of accountID: UUID, in environment: Key.Environment? = nil
  ) async throws -> Key {
    guard let key = try await pool.query(FindKey(accountID: accountID, id: id), as: .account(accountID)).first,
      key.environment.isWithin(environment)
    else { throw PortalError.notFound }
    return key
  }

  /// Makes a key, unless the plan does not allow it or the account has as many as it may. The account's row stays
  /// locked from the count to the commit, so that the cap holds however many ask at once.
  package func create(_ settings: KeySettings, for accountID: UUID, by caller: Caller) async throws -> IssuedKey {
    let now = try await now()
    let issued = try await pool.withTransaction(as: .account(accountID)) {
      try await create(settings, for: accountID, by: caller, at: now, on: $0)
    }
    outbox.ring()
    return issued
  }

  /// As ``create(_:for:by:)``, in a transaction of the account.
  package func create(
    _ settings: KeySettings, for accountID: UUID, by caller: Caller, at now: Moment, on transaction: PostgresConnection
  ) async throws -> IssuedKey {
    let (accounts, found, counts) = try await transaction.pipeline(
      LockAccount(accountID: accountID), FindKeyRules(accountID: accountID), CountLiveKeys(accountID: accountID))
    guard let account = accounts.first, let rules = found.first else { throw PortalError.notFound }
    if let only = caller.environment, only != settings.environment {
      throw PortalError.forbidden(reason: "The token is restricted to the environment \(only.rawValue).")
    }
    try account.checkActive()
    try rules.check(settings, madeAt: now.date)
    guard counts[0] < rules.plan.keyCap else { throw PortalError.keyCapReached(cap: rules.plan.keyCap) }
    return try await issue(settings, for: accountID, by: caller, on: transaction)
  }

  /// Revokes a key; a second time changes nothing and answers with the first time's moment.
  package func revoke(
    _ id: UUID, of accountID: UUID, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> Revoked {
    let start = ContinuousClock.now
    let revokedAt = try await pool.withTransaction(as: .account(accountID)) { transaction in
      let (_, found) = try await transaction.pipeline(
        LockAccount(accountID: accountID), LockKey(accountID: accountID, id: id))
      guard let key = found.first, caller.reaches(key) else { throw PortalError.notFound }
      if let revokedAt = key.revokedAt { return revokedAt }
      return try await revoke(key, by: caller, reason, on: transaction)
    }
    outbox.ring()
    return Revoked(id: id, revokedAt: revokedAt, propagation: await propagation(since: start))
  }

  /// Revokes a key that is locked and not revoked yet, and returns when. The mail's reason is the stated one, or else
  /// the detail.
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
          ticket: reason?.ticket)))
    return revoked[0]
  }

  /// Changes a key, unless it is revoked, or its revision is none of `revisions`. Where nothing changes, nothing is
  /// written.
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
      let settings = changes.applied(to: old)
      let isEnabled = changes.isEnabled ?? key.isEnabled
      if settings == old, isEnabled == key.isEnabled { return key }
      try account.checkActive()
      // Whoever enables a key answers for all of it, as who makes one.
      let isRevived = isEnabled && !key.isEnabled
      try key.rules.check(
        settings, madeAt: key.createdAt, only: isRevived ? nil : settings.ruledFields(changedFrom: old))
      // A key that comes back to life counts again.
      if key.isExpired(at: now), !key.expiring(at: settings.expiresAt).isExpired(at: now),
        counts[0] >= key.rules.plan.keyCap
      {
        throw PortalError.keyCapReached(cap: key.rules.plan.keyCap)
      }
      let action: AuditEvent.Action =
        isEnabled == key.isEnabled ? .keyUpdated : isEnabled ? .keyEnabled : .keyDisabled
      let (_, _, changed) = try await transaction.pipeline(
        UpdateKey(accountID: accountID, id: id, settings: settings, isEnabled: isEnabled),
        InsertAuditEvent.onKey(id, of: accountID, action, by: caller), FindKey(accountID: accountID, id: id))
      return changed[0]
    }
    return Updated(key: key, propagation: await propagation(since: start))
  }

  /// Revokes all keys that are not revoked yet, in one statement; how many there were.
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

  /// As ``revokeAll(of:by:_:)``, in a transaction that has locked the account. `requesterName` is who asked for it,
  /// where that is another than who does it.
  func revokeAll(
    of accountID: UUID, by caller: Caller, _ reason: SupportReason?, requesterName: String? = nil,
    on transaction: PostgresConnection
  ) async throws -> Int {
    let ids = try await transaction.query(RevokeAllKeys(accountID: accountID))
    guard !ids.isEmpty else { return 0 }
    _ = try await transaction.pipeline(
      InsertKeyAuditEvents(accountID: accountID, keyIDs: ids, action: .keyRevoked, caller: caller, reason: reason),
      outbox.notice(
        .keysRevoked, of: accountID, subjectID: accountID, if: !caller.actor.isCustomer,
        Mail.Parameters(
          actorName: caller.actor.name, requesterName: requesterName, keyCount: ids.count, reason: reason?.text,
          ticket: reason?.ticket)))
    return ids.count
  }

  /// Replaces a key by one with the same name and settings, which goes on with the windows of its limits. Without a
  /// grace the old one is revoked, else it expires after the grace. What an earlier roll has left in its grace is
  /// revoked in any case: no more than two of a lineage work, however often it is rolled. The cap does not stand in the
  /// way: the number of keys that count stays the same.
  package func roll(
    _ id: UUID, of accountID: UUID, graceSeconds: Int, by caller: Caller
  ) async throws -> Rolled {
    let start = ContinuousClock.now
    let now = try await now()
    let rolled = try await pool.withTransaction(as: .account(accountID)) {
      try await roll(id, of: accountID, graceSeconds: graceSeconds, by: caller, at: now, on: $0)
    }
    outbox.ring()
    return Rolled(
      successor: rolled.successor, predecessor: rolled.predecessor, ended: rolled.ended,
      propagation: await propagation(since: start))
  }

  /// As ``roll(_:of:graceSeconds:by:)``, in a transaction of the account.
  package func roll(
    _ id: UUID, of accountID: UUID, graceSeconds: Int, by caller: Caller, at now: Moment,
    on transaction: PostgresConnection
  ) async throws -> (successor: IssuedKey, predecessor: Key, ended: [Key]) {
    // The others are those of the key's lineage that are in the grace of an earlier roll.
    let (accounts, found, others) = try await transaction.pipeline(
      LockAccount(accountID: accountID), LockKey(accountID: accountID, id: id),
      LockPredecessors(accountID: accountID, id: id))
    guard let account = accounts.first, let key = found.first, caller.reaches(key) else { throw PortalError.notFound }
    try account.checkActive()
    guard key.status(at: now.expiryDate) == .active, key.rolledAt == nil else { throw PortalError.keyNotActive }
    let settings = KeySettings(of: key)
    try key.rules.check(settings, of: .key, madeAt: now.date)
    let successor = try await issue(settings, for: account.id, inPlaceOf: key.id, by: caller, on: transaction)
    let (_, _, retired) = try await transaction.pipeline(
      RetireRolledKey(accountID: account.id, id: key.id, graceSeconds: graceSeconds),
      InsertAuditEvent.onKey(key.id, of: account.id, .keyRolled, by: caller),
      FindKey(accountID: account.id, id: key.id))
    for other in others { _ = try await revoke(other, by: caller, nil, detail: Self.rolledAgain, on: transaction) }
    let ended = try await transaction.pipeline(each: others.map { FindKey(accountID: account.id, id: $0.id) })
    return (successor, retired[0], Array(ended.joined()))
  }

  private func issue(
    _ settings: KeySettings, for accountID: UUID, inPlaceOf predecessorID: UUID? = nil, by caller: Caller,
    on transaction: PostgresConnection
  ) async throws -> IssuedKey {
    let id = UUID.version7()
    let secret = format.makeSecret(settings.environment)
    let (_, _, _, found) = try await transaction.pipeline(
      InsertKey(
        id: id, accountID: accountID, settings: settings, secret: secret, maker: caller.actor,
        predecessorID: predecessorID),
      InsertAuditEvent.onKey(id, of: accountID, .keyCreated, by: caller),
      outbox.notice(
        .keyCreated, of: accountID, subjectID: id,
        Mail.Parameters(
          actorName: caller.actor.name, keyName: settings.name, keyStart: secret.start(Key.startLength))),
      FindKey(accountID: accountID, id: id))
    return IssuedKey(key: found[0], secret: secret)
  }
}

extension Key {
  var isEnabled: Bool { disabledAt == nil }

  fileprivate func expiring(at date: Date?) -> Key {
    var key = self
    key.expiresAt = date
    return key
  }

  /// What is revoked stays as it was. What was rolled does not outlive its grace.
  fileprivate func mayTake(_ changes: KeyChanges) -> Bool {
    revokedAt == nil && (rolledAt == nil || changes.expiresAt == .keep)
  }
}

extension Caller {
  fileprivate func reaches(_ key: Key) -> Bool { key.environment.isWithin(environment) }
}
