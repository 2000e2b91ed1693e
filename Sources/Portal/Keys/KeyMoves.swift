package import Foundation
package import Postgres

/// Moves keys between accounts, for a company's backend.
package struct KeyMoves: Sendable {
  /// How often a move is tried if the key is moved by somebody else meanwhile.
  private static let tryCountMax = 3

  let pool: PostgresPool
  let keys: Keys
  package var clock: DatabaseClock { keys.clock }

  package init(pool: PostgresPool, keys: Keys) {
    self.pool = pool
    self.keys = keys
  }

  /// Moves a key to another account, with all that it was granted. Its predecessors that are still in their grace move
  /// with it. What was counted stays with the account that it was counted for. Both accounts have the event in their
  /// trails. If the key is there already, nothing is written.
  ///
  /// Throws `.notFound`; `.keyNotActive` for a revoked key, and for a rolled one, which moves with its successor;
  /// `.invalid` for an account that does not exist; `.forbidden` if one of the accounts is suspended; and what creating
  /// the key in that account would throw.
  package func move(_ keyID: UUID, to target: AccountReference, by caller: Caller) async throws -> Keys.Updated {
    let start = ContinuousClock.now
    let now = try await keys.now().expiryDate
    for _ in 0..<Self.tryCountMax {
      guard let source = try await pool.query(FindKeyAccount(id: keyID), as: .staff).first else {
        throw PortalError.notFound
      }
      guard let targetID = try await id(of: target) else { throw target.unknown }
      let moved = try await pool.withTransaction(as: .staff(in: source)) { transaction in
        try await move(keyID, from: source, to: targetID, target, by: caller, at: now, on: transaction)
      }
      if let moved { return Keys.Updated(key: moved, propagation: await keys.propagation(since: start)) }
    }
    throw PortalError.notFound
  }

  private func id(of reference: AccountReference) async throws -> UUID? {
    switch reference {
    case .id(let id): id
    case .externalID(let externalID):
      try await pool.query(FindExternalAccount(externalID: externalID), as: .staff).first
    }
  }

  /// Nil if the key is no longer in the source.
  private func move(
    _ keyID: UUID, from source: UUID, to target: UUID, _ reference: AccountReference, by caller: Caller,
    at now: Date, on transaction: PostgresConnection
  ) async throws -> Key? {
    // In the order of the ids, as all that lock several accounts.
    let accountIDs = source == target ? [source] : [source, target].sorted { $0.text < $1.text }
    var accounts: [UUID: Account] = [:]
    for id in accountIDs {
      let locked = try await transaction.pipeline(SetLocally(.staff(in: id)), then: LockAccount(accountID: id))
      accounts[id] = locked.first
    }
    let (_, rules, counts, found, predecessors) = try await transaction.pipeline(
      SetLocally(.staff(in: source)), FindKeyRules(accountID: target), CountLiveKeys(accountID: target),
      LockKey(accountID: source, id: keyID), LockPredecessors(accountID: source, id: keyID))
    guard let key = found.first else { return nil }
    guard caller.reaches(key) else { throw PortalError.notFound }
    guard key.revokedAt == nil, key.rolledAt == nil else { throw PortalError.keyNotActive }
    guard let account = accounts[target], let rules = rules.first else { throw reference.unknown }
    if source == target { return key }
    for account in accounts.values { try account.checkActive() }
    try rules.check(KeySettings(of: key), of: .key, madeAt: key.createdAt)
    if account.kind != .house, let cap = rules.plan.keyCap, !key.isExpired(at: now),
      try CountLiveKeys.one(of: counts) >= cap
    {
      throw PortalError.keyCapReached(cap: cap)
    }
    let moved = [key.id] + predecessors.map(\.id)
    _ = try await transaction.query(MoveKeys(target: target, keyIDs: moved))
    for id in accountIDs {
      let detail = AuditDetail(id == source ? "to the account \(target.text)" : "from the account \(source.text)")
      _ = try await transaction.query(SetLocally(.staff(in: id)))
      _ = try await transaction.pipeline(
        each: moved.map { InsertAuditEvent.onKey($0, of: id, .keyMoved, by: caller, detail: detail) })
    }
    return try FindKey.one(of: try await transaction.query(FindKey(accountID: target, id: keyID)))
  }
}

extension AccountReference {
  /// That there is no such account.
  fileprivate var unknown: PortalError {
    switch self {
    case .id: .invalid(.account, "is not the id of an account")
    case .externalID: .invalid(.externalID, "is not the external id of an account")
    }
  }
}
