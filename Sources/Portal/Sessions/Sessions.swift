package import Foundation
package import Postgres

/// Logging in and out, and finding out who is logged in. Tokens are 256 random bits, stored as their SHA-256.
package struct Sessions: Sendable {
  static let customerTokenPrefix = "lk_session"
  static let staffTokenPrefix = "lk_staff"

  let pool: PostgresPool
  let passwords: PasswordHasher
  let throttle: LoginThrottle
  let lifetime: Duration

  package init(pool: PostgresPool, passwords: PasswordHasher, throttle: LoginThrottle, lifetime: Duration) {
    self.pool = pool
    self.passwords = passwords
    self.throttle = throttle
    self.lifetime = lifetime
  }

  /// Logs a customer in. Throws `.invalidCredentials` alike, and after the same time, for an unknown address and for a
  /// wrong password; `.tooManyRequests` after too many failures.
  package func logIn(email: String, password: Password, from address: String?) async throws -> Login<CustomerSession> {
    let email = EmailAddress(email)?.text ?? email
    return try await throttle.attempt(email: email, address: address) {
      let found = try await pool.query(FindUserForLogin(email: email), as: .identity).first
      let result = try await passwords.verify(password, against: found?.password)
      guard result.isMatch, let found else { throw PortalError.invalidCredentials }
      if let renewed = result.renewed {
        try await pool.execute(UpdateUserPassword(userID: found.user.id, password: renewed), as: .identity)
      }
      return try await open(for: found.user, in: found.accountID, from: address)
    }
  }

  /// Opens a session for somebody whose identity is proven.
  package func open(
    for user: User, in accountID: UUID, from address: String?
  ) async throws -> Login<CustomerSession> {
    let token = Secret.random(prefix: Self.customerTokenPrefix)
    let caller = Caller(actor: .user(id: user.id, email: user.email), ip: address)
    let (_, _, found, _) = try await pool.pipeline(
      DeleteExpiredSessions(),
      InsertSession(token: token.hash, accountID: accountID, userID: user.id, expiresAt: expiry()),
      FindSession(token: token.hash),
      InsertAuditEvent.onSession(of: user, in: accountID, .sessionOpened, by: caller), as: .identity)
    guard let session = found.first else { throw PortalError.unauthenticated }
    return Login(session: session, token: token)
  }

  /// Replaces a session by one for another account of the same person. Throws `.notFound` for an account that they don't
  /// belong to.
  package func switchAccount(
    from token: Secret, of session: CustomerSession, to accountID: UUID, ip: String?
  ) async throws -> Login<CustomerSession> {
    let successor = Secret.random(prefix: Self.customerTokenPrefix)
    let (user, caller) = (session.user, session.caller(ip: ip))
    // In one order, so that two who go opposite ways don't wait for each other.
    let events = [(session.account.id, AuditEvent.Action.sessionClosed), (accountID, .sessionOpened)]
      .sorted { $0.0.uuidString < $1.0.uuidString }
      .map { InsertAuditEvent.onSession(of: user, in: $0, $1, by: caller) }
    do {
      return try await pool.withTransaction(as: .identity) { transaction in
        let (ended, _, found) = try await transaction.pipeline(
          DeleteSession(token: token.hash),
          InsertSession(token: successor.hash, accountID: accountID, userID: user.id, expiresAt: expiry()),
          FindSession(token: successor.hash))
        // One session becomes one, however often it is asked for at once.
        guard !ended.isEmpty, let session = found.first else { throw PortalError.unauthenticated }
        _ = try await transaction.pipeline(each: events)
        return Login(session: session, token: successor)
      }
    } catch let error as PostgresError where error.violates("sessions_membership_fkey") {
      throw PortalError.notFound
    }
  }

  /// Throws `.unauthenticated` when there is none, or it is over.
  package func find(_ token: Secret) async throws -> CustomerSession {
    guard token.isWellFormed(prefix: Self.customerTokenPrefix),
      let session = try await pool.query(FindSession(token: token.hash), as: .identity).first
    else { throw PortalError.unauthenticated }
    return session
  }

  /// Ends a session; nothing happens if it is over already.
  package func logOut(_ token: Secret, from address: String?) async throws {
    try await pool.withTransaction(as: .identity) { transaction in
      guard let (user, accountID) = try await transaction.query(DeleteSession(token: token.hash)).first else { return }
      let caller = Caller(actor: .user(id: user.id, email: user.email), ip: address)
      try await transaction.execute(
        InsertAuditEvent.onSession(of: user, in: accountID, .sessionClosed, by: caller))
    }
  }

  /// Logs a member of staff in; throws as ``logIn(email:password:from:)``.
  package func logInStaff(email: String, password: Password, from address: String?) async throws -> Login<StaffSession>
  {
    let email = EmailAddress(email)?.text ?? email
    return try await throttle.attempt(email: "staff " + email, address: address) {
      let found = try await pool.query(FindStaffForLogin(email: email), as: .identity).first
      let result = try await passwords.verify(password, against: found?.password)
      guard result.isMatch, let member = found?.member else { throw PortalError.invalidCredentials }
      if let renewed = result.renewed {
        try await pool.execute(UpdateStaffPassword(staffID: member.id, password: renewed), as: .identity)
      }
      let (token, expiresAt) = (Secret.random(prefix: Self.staffTokenPrefix), expiry())
      let session = StaffSession(member: member, expiresAt: expiresAt)
      _ = try await pool.pipeline(
        InsertStaffSession(token: token.hash, staffID: member.id, expiresAt: expiresAt),
        InsertAuditEvent.inSystem(.sessionOpened, "staff", member.id, by: session.caller(ip: address)), as: .identity)
      return Login(session: session, token: token)
    }
  }

  /// Throws `.unauthenticated` when there is none, or it is over.
  package func findStaff(_ token: Secret) async throws -> StaffSession {
    guard token.isWellFormed(prefix: Self.staffTokenPrefix),
      let session = try await pool.query(FindStaffSession(token: token.hash), as: .identity).first
    else { throw PortalError.unauthenticated }
    return session
  }

  /// As ``logOut(_:from:)``.
  package func logOutStaff(_ token: Secret, from address: String?) async throws {
    try await pool.withTransaction(as: .identity) { transaction in
      guard let (id, name) = try await transaction.query(DeleteStaffSession(token: token.hash)).first else { return }
      let caller = Caller(actor: .staff(id: id, name: name), ip: address)
      try await transaction.execute(InsertAuditEvent.inSystem(.sessionClosed, "staff", id, by: caller))
    }
  }

  private func expiry() -> Date { Date().addingTimeInterval(Double(lifetime.components.seconds)) }
}
