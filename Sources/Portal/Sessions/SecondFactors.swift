package import Foundation
import Postgres

/// The second factor of customers and staff: setting it up, using it, and disabling it.
package struct SecondFactors: Sendable {
  let pool: PostgresPool
  let attempts: Attempts
  /// Nil if the deployment has no `SECRET_KEY`; then nobody can set up a second factor.
  let box: SecretBox?
  let credentials: CredentialChanges
  let clock: DatabaseClock

  package struct Status: Sendable, Equatable {
    /// Since when login requires it; nil if it does not.
    package var confirmedAt: Date?
    package var recoveryCodeCount: Int
  }

  package func status(of session: some PersonSession) async throws -> Status {
    let factor = try await pool.query(FindSecondFactor(personID: session.personID), as: .identity).first
    return Status(confirmedAt: factor?.confirmedAt, recoveryCodeCount: factor?.recoveryCodeCount ?? 0)
  }

  /// Creates a secret, which has no effect until it is confirmed with a code. Starting again replaces it. Throws
  /// `.secondFactorEnabled` if a second factor is in use.
  package func start<Session: PersonSession>(_ password: Password, of session: Session) async throws -> TOTP {
    guard let box else { throw PortalError.secondFactorNotConfigured }
    let proof = try await credentials.prove(password, of: session)
    let factor = TOTP.random()
    let sealed = try box.seal(factor.secret, for: session.personID)
    try await pool.withTransaction(as: .identity) { transaction in
      try await transaction.check(proof, of: session)
      let stored = try await transaction.execute(
        InsertSecondFactor<Session>(personID: session.personID, sealedSecret: sealed))
      guard stored > 0 else { throw PortalError.secondFactorEnabled }
    }
    return factor
  }

  /// Enables the second factor, if `code` is a code of its secret. All other sessions end, because they were opened
  /// without a second factor.
  package func confirm<Session: PersonSession>(
    _ code: String, of session: Session, ip: String?
  ) async throws -> (codes: [RecoveryCode], login: IssuedSession<Session>) {
    guard let stored = try await pool.query(FindSecondFactor(personID: session.personID), as: .identity).first else {
      throw PortalError.notFound
    }
    guard stored.confirmedAt == nil else { throw PortalError.secondFactorEnabled }
    let now = try await clock.now(on: pool).date
    let admission = try await admit(session.personID)
    guard let step = try await open(stored, of: session.personID, admission).step(of: code, at: now) else {
      throw PortalError.secondFactorInvalid
    }
    let codes = (0..<RecoveryCode.count).map { _ in RecoveryCode.random() }
    let login = try await pool.withTransaction(as: .identity) { transaction in
      // Only the secret of which a code was entered is confirmed. It may be sealed under another key by now.
      let locked = try await transaction.pipeline(
        LockPerson<Session>(id: session.personID), then: LockSecondFactor(personID: session.personID))
      guard let locked = locked.first, locked.confirmedAt == nil,
        try secret(locked, of: session.personID) == (try secret(stored, of: session.personID))
      else { throw PortalError.secondFactorEnabled }
      try await transaction.execute(
        ConfirmSecondFactor(personID: session.personID, step: step, codes: codes.map(\.hash)))
      try await transaction.execute(DeleteOtherSessions<Session>(id: session.id, personID: session.personID))
      try await transaction.note(.secondFactorEnabled, of: session, ip: ip)
      return try await transaction.rotate(session)
    }
    try await attempts.succeeded(admission)
    return (codes, login)
  }

  /// Creates new recovery codes, which replace the old ones.
  package func renewCodes<Session: PersonSession>(
    _ password: Password, _ code: String, of session: Session, ip: String?
  ) async throws -> [RecoveryCode] {
    let proof = try await prove(password, code, of: session, ip)
    let codes = (0..<RecoveryCode.count).map { _ in RecoveryCode.random() }
    try await pool.withTransaction(as: .identity) { transaction in
      try await transaction.check(proof, of: session)
      let replaced = try await transaction.execute(
        ReplaceRecoveryCodes(personID: session.personID, codes: codes.map(\.hash)))
      guard replaced > 0 else { throw PortalError.notFound }
      try await transaction.note(.recoveryCodesRenewed, of: session, ip: ip)
    }
    return codes
  }

  /// Disables the second factor: login requires only the password again. All other sessions end.
  package func disable<Session: PersonSession>(
    _ password: Password, _ code: String, of session: Session, ip: String?
  ) async throws -> IssuedSession<Session> {
    let proof = try await prove(password, code, of: session, ip)
    return try await pool.withTransaction(as: .identity) { transaction in
      try await transaction.check(proof, of: session)
      guard try await transaction.execute(DeleteSecondFactor(personID: session.personID)) > 0 else {
        throw PortalError.notFound
      }
      try await transaction.execute(DeleteOtherSessions<Session>(id: session.id, personID: session.personID))
      try await transaction.note(.secondFactorDisabled, of: session, ip: ip)
      return try await transaction.rotate(session)
    }
  }

  /// Consumes a code of the authenticator, or a recovery code, whose use is recorded in the audit trail. Throws
  /// `.secondFactorInvalid` for a code that is wrong or was used before. The caller must settle the attempt.
  func use<Session: PersonSession>(
    _ code: String, of _: Session.Type, _ personID: UUID, _ ip: String?
  ) async throws -> Attempts.Admission {
    let now = try await clock.now(on: pool).date
    let admission = try await admit(personID)
    guard let stored = try await pool.query(FindSecondFactor(personID: personID), as: .identity).first,
      stored.confirmedAt != nil
    else {
      throw PortalError.secondFactorInvalid
    }
    if let recovery = RecoveryCode(typed: code) {
      try await pool.withTransaction(as: .identity) { transaction in
        let names = try await transaction.query(UseRecoveryCode<Session>(personID: personID, code: recovery.hash))
        guard let name = names.first else { throw PortalError.secondFactorInvalid }
        try await transaction.note(
          .recoveryCodeUsed, Session.self, personID, by: Caller(actor: Session.actor(id: personID, name: name), ip: ip))
      }
      return admission
    }
    guard let step = try await open(stored, of: personID, admission).step(of: code, at: now),
      try await pool.execute(UseSecondFactorStep(personID: personID, step: step), as: .identity) > 0
    else { throw PortalError.secondFactorInvalid }
    return admission
  }

  private func prove<Session: PersonSession>(
    _ password: Password, _ code: String, of session: Session, _ ip: String?
  ) async throws -> CredentialChanges.Proof {
    let status = try await status(of: session)
    guard status.confirmedAt != nil else { throw PortalError.notFound }
    let proof = try await credentials.prove(password, of: session)
    try await attempts.succeeded(try await use(code, of: Session.self, session.personID, ip))
    return proof
  }

  private func admit(_ personID: UUID) async throws -> Attempts.Admission {
    try await attempts.admit(Attempt(.secondFactor, of: personID.text, from: nil))
  }

  /// If the secret cannot be read, the attempt is taken back, because it is not the person's failure.
  private func open(
    _ stored: StoredSecondFactor, of personID: UUID, _ admission: Attempts.Admission
  ) async throws -> TOTP {
    do { return TOTP(secret: try secret(stored, of: personID)) } catch {
      try await attempts.takeBack(admission)
      throw error
    }
  }

  /// Throws `.unavailable` if no key opens it.
  private func secret(_ stored: StoredSecondFactor, of personID: UUID) throws(PortalError) -> [UInt8] {
    guard let opened = box?.open(stored.sealedSecret, for: personID) else {
      throw PortalError.unavailable(
        reason: "a second factor was sealed with neither SECRET_KEY nor SECRET_KEY_PREVIOUS")
    }
    return opened.bytes
  }
}

/// A second factor as stored in the database.
struct StoredSecondFactor: Sendable {
  var sealedSecret: [UInt8]
  var confirmedAt: Date?
  var recoveryCodeCount: Int
}
