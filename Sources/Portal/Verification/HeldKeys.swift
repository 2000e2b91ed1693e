package import Postgres

/// What the holder of a key may do with it: view it and revoke it. Nothing here counts as a use of the key.
package struct HeldKeys: Sendable {
  let pool: PostgresPool
  let keys: Keys
  let usages: Usages
  let limiter: RateLimiter

  package init(pool: PostgresPool, keys: Keys, usages: Usages, limiter: RateLimiter) {
    self.pool = pool
    self.keys = keys
    self.usages = usages
    self.limiter = limiter
  }

  /// The key with this text, of whatever status. Throws `.unauthenticated`. It does not use the cache and the
  /// connections of verification, so that guesses take nothing from gateways.
  package func find(_ presented: Secret) async throws -> HeldKey {
    guard let hash = keys.format.hash(of: presented),
      let found = try await pool.query(FindVerifiableKeys(hashes: [hash]), as: .gateway).first?.found
    else { throw PortalError.unauthenticated }
    return HeldKey(try found.key.get())
  }

  /// Throws `.forbidden` if the key's list of addresses does not have the caller's, and `.notFound` if the account was
  /// deleted.
  package func view(_ held: HeldKey, by caller: Caller) async throws -> HeldKeyView {
    let (id, accountID) = (held.key.id, held.key.accountID)
    guard held.key.isAllowed(from: caller.ip.flatMap { AddressBlock($0) }) else {
      throw PortalError.forbidden(reason: "The key may not be used from this address.")
    }
    let key = try await keys.findSettled(id, of: accountID)
    let remainingCredits = try await pool.remaining(of: held.key)
    let today = try await usages.report(onKey: id, of: accountID, days: 1)
    let now = try await keys.now()
    return HeldKeyView(
      key: key, status: key.status(at: now.expiryDate), limits: limiter.peek(held.key.limits, at: now.milliseconds),
      remainingCredits: remainingCredits, today: today)
  }

  /// Like ``Keys/revoke(_:of:by:_:)``, from whatever address: a key that somebody has found should stop working.
  package func revoke(_ held: HeldKey, by caller: Caller) async throws -> Keys.Revoked {
    try await keys.revoke(held.key.id, of: held.key.accountID, by: caller)
  }
}

extension PostgresPool {
  /// What is left of the credits that a key spends from, as far as it is settled; nil if there is no end of it.
  func remaining(of key: VerifiableKey) async throws -> Int? {
    guard let credits = key.credits else { return nil }
    return try await query(
      FindSettledCredits(accountID: key.accountID, bucketIDs: credits.buckets), as: .account(key.accountID)
    ).first
  }
}
