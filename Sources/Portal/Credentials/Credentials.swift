import Foundation
package import Postgres

/// Operations by mail: confirming an address, resetting a password, signing up. A request does not reveal whether an
/// address has an account: it writes the same rows for any address, and only the mail sender looks up the user, later.
package struct Credentials: Sendable {
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

  /// True if mail is configured. Without mail, signing up creates an account immediately.
  package var isMailOpen: Bool { outbox.isOpen }

  // MARK: Passwords

  /// Sends a token, if a user has the address. Throws `.mailNotConfigured` and `.tooManyRequests`.
  package func requestReset(_ email: EmailAddress, from ip: String?) async throws {
    guard outbox.isOpen else { throw PortalError.mailNotConfigured }
    try await attempts.admit(Attempt(.passwordReset, of: email.text, from: ip))
    try await pool.execute(outbox.mail(.passwordReset, to: email.text), as: .identity)
    outbox.ring()
  }

  /// Sets a new password. Ends all sessions of the user and voids all tokens for another password or another address.
  /// The user can then log in from `ip` even if an attacker is guessing passwords. Throws `.invalidToken`.
  package func resetPassword(_ token: Secret, to password: Password, from ip: String?) async throws {
    let purpose = OneTimeToken.Purpose.passwordReset
    // Checked before hashing, so that an invented token costs only a query.
    guard token.isWellFormed(prefix: purpose.prefix),
      try await !pool.query(FindOneTimeToken(token: token.hash, purpose: purpose), as: .identity).isEmpty
    else { throw PortalError.invalidToken }
    let hash = try await passwords.hash(password)
    let user = try await pool.withTransaction(as: .identity) { transaction in
      let user = try await use(token, for: purpose, mail: .passwordReset, on: transaction)
      // Having received the token also verifies the address.
      let accounts = try await transaction.pipeline(
        SetPassword(userID: user.id, password: hash), MarkEmailVerified(userID: user.id),
        VoidEmailChanges(userID: user.id),
        DeleteSessions<MemberSession>(personID: user.id),
        outbox.mail(.passwordChanged, to: user.email, userID: user.id),
        then: ListUserAccounts(userID: user.id))
      try await audit(.userPasswordReset, user, accounts, ip, on: transaction)
      return user
    }
    outbox.ring()
    try await attempts.proved(Attempt(.logIn, of: user.email, from: ip))
    try await attempts.endWait(forSecondFactorOf: user.id)
  }

  // MARK: Addresses

  /// Sends a token to the user's address. Throws `.mailNotConfigured`, and `.emailVerified` if it is already verified.
  package func requestVerification(of user: User) async throws {
    guard outbox.isOpen else { throw PortalError.mailNotConfigured }
    guard let found = try await pool.query(FindMailUser(email: user.email), as: .identity).first, !found.isVerified
    else {
      throw PortalError.emailVerified
    }
    try await pool.execute(outbox.mail(.emailVerification, to: user.email, userID: user.id), as: .identity)
    outbox.ring()
  }

  /// Confirms the address of a user, the new address of a user, or the address of a sign-up, which then becomes an
  /// account. Throws `.invalidToken`, and `.emailTaken` if another user has taken the address in the meantime.
  package func verifyEmail(_ token: Secret, from ip: String?) async throws {
    if token.isWellFormed(prefix: OneTimeToken.Purpose.signUp.prefix) {
      return try await confirmSignUp(token, from: ip)
    }
    if token.isWellFormed(prefix: OneTimeToken.Purpose.emailChange.prefix) {
      return try await confirmEmailChange(token, from: ip)
    }
    let purpose = OneTimeToken.Purpose.emailVerification
    guard token.isWellFormed(prefix: purpose.prefix) else { throw PortalError.invalidToken }
    try await pool.withTransaction(as: .identity) { transaction in
      let user = try await use(token, for: purpose, mail: .emailVerification, on: transaction)
      let accounts = try await transaction.pipeline(
        MarkEmailVerified(userID: user.id), then: ListUserAccounts(userID: user.id))
      try await audit(.userEmailVerified, user, accounts, ip, on: transaction)
    }
  }

  /// Ends all sessions of the user and notifies the old address.
  private func confirmEmailChange(_ token: Secret, from ip: String?) async throws {
    do {
      try await pool.withTransaction(as: .identity) { transaction in
        guard let change = try await transaction.query(LockEmailChange(token: token.hash)).first,
          try await !transaction.query(UseOneTimeToken(token: token.hash, purpose: .emailChange)).isEmpty
        else { throw PortalError.invalidToken }
        let user = change.user
        let accounts = try await transaction.pipeline(
          UpdateUserEmail(userID: user.id, email: change.email, isVerified: true),
          DeleteSessions<MemberSession>(personID: user.id),
          outbox.mail(.emailChanged, to: user.email, userID: user.id), then: ListUserAccounts(userID: user.id))
        try await audit(.emailChanged, user, accounts, ip, on: transaction)
      }
    } catch let error as PostgresError where error.violates("users_email_unique") {
      throw PortalError.emailTaken
    }
    outbox.ring()
  }

  // MARK: Signing up

  /// Counts an attempt to sign up, with or without mail. Throws `.tooManyRequests`.
  package func admitSignUp(_ email: EmailAddress, from ip: String?) async throws {
    try await attempts.admit(Attempt(.signUp, of: email.text, from: ip))
  }

  /// Stores the sign-up until its address is confirmed. The work is the same for an address that has an account; its
  /// owner gets a mail that says so. Throws `.mailNotConfigured`.
  package func requestSignUp(name: String, email: EmailAddress, password: Password) async throws {
    guard outbox.isOpen else { throw PortalError.mailNotConfigured }
    let signup = Signup(
      id: .version7(), email: email.text, password: try await passwords.hash(password), accountName: name)
    _ = try await pool.pipeline(
      InsertSignup(signup: signup), outbox.mail(.signUp, to: email.text, subjectID: signup.id), as: .identity)
    outbox.ring()
  }

  private func confirmSignUp(_ token: Secret, from ip: String?) async throws {
    do {
      try await pool.withTransaction(as: .identity) { transaction in
        let (found, used) = try await transaction.pipeline(
          LockSignup(token: token.hash), UseOneTimeToken(token: token.hash, purpose: .signUp))
        guard let signup = found.first, !used.isEmpty else { throw PortalError.invalidToken }
        let (user, accountID) = (User(id: .version7(), email: signup.email), UUID.version7())
        _ = try await transaction.pipeline(
          DeleteSignups(email: signup.email), SetLocally(.account(accountID)),
          InsertAccount(id: accountID, name: signup.accountName),
          InsertUser(user: user, password: signup.password),
          InsertMembership(accountID: accountID, userID: user.id, role: .owner),
          InsertAuditEvent.onAccount(accountID, .accountCreated, by: AccountCreator.owner(ip: ip).caller(for: user)),
          SetLocally(.identity), MarkEmailVerified(userID: user.id))
      }
    } catch let error as PostgresError where error.violates("users_email_unique") {
      throw PortalError.emailTaken
    }
  }

  // MARK: Tokens

  /// Consumes a user's token, and deletes unsent mails of its kind, because their tokens would still be valid.
  private func use(
    _ token: Secret, for purpose: OneTimeToken.Purpose, mail kind: Mail.Kind, on transaction: PostgresConnection
  ) async throws -> User {
    guard let user = try await transaction.query(LockTokenUser(token: token.hash)).first else {
      throw PortalError.invalidToken
    }
    let used = try await transaction.pipeline(
      DeleteWaitingMails(recipient: user.email, kind: kind), then: UseOneTimeToken(token: token.hash, purpose: purpose))
    guard !used.isEmpty else { throw PortalError.invalidToken }
    return user
  }

  /// Records one event in each of the user's accounts.
  private func audit(
    _ action: AuditEvent.Action, _ user: User, _ accounts: [UUID], _ ip: String?, on transaction: PostgresConnection
  ) async throws {
    let caller = Caller(actor: .user(id: user.id, email: user.email), ip: ip)
    try await transaction.record(
      accounts.map { .onPerson(user.id, MemberSession.personKind, in: $0, action, by: caller) })
  }
}
