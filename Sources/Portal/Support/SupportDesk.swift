package import Foundation
package import Postgres

/// A search for keys by staff. Keys match if they meet all given conditions.
package struct KeySearch: Sendable, Equatable {
  package var id: UUID?
  package var accountID: UUID?
  /// A prefix of the part of the key that its customer sees.
  package var start: String?
  package var hash: SecretHash?
  /// The address of a member of the key's account.
  package var email: EmailAddress?
  /// A part of the address of a member, ignoring case.
  package var emailPart: String?
  /// A part of the account's name, ignoring case.
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

/// A search for accounts by staff. Accounts match if they meet all given conditions.
package struct AccountSearch: Sendable, Equatable {
  /// A shorter part of a name or an address would match nearly everything, and has no trigram for the index.
  package static let partLengthMin = 3

  package var id: UUID?
  /// The address of a member.
  package var email: EmailAddress?
  /// A part of the address of a member, ignoring case.
  package var emailPart: String?
  /// A part of the account's name, ignoring case.
  package var name: String?

  package init(id: UUID? = nil, email: EmailAddress? = nil, emailPart: String? = nil, name: String? = nil) {
    self.id = id
    self.email = email
    self.emailPart = emailPart?.lowercased().composed
    self.name = name
  }
}

/// An account, as staff see it.
package struct FoundAccount: Sendable, Equatable {
  package struct KeyCounts: Sendable, Equatable {
    package var total: Int
    package var unrevoked: Int
    /// The keys that count towards the plan's cap.
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
  /// Owners first, at most ``SupportDesk/memberCountMax``.
  package var members: [Member]
}

/// Staff's operations on customers' keys and accounts. Every change is recorded with its reason in the audit trail that
/// the customer reads, in the same transaction.
package struct SupportDesk: Sendable {
  static let resultCountMax = 100
  /// The most members listed per account.
  static let memberCountMax = 50

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

  /// The time by which the status of keys is determined. Asks PostgreSQL if its clock was not measured recently.
  package func now() async throws -> Date { try await clock.now(on: pool).expiryDate }

  package func search(_ search: KeySearch) async throws -> [Key] {
    try await pool.pipeline(ForceCustomPlan(), then: SearchKeys(search: search, count: Self.resultCountMax), as: .staff)
  }

  /// The key in a pasted text; empty if the key does not exist. Throws `.notAKey` if the text cannot contain a key.
  package func lookUp(pasted text: String) async throws -> [Key] {
    if let secret = keys.format.key(pasted: text) {
      let found = try await search(KeySearch(hash: secret.hash))
      return found.isEmpty ? try await imported(secret) : found
    }
    // An imported key may look like one of this portal, but without its checksum.
    guard let secret = keys.format.anyKey(pasted: text), case let found = try await imported(secret), !found.isEmpty
    else { throw PortalError.notAKey }
    return found
  }

  /// The key that was imported by a hash of this text, if there is one.
  private func imported(_ secret: Secret) async throws -> [Key] {
    let hashes = secret.importedHashes(keys.format.importSalt)
    // A key that has been used is found by its own hash.
    guard let id = try await pool.query(FindUnusedImport(hashes: hashes), as: .staff).first else { return [] }
    return try await search(KeySearch(id: id))
  }

  package func search(_ search: AccountSearch) async throws -> [FoundAccount] {
    try await self.search(search, page: PageRequest(limit: Self.resultCountMax)).items
  }

  /// In pages, newest first. An empty search matches all accounts.
  package func search(_ search: AccountSearch, page: PageRequest) async throws -> Page<FoundAccount> {
    let found = try await pool.pipeline(
      ForceCustomPlan(),
      then: SearchAccounts(
        search: search, before: page.before, count: page.limit + 1, memberCount: Self.memberCountMax),
      as: .staff)
    return Page(found, limit: page.limit, id: \.account.id)
  }

  /// The instances with a recent heartbeat, those that are behind first.
  package func instances() async throws -> [InstanceReport] {
    try await pool.query(ListInstances(count: Self.resultCountMax), as: .staff)
  }

  /// Revokes any customer's key, like ``Keys/revoke(_:of:by:_:)``.
  package func revokeKey(_ id: UUID, by caller: Caller, _ reason: SupportReason) async throws -> Keys.Revoked {
    guard let accountID = try await pool.query(FindKeyAccount(id: id), as: .staff).first else {
      throw PortalError.notFound
    }
    return try await keys.revoke(id, of: accountID, by: caller, reason)
  }

  /// Suspends or resumes an account with all its keys. Does nothing if the account is already in that state.
  package func setSuspension(
    of accountID: UUID, to isSuspended: Bool, by caller: Caller, _ reason: SupportReason
  ) async throws -> (account: Account, propagation: Propagation) {
    let clock = ContinuousClock.now
    let account = try await pool.withTransaction(as: .staff(in: accountID)) { transaction in
      guard let account = try await transaction.query(LockAccount(accountID: accountID)).first else {
        throw PortalError.notFound
      }
      if (account.suspendedAt != nil) == isSuspended { return account }
      let changed = try await transaction.pipeline(
        SetAccountSuspension(accountID: accountID, isSuspended: isSuspended, reason: isSuspended ? reason.text : nil),
        InsertAuditEvent.onAccount(accountID, isSuspended ? .accountSuspended : .accountResumed, by: caller, reason),
        outbox.notice(
          isSuspended ? .accountSuspended : .accountResumed, of: accountID, subjectID: accountID,
          Mail.Parameters(actorName: caller.actor.name, reason: reason.text, ticket: reason.ticket)),
        then: LockAccount(accountID: accountID))
      return try LockAccount.one(of: changed)
    }
    outbox.ring()
    return (account, await propagations.wait(since: clock))
  }

  // MARK: Revoking all keys

  /// Revokes all keys of an account in one statement. If there are more than ``StaffConfirmation/soloKeyCountMax``,
  /// none is revoked: the request waits for another member of staff to confirm it, and further requests meanwhile
  /// return the pending one.
  package func revokeKeys(
    of accountID: UUID, by caller: Caller, _ reason: SupportReason
  ) async throws -> KeysRevocation {
    let clock = ContinuousClock.now
    let (count, waiting) = try await pool.withTransaction(as: .staff(in: accountID)) { transaction in
      let (accounts, counts, waiting) = try await transaction.pipeline(
        LockAccount(accountID: accountID), CountUnrevokedKeys(accountID: accountID),
        FindConfirmation(accountID: accountID))
      guard !accounts.isEmpty else { throw PortalError.notFound }
      let unrevokedCount = try CountUnrevokedKeys.one(of: counts)
      guard unrevokedCount > StaffConfirmation.soloKeyCountMax else {
        // This settles a pending request, which must not cover keys that are created later.
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
      let made = try await transaction.pipeline(
        DeleteExpiredConfirmation(accountID: accountID),
        InsertConfirmation(id: id, accountID: accountID, keyCount: unrevokedCount, caller: caller, reason: reason),
        InsertAuditEvent.onConfirmation(id, of: accountID, .revocationRequested, by: caller, reason),
        then: FindConfirmation(accountID: accountID))
      return (0, try FindConfirmation.one(of: made))
    }
    if let waiting { return .waits(waiting) }
    outbox.ring()
    return .done(keyCount: count, propagation: await propagations.wait(since: clock))
  }

  /// The pending confirmations, newest first.
  package func confirmations() async throws -> [StaffConfirmation] {
    try await pool.query(ListConfirmations(count: Self.resultCountMax), as: .staff)
  }

  /// Revokes all keys that the account has now, and returns how many. Throws `.forbidden` for the requester, and
  /// `.notFound` if the request was confirmed or withdrawn, or has expired.
  package func confirm(_ id: UUID, by caller: Caller) async throws -> (keyCount: Int, propagation: Propagation) {
    let clock = ContinuousClock.now
    guard let accountID = try await accountID(ofConfirmation: id) else { return try await confirmList(id, by: caller) }
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

  /// Withdraws a pending request; any member of staff may do so. Throws `.notFound`.
  package func withdraw(_ id: UUID, by caller: Caller) async throws {
    guard let accountID = try await accountID(ofConfirmation: id) else { return try await withdrawList(id, by: caller) }
    try await pool.withTransaction(as: .staff(in: accountID)) { transaction in
      let (accounts, taken) = try await transaction.pipeline(
        LockAccount(accountID: accountID), TakeConfirmation(accountID: accountID, id: id))
      guard !accounts.isEmpty, let confirmation = taken.first else { throw PortalError.notFound }
      try await transaction.execute(
        InsertAuditEvent.onConfirmation(id, of: accountID, .revocationWithdrawn, by: caller, confirmation.reason))
    }
  }

  /// Nil for a list of keys.
  private func accountID(ofConfirmation id: UUID) async throws -> UUID? {
    guard let accountID = try await pool.query(FindConfirmationAccount(id: id), as: .staff).first else {
      throw PortalError.notFound
    }
    return accountID
  }
}
