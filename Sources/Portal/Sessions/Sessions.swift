package import Foundation
package import Postgres

/// Logging in and out, and finding out who is logged in. Tokens are 256 random bits, stored as their SHA-256.
///
/// A session ends after its lifetime, and before that when nobody has used it for a while. Its token is new at every
/// login and whenever its owner's privileges change; the old one dies in the same transaction.
package struct Sessions: Sendable {
  /// Sessions that a list shows, those first that were used last.
  package static let listCountMax = 100
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

  /// Logs a customer in, and ends the session `replaced` that the same browser had. Throws `.invalidCredentials` alike,
  /// and after the same time, for an unknown address and for a wrong password; `.secondFactorRequired` where the
  /// password is right and `code` is missing; `.tooManyRequests` after too many attempts.
  package func logIn(
    email: String, password: Password, code: String? = nil, from origin: Origin, replacing replaced: Secret? = nil
  ) async throws -> Login<MemberSession> {
    let proven = try await prove(MemberSession.self, email, password, code, origin) { emails in
      try await pool.query(FindUserForLogin(emails: emails), as: .identity).first
    }
    guard let accountID = proven.candidate.accountID else { throw PortalError.invalidCredentials }
    let token = Secret.random(prefix: MemberSession.tokenPrefix)
    let session = try await pool.withTransaction(as: .identity) { transaction in
      let (_, _, ended, _, found) = try await transaction.pipeline(
        // In this order, as whoever takes a second factor away does.
        ShareLockPerson<MemberSession>(id: proven.candidate.personID), SettleAttempts(succeeded: proven.admissions),
        DeleteSession(token: replaced?.hash),
        InsertSession(
          token: token.hash, accountID: accountID, userID: proven.candidate.personID, lifetimeSeconds: lifetimeSeconds,
          origin: origin, candidate: proven.candidate),
        FindSession(token: token.hash, idleSeconds: idleSeconds))
      // What was proven was changed in the meantime.
      guard let session = found.first else { throw PortalError.invalidCredentials }
      try await transaction.tell(
        ended.map { $0.event(ip: origin.ip) } + [
          .onPerson(of: session, in: accountID, .sessionOpened, ip: origin.ip)
        ])
      return session
    }
    return Login(session: session, token: token)
  }

  /// Opens a session for somebody whose identity is proven in another way.
  package func open(
    for user: User, in accountID: UUID, from origin: Origin = Origin()
  ) async throws -> Login<MemberSession> {
    let token = Secret.random(prefix: MemberSession.tokenPrefix)
    let session = try await pool.withTransaction(as: .identity) { transaction in
      let (_, _, found) = try await transaction.pipeline(
        ShareLockPerson<MemberSession>(id: user.id),
        InsertSession(
          token: token.hash, accountID: accountID, userID: user.id, lifetimeSeconds: lifetimeSeconds, origin: origin,
          candidate: nil),
        FindSession(token: token.hash, idleSeconds: idleSeconds))
      guard let session = found.first else { throw PortalError.unauthenticated }
      try await transaction.tell([.onPerson(of: session, in: accountID, .sessionOpened, ip: origin.ip)])
      return session
    }
    return Login(session: session, token: token)
  }

  /// Makes a session one for another account of the same person. Throws `.notFound` for an account that they don't
  /// belong to.
  package func switchAccount(
    of session: MemberSession, to accountID: UUID, ip: String?
  ) async throws -> Login<MemberSession> {
    let token = Secret.random(prefix: MemberSession.tokenPrefix)
    do {
      return try await pool.withTransaction(as: .identity) { transaction in
        let (moved, found) = try await transaction.pipeline(
          MoveSession(session: session, token: token.hash, accountID: accountID),
          FindSession(token: token.hash, idleSeconds: idleSeconds))
        // One session becomes one, however often it is asked for at once.
        guard !moved.isEmpty else { throw PortalError.unauthenticated }
        guard let other = found.first else { throw PortalError.notFound }
        try await transaction.tell([
          .onPerson(of: session, in: session.account.id, .sessionClosed, ip: ip),
          .onPerson(of: session, in: accountID, .sessionOpened, ip: ip),
        ])
        return Login(session: other, token: token)
      }
    } catch let error as PostgresError where error.violates("sessions_membership_fkey") {
      throw PortalError.notFound
    }
  }

  /// Throws `.unauthenticated` when there is none, or it is over.
  package func find(_ token: Secret) async throws -> MemberSession {
    guard token.isWellFormed(prefix: MemberSession.tokenPrefix),
      let session = try await pool.query(FindSession(token: token.hash, idleSeconds: idleSeconds), as: .identity).first
    else { throw PortalError.unauthenticated }
    return session
  }

  // MARK: Staff

  /// Logs a member of staff in; throws as ``logIn(email:password:code:from:replacing:)``.
  package func logInStaff(
    email: String, password: Password, code: String? = nil, from origin: Origin
  ) async throws -> Login<StaffSession> {
    let proven = try await prove(StaffSession.self, email, password, code, origin) { emails in
      try await pool.query(FindStaffForLogin(emails: emails), as: .identity).first
    }
    let token = Secret.random(prefix: StaffSession.tokenPrefix)
    let session = try await pool.withTransaction(as: .identity) { transaction in
      let (_, _, _, found) = try await transaction.pipeline(
        ShareLockPerson<StaffSession>(id: proven.candidate.personID), SettleAttempts(succeeded: proven.admissions),
        InsertStaffSession(
          token: token.hash, candidate: proven.candidate, lifetimeSeconds: lifetimeSeconds, origin: origin),
        FindStaffSession(token: token.hash, idleSeconds: idleSeconds))
      guard let session = found.first else { throw PortalError.invalidCredentials }
      try await transaction.tell([.onPerson(of: session, in: nil, .sessionOpened, ip: origin.ip)])
      return session
    }
    return Login(session: session, token: token)
  }

  /// Throws `.unauthenticated` when there is none, or it is over.
  package func findStaff(_ token: Secret) async throws -> StaffSession {
    guard token.isWellFormed(prefix: StaffSession.tokenPrefix),
      let session = try await pool.query(
        FindStaffSession(token: token.hash, idleSeconds: idleSeconds), as: .identity
      ).first
    else { throw PortalError.unauthenticated }
    return session
  }

  // MARK: One's own sessions

  /// All sessions of who has this one.
  package func list<Session: PersonSession>(of session: Session) async throws -> [OpenSession] {
    try await pool.query(
      ListSessions<Session>(personID: session.personID, idleSeconds: idleSeconds, count: Self.listCountMax),
      as: .identity)
  }

  /// Ends the session of a request; nothing happens if it is over already.
  package func logOut(_ session: some PersonSession, ip: String?) async throws {
    do { try await end(session.id, of: session, ip: ip) } catch PortalError.notFound {}
  }

  /// Ends one of one's own sessions, this one as well. Throws `.notFound` for another's.
  package func end<Session: PersonSession>(_ id: UUID, of session: Session, ip: String?) async throws {
    try await pool.withTransaction(as: .identity) { transaction in
      let ended = try await transaction.query(EndSession<Session>(id: id, personID: session.personID))
      guard !ended.isEmpty else { throw PortalError.notFound }
      try await transaction.tell(ended.map { .onPerson(of: session, in: $0, .sessionClosed, ip: ip) })
    }
  }

  /// Logs out everywhere but here, and gives this session another token: whoever has stolen one may have stolen this
  /// one.
  package func endOthers<Session: PersonSession>(
    of session: Session, ip: String?
  ) async throws -> (count: Int, login: Login<Session>) {
    try await pool.withTransaction(as: .identity) { transaction in
      _ = try await transaction.query(LockPerson<Session>(id: session.personID))
      let login = try await transaction.rotate(session)
      let ended = try await transaction.query(
        DeleteOtherSessions<Session>(id: session.id, personID: session.personID))
      try await transaction.tell(ended.map { .onPerson(of: session, in: $0, .sessionClosed, ip: ip) })
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
          // Another login of theirs has renewed it at the same time.
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
        // The password was right, and the code was not looked at.
        try await attempts.takeBack(admission)
        throw error
      }
    }
  }
}

/// Who may log in, if the password is right.
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

// What changes of people and their sessions have in common, within their transactions. Locks are taken in the order
// person, account, key.
extension PostgresConnection {
  /// Gives the session another token. Throws `.unauthenticated` if it has ended, or has got another, meanwhile.
  nonisolated func rotate<Session: PersonSession>(_ session: Session) async throws -> Login<Session> {
    let token = Secret.random(prefix: Session.tokenPrefix)
    guard try await execute(RotateSession(session: session, token: token.hash)) > 0 else {
      throw PortalError.unauthenticated
    }
    var rotated = session
    rotated.tokenHash = token.hash
    return Login(session: rotated, token: token)
  }

  /// Writes events into several trails in one order for all, so that nobody waits for who waits for them.
  nonisolated func tell(_ events: [InsertAuditEvent]) async throws {
    _ = try await pipeline(each: events.sorted { ($0.accountID?.uuidString ?? "") < ($1.accountID?.uuidString ?? "") })
  }

  /// Tells of a change that somebody made to themselves: in each of their accounts, or where staff's changes are told.
  nonisolated func note<Session: PersonSession>(
    _ action: AuditEvent.Action, of session: Session, ip: String?
  ) async throws {
    try await note(action, Session.self, session.personID, by: session.caller(ip: ip))
  }

  nonisolated func note<Session: PersonSession>(
    _ action: AuditEvent.Action, _: Session.Type, _ personID: UUID, by caller: Caller
  ) async throws {
    let accounts: [UUID?] = Session.haveAccounts ? try await query(ListUserAccounts(userID: personID)) : [nil]
    try await tell(accounts.map { .onPerson(personID, Session.personKind, in: $0, action, by: caller) })
  }
}
