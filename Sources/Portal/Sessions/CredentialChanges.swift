import Foundation
package import Postgres

/// Changes that people make to their own credentials. Each change requires the current password, because the session
/// may have been stolen. The change, its audit event and the session's new token share one transaction.
package struct CredentialChanges: Sendable {
  let pool: PostgresPool
  let passwords: PasswordHasher
  let attempts: Attempts
  let outbox: Outbox

  package init(pool: PostgresPool, passwords: PasswordHasher, attempts: Attempts, outbox: Outbox) {
    self.pool = pool
    self.passwords = passwords
    self.attempts = attempts
    self.outbox = outbox
  }

  /// Proof that a person has entered their password again. The transaction that relies on it compares it with the
  /// stored hash, so that a password that is changed at the same time no longer counts.
  package struct Proof: Sendable {
    let personID: UUID
    let password: PasswordHash
  }

  /// Checks the person's password. Throws `.invalidCredentials` for a wrong one, `.tooManyRequests` after too many.
  package func prove<Session: PersonSession>(_ password: Password, of session: Session) async throws -> Proof {
    try await passwords.withPlace { place in
      let admission = try await attempts.admit(Attempt(.stepUp, of: session.personID.text, from: nil))
      let stored = try await pool.query(FindOwnPassword<Session>(personID: session.personID), as: .identity).first
      guard await place.verify(password, against: stored).isMatch, let stored else {
        throw PortalError.invalidCredentials
      }
      try await attempts.succeeded(admission)
      return Proof(personID: session.personID, password: stored)
    }
  }

  /// Changes the password, ends all other sessions, and cancels pending changes of the address.
  package func changePassword<Session: PersonSession>(
    _ password: Password, to new: Password, of session: Session, ip: String?
  ) async throws -> IssuedSession<Session> {
    let proof = try await prove(password, of: session)
    let hash = try await passwords.hash(new)
    let login = try await pool.withTransaction(as: .identity) { transaction in
      try await transaction.check(proof, of: session)
      _ = try await transaction.pipeline(
        ReplacePassword<Session>(personID: session.personID, from: proof.password, to: hash),
        DeleteOtherSessions<Session>(id: session.id, personID: session.personID),
        VoidEmailChanges(userID: session.personID),
        outbox.mail(
          .passwordChanged, to: session.email, userID: Session.haveAccounts ? session.personID : nil))
      try await transaction.note(.passwordChanged, of: session, ip: ip)
      return try await transaction.rotate(session)
    }
    outbox.ring()
    try await attempts.endWait(forSecondFactorOf: session.personID)
    return login
  }

  /// True if mail is configured. A new address then has to be confirmed before it takes effect.
  package var isMailOpen: Bool { outbox.isOpen }

  /// Sends a token to the new address, which takes effect when the token is used. The answer and the work are the same
  /// whether or not a user has the address already.
  package func requestEmailChange(to email: EmailAddress, _ proof: Proof, of session: MemberSession) async throws {
    try await pool.withTransaction(as: .identity) { transaction in
      try await transaction.check(proof, of: session)
      try await transaction.execute(outbox.mail(.emailChange, to: email.text, userID: session.user.id))
    }
    outbox.ring()
  }

  /// Changes a customer's address immediately, for deployments without mail. Ends all other sessions. Throws
  /// `.emailTaken`.
  package func changeEmail(
    to email: EmailAddress, _ proof: Proof, of session: MemberSession, ip: String?
  ) async throws -> IssuedSession<MemberSession> {
    do {
      return try await pool.withTransaction(as: .identity) { transaction in
        try await transaction.check(proof, of: session)
        _ = try await transaction.pipeline(
          UpdateUserEmail(userID: session.user.id, email: email.text, isVerified: false),
          DeleteOtherSessions<MemberSession>(id: session.id, personID: session.personID))
        try await transaction.note(.emailChanged, of: session, ip: ip)
        var login = try await transaction.rotate(session)
        login.session.user.email = email.text
        return login
      }
    } catch let error as PostgresError where error.violates("users_email_unique") {
      throw PortalError.emailTaken
    }
  }
}

extension PostgresConnection {
  /// Locks the person. Throws `.invalidCredentials` unless the password that was proven is still theirs.
  nonisolated func check<Session: PersonSession>(_ proof: CredentialChanges.Proof, of session: Session) async throws {
    let stored = try await query(LockPerson<Session>(id: session.personID)).first
    guard proof.personID == session.personID, stored?.text == proof.password.text else {
      throw PortalError.invalidCredentials
    }
  }
}
