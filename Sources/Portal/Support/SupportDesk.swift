package import Foundation
package import Postgres

/// What staff look for: all of these that are given.
package struct KeySearch: Sendable, Equatable {
  package var id: UUID?
  package var accountID: UUID?
  /// The beginning of what a customer sees of the key.
  package var start: String?
  package var hash: SecretHash?
  /// Of a member of the key's account.
  package var email: EmailAddress?
  /// A part of the address of a member, in whatever case.
  package var emailPart: String?
  /// A part of the account's name, in whatever case.
  package var accountName: String?

  package init(
    id: UUID? = nil, accountID: UUID? = nil, start: String? = nil, hash: SecretHash? = nil,
    email: EmailAddress? = nil, emailPart: String? = nil, accountName: String? = nil
  ) {
    self.id = id
    self.accountID = accountID
    self.start = start
    self.hash = hash
    self.email = email
    self.emailPart = emailPart?.lowercased().composed
    self.accountName = accountName
  }
}

/// Which accounts staff look for: all of these that are given.
package struct AccountSearch: Sendable, Equatable {
  /// A shorter part of a name or an address would be found nearly everywhere, and has no trigram for the index.
  package static let partLengthMin = 3

  package var id: UUID?
  /// Of a member.
  package var email: EmailAddress?
  /// A part of the address of a member, in whatever case.
  package var emailPart: String?
  /// A part of it, in whatever case.
  package var name: String?

  package init(id: UUID? = nil, email: EmailAddress? = nil, emailPart: String? = nil, name: String? = nil) {
    self.id = id
    self.email = email
    self.emailPart = emailPart?.lowercased().composed
    self.name = name
  }
}

/// An account as staff see it.
package struct FoundAccount: Sendable, Equatable {
  package struct KeyCounts: Sendable, Equatable {
    package var total: Int
    package var unrevoked: Int
    /// Those that count towards the plan's cap.
    package var live: Int
  }

  package struct Member: Sendable, Equatable {
    package var user: User
    package var role: MemberRole
  }

  package var account: Account
  package var suspensionReason: String?
  package var createdAt: Date
  package var keys: KeyCounts
  package var memberCount: Int
  /// Owners first; not all where there are very many.
  package var members: [Member]
}

/// What staff may do with customers' keys and accounts. Every change carries its reason into the audit trail that the
/// customer reads, in the transaction of the change.
package struct SupportDesk: Sendable {
  package static let resultCountMax = 100
  /// Members that are listed of each account.
  package static let memberCountMax = 50

  let pool: PostgresPool
  let keys: Keys
  let propagations: Propagations
  let outbox: Outbox
  package var clock: DatabaseClock { keys.clock }

  package init(
    pool: PostgresPool, keys: Keys, propagations: Propagations, outbox: Outbox = Outbox(isOpen: false)
  ) {
    self.pool = pool
    self.keys = keys
    self.propagations = propagations
    self.outbox = outbox
  }

  /// What keys are judged by; PostgreSQL is asked where nothing else is.
  package func now() async throws -> Date { try await clock.now(on: pool).expiryDate }

  package func search(_ search: KeySearch) async throws -> [Key] {
    try await pool.pipeline(
      ForceCustomPlan(), SearchKeys(search: search, count: Self.resultCountMax), as: .staff
    ).1
  }

  /// The key that somebody pasted, with what came along with it; none if nobody has it. Throws `.notAKey` for what can
  /// be none.
  package func lookUp(pasted text: String) async throws -> [Key] {
    guard let secret = keys.format.key(pasted: text) else { throw PortalError.notAKey }
    return try await search(KeySearch(hash: secret.hash))
  }

  package func search(_ search: AccountSearch) async throws -> [FoundAccount] {
    try await self.search(search, page: PageRequest(limit: Self.resultCountMax)).items
  }

  /// In pages, the newest first; of all accounts where the search says nothing.
  package func search(_ search: AccountSearch, page: PageRequest) async throws -> Page<FoundAccount> {
    let (_, found) = try await pool.pipeline(
      ForceCustomPlan(),
      SearchAccounts(search: search, before: page.before, count: page.limit + 1, memberCount: Self.memberCountMax),
      as: .staff)
    return Page(found, limit: page.limit, id: \.account.id)
  }

  /// The instances that have been heard of lately, those that are behind first.
  package func instances() async throws -> [InstanceReport] {
    try await pool.query(ListInstances(count: Self.resultCountMax), as: .staff)
  }

  /// Revokes any customer's key; as ``Keys/revoke(_:of:by:_:)``.
  package func revokeKey(_ id: UUID, by caller: Caller, _ reason: SupportReason) async throws -> Keys.Revoked {
    guard let accountID = try await pool.query(FindKeyAccount(id: id), as: .staff).first else {
      throw PortalError.notFound
    }
    return try await keys.revoke(id, of: accountID, by: caller, reason)
  }

  /// Suspends or resumes an account with all its keys; nothing happens if it is so already.
  package func setSuspension(
    of accountID: UUID, to isSuspended: Bool, by caller: Caller, _ reason: SupportReason
  ) async throws -> (account: Account, propagation: Propagation) {
    let clock = ContinuousClock.now
    let account = try await pool.withTransaction(as: .staff(in: accountID)) { transaction in
      guard let account = try await transaction.query(LockAccount(accountID: accountID)).first else {
        throw PortalError.notFound
      }
      if (account.suspendedAt != nil) == isSuspended { return account }
      let (_, _, _, changed) = try await transaction.pipeline(
        SetAccountSuspension(accountID: accountID, isSuspended: isSuspended, reason: isSuspended ? reason.text : nil),
        InsertAuditEvent.onAccount(accountID, isSuspended ? .accountSuspended : .accountResumed, by: caller, reason),
        outbox.notice(
          isSuspended ? .accountSuspended : .accountResumed, of: accountID, subjectID: accountID,
          Mail.Parameters(actorName: caller.actor.name, reason: reason.text, ticket: reason.ticket)),
        LockAccount(accountID: accountID))
      return changed[0]
    }
    outbox.ring()
    return (account, await propagations.wait(since: clock))
  }

  // MARK: Revoking all keys

  /// Revokes all keys of an account in one statement. Where they are more than one member of staff revokes alone,
  /// nothing happens to them: it waits for another to confirm it, and whoever asks again meanwhile gets what waits
  /// already.
  package func revokeKeys(
    of accountID: UUID, by caller: Caller, _ reason: SupportReason
  ) async throws -> KeysRevocation {
    let clock = ContinuousClock.now
    let (count, waiting) = try await pool.withTransaction(as: .staff(in: accountID)) { transaction in
      let (accounts, counts, waiting) = try await transaction.pipeline(
        LockAccount(accountID: accountID), CountUnrevokedKeys(accountID: accountID),
        FindConfirmation(accountID: accountID))
      guard !accounts.isEmpty else { throw PortalError.notFound }
      guard counts[0] > StaffConfirmation.soloKeyCountMax else {
        // What waits is done with this: keys that are made later are none of it.
        for confirmation in waiting {
          _ = try await transaction.query(TakeConfirmation(accountID: accountID, id: confirmation.id))
        }
        let count = try await keys.revokeAll(of: accountID, by: caller, reason, on: transaction)
        for confirmation in waiting {
          try await transaction.execute(
            InsertAuditEvent.onConfirmation(
              confirmation.id, of: accountID, .revocationWithdrawn, by: caller, confirmation.reason))
        }
        return (count, StaffConfirmation?.none)
      }
      if let confirmation = waiting.first { return (0, confirmation) }
      let id = UUID.version7()
      let (_, _, _, made) = try await transaction.pipeline(
        DeleteExpiredConfirmation(accountID: accountID),
        InsertConfirmation(id: id, accountID: accountID, keyCount: counts[0], caller: caller, reason: reason),
        InsertAuditEvent.onConfirmation(id, of: accountID, .revocationRequested, by: caller, reason),
        FindConfirmation(accountID: accountID))
      return (0, made[0])
    }
    if let waiting { return .waits(waiting) }
    outbox.ring()
    return .done(keyCount: count, propagation: await propagations.wait(since: clock))
  }

  /// What waits to be confirmed, the newest first.
  package func confirmations() async throws -> [StaffConfirmation] {
    try await pool.query(ListConfirmations(count: Self.resultCountMax), as: .staff)
  }

  /// Revokes all keys that the account has now, once; how many. Throws `.forbidden` for whoever asked for it, and
  /// `.notFound` if it was confirmed or withdrawn already, or is over.
  package func confirm(_ id: UUID, by caller: Caller) async throws -> (keyCount: Int, propagation: Propagation) {
    let clock = ContinuousClock.now
    let accountID = try await accountID(ofConfirmation: id)
    let count = try await pool.withTransaction(as: .staff(in: accountID)) { transaction in
      let (accounts, taken) = try await transaction.pipeline(
        LockAccount(accountID: accountID), TakeConfirmation(accountID: accountID, id: id))
      guard !accounts.isEmpty, let confirmation = taken.first else { throw PortalError.notFound }
      try confirmation.checkConfirmation(by: caller)
      let count = try await keys.revokeAll(
        of: accountID, by: caller, confirmation.reason, requesterName: confirmation.requesterName, on: transaction)
      try await transaction.execute(
        InsertAuditEvent.onConfirmation(id, of: accountID, .revocationConfirmed, by: caller, confirmation.reason))
      return count
    }
    outbox.ring()
    return (count, await propagations.wait(since: clock))
  }

  /// Takes back what waits to be confirmed, whoever asked for it.
  package func withdraw(_ id: UUID, by caller: Caller) async throws {
    let accountID = try await accountID(ofConfirmation: id)
    try await pool.withTransaction(as: .staff(in: accountID)) { transaction in
      let (accounts, taken) = try await transaction.pipeline(
        LockAccount(accountID: accountID), TakeConfirmation(accountID: accountID, id: id))
      guard !accounts.isEmpty, let confirmation = taken.first else { throw PortalError.notFound }
      try await transaction.execute(
        InsertAuditEvent.onConfirmation(id, of: accountID, .revocationWithdrawn, by: caller, confirmation.reason))
    }
  }

  private func accountID(ofConfirmation id: UUID) async throws -> UUID {
    guard let accountID = try await pool.query(FindConfirmationAccount(id: id), as: .staff).first else {
      throw PortalError.notFound
    }
    return accountID
  }
}
