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
      return try await open(userID: found.user.id, accountID: found.accountID)
    }
  }

  /// Opens a session for somebody whose identity is proven.
  package func open(userID: UUID, accountID: UUID) async throws -> Login<CustomerSession> {
    let token = Secret.random(prefix: Self.customerTokenPrefix)
    let (_, _, found) = try await pool.pipeline(
      DeleteExpiredSessions(),
      InsertSession(token: token.hash, accountID: accountID, userID: userID, expiresAt: expiry()),
      FindSession(token: token.hash), as: .identity)
    guard let session = found.first else { throw PortalError.unauthenticated }
    return Login(session: session, token: token)
  }

  /// Replaces a session by one for another account of the same person. Throws `.notFound` for an account that they don't
  /// belong to.
  package func switchAccount(from token: Secret, of user: User, to accountID: UUID) async throws -> Login<
    CustomerSession
  > {
    let successor = Secret.random(prefix: Self.customerTokenPrefix)
    do {
      let (_, _, found) = try await pool.pipeline(
        DeleteSession(token: token.hash),
        InsertSession(token: successor.hash, accountID: accountID, userID: user.id, expiresAt: expiry()),
        FindSession(token: successor.hash), as: .identity)
      guard let session = found.first else { throw PortalError.unauthenticated }
      return Login(session: session, token: successor)
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

  package func logOut(_ token: Secret) async throws {
    try await pool.execute(DeleteSession(token: token.hash), as: .identity)
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
      try await pool.execute(
        InsertStaffSession(token: token.hash, staffID: member.id, expiresAt: expiresAt), as: .identity)
      return Login(session: StaffSession(member: member, expiresAt: expiresAt), token: token)
    }
  }

  /// Throws `.unauthenticated` when there is none, or it is over.
  package func findStaff(_ token: Secret) async throws -> StaffSession {
    guard token.isWellFormed(prefix: Self.staffTokenPrefix),
      let session = try await pool.query(FindStaffSession(token: token.hash), as: .identity).first
    else { throw PortalError.unauthenticated }
    return session
  }

  package func logOutStaff(_ token: Secret) async throws {
    try await pool.execute(DeleteStaffSession(token: token.hash), as: .identity)
  }

  private func expiry() -> Date { Date().addingTimeInterval(Double(lifetime.components.seconds)) }
}
