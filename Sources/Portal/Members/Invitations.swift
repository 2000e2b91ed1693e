package import Foundation
package import Postgres

/// Invites people into an account, and accepts invitations. The token goes out by mail where mail is configured;
/// otherwise the inviter receives it once, to pass it on.
package struct Invitations: Sendable {
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

  /// The result of accepting an invitation.
  package struct Accepted: Sendable {
    package var user: User
    package var account: Account
    package var role: MemberRole
  }

  /// The open invitations, most recent first.
  package func list(of accountID: UUID, page: PageRequest) async throws -> Page<Invitation> {
    let found = try await pool.query(
      ListInvitations(accountID: accountID, before: page.before, count: page.limit + 1), as: .account(accountID))
    return Page(found, limit: page.limit, id: \.id)
  }

  /// Invites an address, and revokes an earlier invitation of it. `token` is nil if it goes out by mail. Throws
  /// `.forbidden` if the role does not permit it, `.alreadyMember`, and `.limitNotAllowed` beyond
  /// ``Invitation/openCountMax``.
  package func invite(
    _ email: EmailAddress, as role: MemberRole, into accountID: UUID, by session: MemberSession, ip: String?
  ) async throws -> (invitation: Invitation, token: Secret?) {
    let id = UUID.version7()
    let token = outbox.isOpen ? nil : Secret.random(prefix: OneTimeToken.Purpose.invitation.prefix)
    let invitation = try await pool.withTransaction(as: .account(accountID)) { transaction in
      let (accounts, actors, members, counts) = try await transaction.pipeline(
        LockAccount(accountID: accountID), FindMember(accountID: accountID, userID: session.user.id),
        FindMemberByEmail(accountID: accountID, email: email.text), CountInvitations(accountID: accountID))
      guard let account = accounts.first, let actor = actors.first else { throw PortalError.unauthenticated }
      try account.checkActive()
      guard actor.role.permits(.changeMembers), role < .owner || actor.role == .owner else {
        throw PortalError.forbidden(reason: "Only an owner can invite an owner.")
      }
      guard members.isEmpty else { throw PortalError.alreadyMember }
      guard try CountInvitations.one(of: counts) < Invitation.openCountMax else {
        throw PortalError.limitNotAllowed([
          FieldProblem(
            .email,
            "would exceed the \(Invitation.openCountMax) open invitations that an account may have")
        ])
      }
      let made = try await transaction.pipeline(
        VoidInvitationTokens(accountID: accountID, of: .address(email.text)),
        RevokeInvitations(accountID: accountID, of: .address(email.text)),
        InsertInvitation(
          id: id, accountID: accountID, email: email.text, role: role, inviter: session.user, isMailed: token == nil),
        InsertAuditEvent.onInvitation(
          id, of: accountID, .memberInvited, by: session.caller(ip: ip),
          detail: AuditDetail("\(email.text) as \(role.rawValue)")),
        outbox.mail(
          .invitation, to: email.text, accountID: accountID, subjectID: id,
          Mail.Parameters(accountName: account.name, actorName: session.user.email, role: role.rawValue)),
        then: FindInvitation(accountID: accountID, id: id))
      if let token {
        try await transaction.execute(
          InsertInvitationToken(token: token.hash, accountID: accountID, invitationID: id, email: email.text))
      }
      return try FindInvitation.one(of: made)
    }
    outbox.ring()
    return (invitation, token)
  }

  /// Revokes an invitation, with its token. Throws `.notFound` if it is not open.
  package func revoke(_ id: UUID, of accountID: UUID, by session: MemberSession, ip: String?) async throws {
    try await pool.withTransaction(as: .account(accountID)) { transaction in
      let found = try await transaction.pipeline(
        LockAccount(accountID: accountID), then: FindInvitation(accountID: accountID, id: id))
      guard let invitation = found.first else { throw PortalError.notFound }
      _ = try await transaction.pipeline(
        VoidInvitationTokens(accountID: accountID, of: .id(id)),
        RevokeInvitations(accountID: accountID, of: .id(id)),
        InsertAuditEvent.onInvitation(
          id, of: accountID, .invitationRevoked, by: session.caller(ip: ip), detail: AuditDetail(invitation.email)))
    }
  }

  /// Makes the invited person a member. `password` is the person's current password, or the new one of a new user.
  /// Throws `.invalidToken`, `.invalidCredentials` for a wrong password, `.tooManyRequests` after too many, and
  /// `.alreadyMember`.
  package func accept(_ token: Secret, password: Password, from ip: String?) async throws -> Accepted {
    guard token.isWellFormed(prefix: OneTimeToken.Purpose.invitation.prefix),
      let offer = try await pool.query(FindOffer(token: token.hash), as: .identity).first
    else { throw PortalError.invalidToken }
    let known = try await pool.query(FindPassword(email: offer.email), as: .identity).first
    let user = known?.user ?? User(id: .version7(), email: offer.email)
    var newPassword: PasswordHash?
    if let known {
      // The inviter may hold the token, so guessing a password here is throttled as at login.
      try await passwords.withPlace { place in
        let admission = try await attempts.admit(Attempt(.logIn, of: offer.email, from: ip))
        guard await place.verify(password, against: known.password).isMatch else {
          throw PortalError.invalidCredentials
        }
        try await attempts.succeeded(admission)
      }
    } else {
      let new: Password
      do throws(Password.Refusal) { new = try Password(new: password.reveal()) } catch {
        throw PortalError.invalid(.password, error.message)
      }
      newPassword = try await passwords.hash(new)
    }
    do {
      return try await join(user, known?.password, newPassword, token, offer, ip)
    } catch let error as PostgresError where error.violates("users_email_unique") {
      // A user with this address was created at the same time, whose password is required now.
      throw PortalError.invalidCredentials
    } catch let error as PostgresError where error.violates("memberships_pkey") {
      throw PortalError.alreadyMember
    }
  }

  private func join(
    _ user: User, _ password: PasswordHash?, _ newPassword: PasswordHash?, _ token: Secret, _ offer: InvitationOffer,
    _ ip: String?
  ) async throws -> Accepted {
    let caller = Caller(actor: .user(id: user.id, email: user.email), ip: ip)
    return try await pool.withTransaction(as: .identity) { transaction in
      // The user and the password must not have changed since the password was checked.
      if let password,
        try await transaction.query(LockKnownUser(user: user, password: password)).isEmpty
      {
        throw PortalError.invalidCredentials
      }
      let (_, accounts, _, accepted, used) = try await transaction.pipeline(
        SetLocally(.account(offer.accountID)), LockAccount(accountID: offer.accountID), SetLocally(.identity),
        AcceptInvitation(id: offer.id),
        UseOneTimeToken(token: token.hash, purpose: .invitation))
      guard let account = accounts.first, !accepted.isEmpty, !used.isEmpty else { throw PortalError.invalidToken }
      try account.checkActive()
      _ = try await transaction.query(SetLocally(.account(offer.accountID)))
      if let newPassword { try await transaction.execute(InsertUser(user: user, password: newPassword)) }
      _ = try await transaction.pipeline(
        InsertMembership(accountID: offer.accountID, userID: user.id, role: offer.role),
        InsertAuditEvent.onMember(
          user.id, of: offer.accountID, .memberJoined, by: caller,
          detail: AuditDetail("\(user.email) as \(offer.role.rawValue)")))
      if offer.isMailed {
        _ = try await transaction.pipeline(SetLocally(.identity), MarkEmailVerified(userID: user.id))
      }
      return Accepted(user: user, account: account, role: offer.role)
    }
  }
}
