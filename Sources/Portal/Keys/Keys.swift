package import Foundation
package import Postgres

/// The verbs of an account's keys. Each change is one transaction together with its audit event; a trigger tells the
/// instances. Locks are taken in the order account, key.
package struct Keys: Sendable {
  let pool: PostgresPool
  let format: KeyFormat
  let propagations: Propagations
  let outbox: Outbox

  package init(
    pool: PostgresPool, format: KeyFormat, propagations: Propagations, outbox: Outbox = Outbox(isOpen: false)
  ) {
    self.pool = pool
    self.format = format
    self.propagations = propagations
    self.outbox = outbox
  }

  /// What a roll leaves: the successor with its secret, and the key it replaces.
  package struct Rolled: Sendable {
    package var successor: IssuedKey
    package var predecessor: Key
    package var propagation: Propagation
  }

  /// When the key was revoked, first, and how far the news has come.
  package struct Revoked: Sendable {
    package var id: UUID
    package var revokedAt: Date
    package var propagation: Propagation
  }

  package func list(
    of accountID: UUID, status: Key.Status? = nil, page: PageRequest = PageRequest()
  ) async throws -> Page<Key> {
    let keys = try await pool.query(
      ListKeys(accountID: accountID, before: page.before, status: status, count: page.limit + 1),
      as: .account(accountID))
    return Page(keys, limit: page.limit, id: \.id)
  }

  /// Throws `.notFound` for another account's key, too.
  package func find(_ id: UUID, of accountID: UUID) async throws -> Key {
    guard let key = try await pool.query(FindKey(accountID: accountID, id: id), as: .account(accountID)).first else {
      throw PortalError.notFound
    }
    return key
  }

  /// Makes a key, unless the plan does not allow it or the account has as many as it may. The account's row stays locked
  /// from the count to the commit, so that the cap holds however many ask at once.
  package func create(_ settings: KeySettings, for accountID: UUID, by caller: Caller) async throws -> IssuedKey {
    let issued = try await pool.withTransaction(as: .account(accountID)) { transaction in
      let (accounts, counts) = try await transaction.pipeline(
        LockAccount(accountID: accountID), CountLiveKeys(accountID: accountID))
      guard let account = accounts.first else { throw PortalError.notFound }
      try account.checkActive()
      try settings.check(against: account.plan)
      guard counts[0] < account.plan.keyCap else { throw PortalError.keyCapReached(cap: account.plan.keyCap) }
      return try await issue(settings, for: accountID, by: caller, on: transaction)
    }
    outbox.ring()
    return issued
  }

  /// Revokes a key; a second time changes nothing and answers with the first time's moment.
  package func revoke(
    _ id: UUID, of accountID: UUID, by caller: Caller, _ reason: SupportReason? = nil
  ) async throws -> Revoked {
    let clock = ContinuousClock.now
    let revokedAt = try await pool.withTransaction(as: .account(accountID)) { transaction in
      let (_, found) = try await transaction.pipeline(
        LockAccount(accountID: accountID), LockKey(accountID: accountID, id: id))
      guard let key = found.first else { throw PortalError.notFound }
      if let revokedAt = key.revokedAt { return revokedAt }
      let (revoked, _, _) = try await transaction.pipeline(
        RevokeKey(accountID: accountID, id: id),
        InsertAuditEvent.onKey(id, of: accountID, .keyRevoked, by: caller, reason),
        outbox.notice(
          .keyRevoked, of: accountID, subjectID: id, if: !caller.actor.isCustomer,
          Mail.Parameters(
            actorName: caller.actor.name, keyName: key.name, keyStart: key.start, reason: reason?.text,
            ticket: reason?.ticket)))
      return revoked[0]
    }
    outbox.ring()
    return Revoked(id: id, revokedAt: revokedAt, propagation: await propagations.wait(since: clock))
  }

  /// Replaces a key by one with the same name and settings. Without a grace the old one is revoked, else it expires after
  /// the grace. The cap does not stand in the way: the number of keys that count stays the same.
  package func roll(
    _ id: UUID, of accountID: UUID, graceSeconds: Int, by caller: Caller
  ) async throws -> Rolled {
    let clock = ContinuousClock.now
    let (successor, predecessor) = try await pool.withTransaction(as: .account(accountID)) { transaction in
      let (accounts, found) = try await transaction.pipeline(
        LockAccount(accountID: accountID), LockKey(accountID: accountID, id: id))
      guard let account = accounts.first, let key = found.first else { throw PortalError.notFound }
      try account.checkActive()
      guard key.status(at: Date()) == .active, key.rolledAt == nil else { throw PortalError.keyNotActive }
      let settings = KeySettings(rolling: key)
      try settings.check(against: account.plan)
      let successor = try await issue(settings, for: accountID, by: caller, on: transaction)
      let (_, _, retired) = try await transaction.pipeline(
        RetireRolledKey(accountID: accountID, id: id, graceSeconds: graceSeconds),
        InsertAuditEvent.onKey(id, of: accountID, .keyRolled, by: caller),
        FindKey(accountID: accountID, id: id))
      return (successor, retired[0])
    }
    outbox.ring()
    return Rolled(
      successor: successor, predecessor: predecessor, propagation: await propagations.wait(since: clock))
  }

  private func issue(
    _ settings: KeySettings, for accountID: UUID, by caller: Caller, on transaction: PostgresConnection
  ) async throws -> IssuedKey {
    let id = UUID.version7()
    let secret = format.makeSecret(settings.environment)
    let (_, _, _, found) = try await transaction.pipeline(
      InsertKey(id: id, accountID: accountID, settings: settings, secret: secret),
      InsertAuditEvent.onKey(id, of: accountID, .keyCreated, by: caller),
      outbox.notice(
        .keyCreated, of: accountID, subjectID: id,
        Mail.Parameters(
          actorName: caller.actor.name, keyName: settings.name, keyStart: secret.start(Key.startLength))),
      FindKey(accountID: accountID, id: id))
    return IssuedKey(key: found[0], secret: secret)
  }
}

extension KeySettings {
  /// The settings of a successor.
  init(rolling key: Key) {
    self.init(
      name: key.name, environment: key.environment, scopes: key.scopes, rateLimitPerMinute: key.rateLimitPerMinute,
      limits: key.limits, rateLimitMode: key.rateLimitMode, allowedIPs: key.allowedIPs, expiresAt: key.expiresAt)
  }
}

extension Account {
  /// A suspended account keeps what it has, but gets nothing new.
  func checkActive() throws(PortalError) {
    guard suspendedAt == nil else { throw .forbidden(reason: "The account is suspended.") }
  }
}
