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
    let invitation = NewInvitation(
      accountID: accountID, email: email.text, role: role, inviterID: session.user.id, inviterName: session.user.email)
    return try await invite(invitation, by: session.caller(ip: ip)) { (account, actor, _) throws(PortalError) in
      guard let account, let actor else { throw .unauthenticated }
      try account.checkActive()
      guard actor.role.permits(.changeMembers), role < .owner || actor.role == .owner else {
        throw .forbidden(reason: "Only an owner can invite an owner.")
      }
      return account
    }
  }

  /// As ``invite(_:as:into:by:ip:)``, for a backend, which may invite in any role. The first person to join an external
  /// account has to be an owner; the account then takes `plan`, or the default plan. Throws also `.notFound`,
  /// `.invalid` for another role and if there is no such plan, and `.forbidden` for a house account.
  package func invite(
    _ email: EmailAddress, as role: MemberRole, plan: String? = nil, into accountID: UUID, by caller: Caller
  ) async throws -> (invitation: Invitation, token: Secret?) {
    let invitation = NewInvitation(
      accountID: accountID, email: email.text, role: role, plan: plan, inviterName: caller.actor.name)
    return try await invite(invitation, by: caller) { (account, _, plans) throws(PortalError) in
      guard let account else { throw .notFound }
      try account.checkIsCustomers()
      try account.checkActive()
      guard account.kind == .customer || role == .owner else {
        throw .invalid(.role, "must be owner, because nobody has joined the account yet")
      }
      guard plan == nil || !plans.isEmpty else { throw .invalid(.plan, "is not the name of a plan") }
      return account
    }
  }

  /// `permit` gets the account, the member who invites, and the plan that is named, as far as they exist. It returns
  /// the account.
  private func invite(
    _ new: NewInvitation, by caller: Caller,
    permit: @Sendable (Account?, Member?, [Plan]) throws(PortalError) -> Account
  ) async throws -> (invitation: Invitation, token: Secret?) {
    let accountID = new.accountID
    let token = outbox.isOpen ? nil : Secret.random(prefix: OneTimeToken.Purpose.invitation.prefix)
    let invitation = try await pool.withTransaction(as: .account(accountID)) { transaction in
      let (accounts, actors, members, counts, plans) = try await transaction.pipeline(
        LockAccount(accountID: accountID), FindMember(accountID: accountID, userID: new.inviterID),
        FindMemberByEmail(accountID: accountID, email: new.email), CountInvitations(accountID: accountID),
        FindPlan(name: new.plan ?? ""))
      let account = try permit(accounts.first, actors.first, plans)
      guard members.isEmpty else { throw PortalError.alreadyMember }
      guard try CountInvitations.one(of: counts) < Invitation.openCountMax else {
        throw PortalError.limitNotAllowed([
          FieldProblem(
            .email,
            "would exceed the \(Invitation.openCountMax) open invitations that an account may have")
        ])
      }
      let made = try await transaction.pipeline(
        VoidInvitationTokens(accountID: accountID, of: .address(new.email)),
        RevokeInvitations(accountID: accountID, of: .address(new.email)),
        InsertInvitation(invitation: new, isMailed: token == nil),
        InsertAuditEvent.onInvitation(
          new.id, of: accountID, .memberInvited, by: caller,
          detail: AuditDetail("\(new.email) as \(new.role.rawValue)")),
        outbox.mail(
          .invitation, to: new.email, accountID: accountID, subjectID: new.id,
          Mail.Parameters(accountName: account.name, actorName: new.inviterName, role: new.role.rawValue)),
        then: FindInvitation(accountID: accountID, id: new.id))
      if let token {
        try await transaction.execute(
          InsertInvitationToken(token: token.hash, accountID: accountID, invitationID: new.id, email: new.email))
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
      guard var account = accounts.first, !accepted.isEmpty, !used.isEmpty else { throw PortalError.invalidToken }
      try account.checkActive()
      if account.kind == .external {
        account = try await makeCustomer(account, offer.plan ?? Plan.defaultName, by: caller, on: transaction)
      }
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

  /// Makes a locked external account a customer's, when the first person joins. Its keys stay; whether there is room
  /// for another is up to the plan.
  private func makeCustomer(
    _ account: Account, _ plan: String, by caller: Caller, on transaction: PostgresConnection
  ) async throws -> Account {
    _ = try await transaction.pipeline(
      SetLocally(.staff(in: account.id)), MakeCustomer(accountID: account.id, plan: plan))
    let event = InsertAuditEvent.onPlan(of: account.id, from: account.plan.name, to: plan, by: caller)
    if let event { try await transaction.execute(event) }
    return try LockAccount.one(of: try await transaction.query(LockAccount(accountID: account.id)))
  }
}
