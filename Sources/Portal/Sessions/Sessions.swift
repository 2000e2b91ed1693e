package import Foundation
package import Postgres

/// Opens, finds and ends sessions. Tokens are 256 random bits, stored as their SHA-256.
///
/// A session ends after its lifetime, or earlier if it is idle for too long. It gets a new token at every login and
/// whenever its owner's privileges change; the old token becomes invalid in the same transaction.
package struct Sessions: Sendable {
  /// The maximum number of sessions in a list, most recently used first.
  static let listCountMax = 100
  package static let idleHoursDefault = 168

  let pool: PostgresPool
  let passwords: PasswordHasher
  let attempts: Attempts
  package let credentialChanges: CredentialChanges
  package let secondFactors: SecondFactors
  package let clock: DatabaseClock
  let lifetimeSeconds: Int
  let idleSeconds: Int

  package init(
    pool: PostgresPool, passwords: PasswordHasher, attempts: Attempts, box: SecretBox? = nil,
    outbox: Outbox = Outbox(isOpen: false), lifetime: Duration, idleHours: Int = idleHoursDefault,
    clock: DatabaseClock = DatabaseClock()
  ) {
    self.pool = pool
    self.passwords = passwords
    self.attempts = attempts
    credentialChanges = CredentialChanges(pool: pool, passwords: passwords, attempts: attempts, outbox: outbox)
    secondFactors = SecondFactors(
      pool: pool, attempts: attempts, box: box, credentials: credentialChanges, clock: clock)
    self.clock = clock
    lifetimeSeconds = Int(lifetime.components.seconds)
    idleSeconds = idleHours * 3_600
  }

  // MARK: Customers

  /// Logs a customer in, and ends the session `replaced` that the same browser had. Throws `.invalidCredentials` for an
  /// unknown address and for a wrong password alike, after the same time; `.secondFactorRequired` if the password is
  /// right and `code` is missing; `.tooManyRequests` after too many attempts.
  package func logIn(
    email: String, password: Password, code: String? = nil, from origin: Origin, replacing replaced: Secret? = nil
  ) async throws -> IssuedSession<MemberSession> {
    let proven = try await prove(MemberSession.self, email, password, code, origin) { emails in
      try await pool.query(FindUserForLogin(emails: emails), as: .identity).first
    }
    guard let accountID = proven.candidate.accountID else { throw PortalError.invalidCredentials }
    let token = Secret.random(prefix: MemberSession.tokenPrefix)
    let session = try await pool.withTransaction(as: .identity) { transaction in
      let (_, _, ended, _, found) = try await transaction.pipeline(
        // Locks the person first, like the operation that disables a second factor.
        ShareLockPerson<MemberSession>(id: proven.candidate.personID), SettleAttempts(succeeded: proven.admissions),
        DeleteSession(token: replaced?.hash),
        InsertSession(
          token: token.hash, accountID: accountID, userID: proven.candidate.personID, lifetimeSeconds: lifetimeSeconds,
          origin: origin, candidate: proven.candidate),
        FindSession(token: token.hash, idleSeconds: idleSeconds))
      // The proven credentials have changed in the meantime.
      guard let session = found.first else { throw PortalError.invalidCredentials }
      try await transaction.record(
        ended.map { $0.event(ip: origin.ip) } + [
          .onPerson(of: session, in: accountID, .sessionOpened, ip: origin.ip)
        ])
      return session
    }
    return IssuedSession(session: session, token: token)
  }

  /// Opens a session for a person whose identity was proven in another way.
  package func open(
    for user: User, in accountID: UUID, from origin: Origin = Origin()
  ) async throws -> IssuedSession<MemberSession> {
    let token = Secret.random(prefix: MemberSession.tokenPrefix)
    let session = try await pool.withTransaction(as: .identity) { transaction in
      let found = try await transaction.pipeline(
        ShareLockPerson<MemberSession>(id: user.id),
        InsertSession(
          token: token.hash, accountID: accountID, userID: user.id, lifetimeSeconds: lifetimeSeconds, origin: origin,
          candidate: nil),
        then: FindSession(token: token.hash, idleSeconds: idleSeconds))
      guard let session = found.first else { throw PortalError.unauthenticated }
      try await transaction.record([.onPerson(of: session, in: accountID, .sessionOpened, ip: origin.ip)])
      return session
    }
    return IssuedSession(session: session, token: token)
  }

  /// Moves a session to another account of the same person. Throws `.notFound` for an account that the person does not
  /// belong to.
  package func switchAccount(
    of session: MemberSession, to accountID: UUID, ip: String?
  ) async throws -> IssuedSession<MemberSession> {
    let token = Secret.random(prefix: MemberSession.tokenPrefix)
    do {
      return try await pool.withTransaction(as: .identity) { transaction in
        let (moved, found) = try await transaction.pipeline(
          MoveSession(session: session, token: token.hash, accountID: accountID),
          FindSession(token: token.hash, idleSeconds: idleSeconds))
        // Of concurrent requests with the same token, one succeeds: a session never becomes two.
        guard !moved.isEmpty else { throw PortalError.unauthenticated }
        guard let other = found.first else { throw PortalError.notFound }
        try await transaction.record([
          .onPerson(of: session, in: session.account.id, .sessionClosed, ip: ip),
          .onPerson(of: session, in: accountID, .sessionOpened, ip: ip),
        ])
        return IssuedSession(session: other, token: token)
      }
    } catch let error as PostgresError where error.violates("sessions_membership_fkey") {
      throw PortalError.notFound
    }
  }

  /// Throws `.unauthenticated` if there is no such session, or it has ended.
  package func find(_ token: Secret) async throws -> MemberSession {
    guard token.isWellFormed(prefix: MemberSession.tokenPrefix),
      let session = try await pool.query(FindSession(token: token.hash, idleSeconds: idleSeconds), as: .identity).first
    else { throw PortalError.unauthenticated }
    await noteUse(of: session)
    return session
  }

  /// Separate from the look-up, which must not fail while the database accepts no changes.
  private func noteUse<Session: PersonSession>(of session: Session) async {
    guard session.isUseDue else { return }
    _ = try? await pool.execute(
      NoteSessionUse<Session>(token: session.tokenHash, idleSeconds: idleSeconds), as: .identity)
  }

  // MARK: Staff

  /// Logs a member of staff in. Throws the same errors as ``logIn(email:password:code:from:replacing:)``.
  package func logInStaff(
    email: String, password: Password, code: String? = nil, from origin: Origin
  ) async throws -> IssuedSession<StaffSession> {
    let proven = try await prove(StaffSession.self, email, password, code, origin) { emails in
      try await pool.query(FindStaffForLogin(emails: emails), as: .identity).first
    }
    let token = Secret.random(prefix: StaffSession.tokenPrefix)
    let session = try await pool.withTransaction(as: .identity) { transaction in
      let found = try await transaction.pipeline(
        ShareLockPerson<StaffSession>(id: proven.candidate.personID), SettleAttempts(succeeded: proven.admissions),
        InsertStaffSession(
          token: token.hash, candidate: proven.candidate, lifetimeSeconds: lifetimeSeconds, origin: origin),
        then: FindStaffSession(token: token.hash, idleSeconds: idleSeconds))
      guard let session = found.first else { throw PortalError.invalidCredentials }
      try await transaction.record([.onPerson(of: session, in: nil, .sessionOpened, ip: origin.ip)])
      return session
    }
    return IssuedSession(session: session, token: token)
  }

  /// Throws `.unauthenticated` if there is no such session, or it has ended.
  package func findStaff(_ token: Secret) async throws -> StaffSession {
    guard token.isWellFormed(prefix: StaffSession.tokenPrefix),
      let session = try await pool.query(
        FindStaffSession(token: token.hash, idleSeconds: idleSeconds), as: .identity
      ).first
    else { throw PortalError.unauthenticated }
    await noteUse(of: session)
    return session
  }

  // MARK: One's own sessions

  /// The person's open sessions, most recently used first, at most ``listCountMax``.
  package func list<Session: PersonSession>(of session: Session) async throws -> [OpenSession] {
    try await pool.query(
      ListSessions<Session>(personID: session.personID, idleSeconds: idleSeconds, count: Self.listCountMax),
      as: .identity)
  }

  /// Ends the session of a request. Does nothing if it has already ended.
  package func logOut(_ session: some PersonSession, ip: String?) async throws {
    do { try await end(session.id, of: session, ip: ip) } catch PortalError.notFound {}
  }

  /// Ends a session of the same person, which may be `session` itself. Throws `.notFound` for another person's.
  package func end<Session: PersonSession>(_ id: UUID, of session: Session, ip: String?) async throws {
    try await pool.withTransaction(as: .identity) { transaction in
      let ended = try await transaction.query(EndSession<Session>(id: id, personID: session.personID))
      guard !ended.isEmpty else { throw PortalError.notFound }
      try await transaction.record(ended.map { .onPerson(of: session, in: $0, .sessionClosed, ip: ip) })
    }
  }

  /// Ends all other sessions of the person, and gives this session a new token, because its token may have been stolen,
  /// too.
  package func endOthers<Session: PersonSession>(
    of session: Session, ip: String?
  ) async throws -> (count: Int, login: IssuedSession<Session>) {
    try await pool.withTransaction(as: .identity) { transaction in
      _ = try await transaction.query(LockPerson<Session>(id: session.personID))
      let login = try await transaction.rotate(session)
      let ended = try await transaction.query(
        DeleteOtherSessions<Session>(id: session.id, personID: session.personID))
      try await transaction.record(ended.map { .onPerson(of: session, in: $0, .sessionClosed, ip: ip) })
      return (ended.count, login)
    }
  }

  // MARK: Proving

  private func prove<Session: PersonSession>(
    _: Session.Type, _ email: String, _ password: Password, _ code: String?, _ origin: Origin,
    _ find: ([String]) async throws -> LoginCandidate?
  ) async throws -> (candidate: LoginCandidate, admissions: [Attempts.Admission]) {
    let address = EmailAddress(email)
    let emails = address?.storedTexts ?? [email]
    return try await passwords.withPlace { place in
      let admission = try await attempts.admit(Attempt(Session.logInKind, of: address?.text ?? email, from: origin.ip))
      let found = try await find(emails)
      let result = await place.verify(password, against: found?.password)
      guard result.isMatch, var candidate = found else { throw PortalError.invalidCredentials }
      if let renewed = result.renewed {
        let replaced = try await pool.execute(
          ReplacePassword<Session>(personID: candidate.personID, from: candidate.password, to: renewed), as: .identity)
        if replaced > 0 {
          candidate.password = renewed
        } else {
          // A concurrent login of the same person has renewed the hash.
          guard let again = try await find(emails), await place.verify(password, against: again.password).isMatch else {
            throw PortalError.invalidCredentials
          }
          candidate = again
        }
      }
      guard candidate.hasSecondFactor else { return (candidate, [admission]) }
      guard let code else {
        try await attempts.takeBack(admission)
        throw PortalError.secondFactorRequired
      }
      do {
        return (
          candidate, [admission, try await secondFactors.use(code, of: Session.self, candidate.personID, origin.ip)]
        )
      } catch let error as PortalError where error != .secondFactorInvalid {
        // The password was right, and the code was not checked.
        try await attempts.takeBack(admission)
        throw error
      }
    }
  }
}

/// A person who may log in, if the password is right.
struct LoginCandidate: Sendable {
  var personID: UUID
  var password: PasswordHash
  var hasSecondFactor: Bool
  /// Nil for staff.
  var accountID: UUID?
}

/// A customer's session that was ended by its token.
struct EndedSession: Sendable {
  var user: User
  var accountID: UUID

  func event(ip: String?) -> InsertAuditEvent {
    .onPerson(
      user.id, MemberSession.personKind, in: accountID, .sessionClosed,
      by: Caller(actor: MemberSession.actor(id: user.id, name: user.email), ip: ip))
  }
}

// Shared by the changes of people and their sessions, within their transactions. Locks are taken in the order person,
// account, key.
extension PostgresConnection {
  /// Gives the session a new token. Throws `.unauthenticated` if the session has ended or already has another token.
  nonisolated func rotate<Session: PersonSession>(_ session: Session) async throws -> IssuedSession<Session> {
    let token = Secret.random(prefix: Session.tokenPrefix)
    guard try await execute(RotateSession(session: session, token: token.hash)) > 0 else {
      throw PortalError.unauthenticated
    }
    var rotated = session
    rotated.tokenHash = token.hash
    return IssuedSession(session: rotated, token: token)
  }

  /// Writes events into several trails, always in the same order, to prevent deadlocks.
  nonisolated func record(_ events: [InsertAuditEvent]) async throws {
    _ = try await pipeline(each: events.sorted { ($0.accountID?.uuidString ?? "") < ($1.accountID?.uuidString ?? "") })
  }

  /// Records a change that a person made to themselves: in the trail of each of their accounts, or, for staff, in the
  /// trail outside accounts.
  nonisolated func note<Session: PersonSession>(
    _ action: AuditEvent.Action, of session: Session, ip: String?
  ) async throws {
    try await note(action, Session.self, session.personID, by: session.caller(ip: ip))
  }

  nonisolated func note<Session: PersonSession>(
    _ action: AuditEvent.Action, _: Session.Type, _ personID: UUID, by caller: Caller
  ) async throws {
    let accounts: [UUID?] = Session.haveAccounts ? try await query(ListUserAccounts(userID: personID)) : [nil]
    try await record(accounts.map { .onPerson(personID, Session.personKind, in: $0, action, by: caller) })
  }
}
