import Foundation
package import Postgres

/// What people change about how they log in. Each change asks for the password again, because a session may be somebody
/// else's by now, and is one transaction with its audit event and the new token of the session.
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

  /// That somebody has shown their password again. The transaction that relies on it holds it against the stored one,
  /// or a password that is being changed would still open something.
  package struct Proof: Sendable {
    let personID: UUID
    let password: PasswordHash
  }

  /// Asks for the password again. Throws `.invalidCredentials` for a wrong one.
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

  /// Changes the password, and ends all other sessions; another address that was asked for is not taken any more.
  package func changePassword<Session: PersonSession>(
    _ password: Password, to new: Password, of session: Session, ip: String?
  ) async throws -> Login<Session> {
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

  /// Whether another address has to be confirmed before it holds.
  package var isMailOpen: Bool { outbox.isOpen }

  /// Has a token sent to another address, which holds when it is used. What is answered, and done, is the same whether
  /// the address is somebody's or not.
  package func requestEmailChange(to email: EmailAddress, _ proof: Proof, of session: MemberSession) async throws {
    try await pool.withTransaction(as: .identity) { transaction in
      try await transaction.check(proof, of: session)
      try await transaction.execute(outbox.mail(.emailChange, to: email.text, userID: session.user.id))
    }
    outbox.ring()
  }

  /// Changes the address that a customer logs in with, where there is no mail to confirm it by. All other sessions end.
  /// Throws `.emailTaken`.
  package func changeEmail(
    to email: EmailAddress, _ proof: Proof, of session: MemberSession, ip: String?
  ) async throws -> Login<MemberSession> {
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
  /// Locks the person, and makes sure that the password which was shown is still theirs.
  nonisolated func check<Session: PersonSession>(_ proof: CredentialChanges.Proof, of session: Session) async throws {
    let stored = try await query(LockPerson<Session>(id: session.personID)).first
    guard proof.personID == session.personID, stored?.text == proof.password.text else {
      throw PortalError.invalidCredentials
    }
  }
}
