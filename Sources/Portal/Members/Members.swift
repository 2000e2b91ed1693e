package import Foundation
package import Postgres

/// The members of accounts. The acting member is looked up again while the account is locked, so that a role that was
/// just withdrawn is no longer effective, and one owner always remains, even under concurrent changes.
package struct Members: Sendable {
  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Newest members first.
  package func list(of accountID: UUID, page: PageRequest) async throws -> Page<Member> {
    let found = try await pool.query(
      ListMembers(accountID: accountID, before: page.before, count: page.limit + 1), as: .account(accountID))
    return Page(found, limit: page.limit, id: \.user.id)
  }

  /// The accounts that a person belongs to, in the order they were joined.
  package func accounts(of user: User) async throws -> [OwnAccount] {
    try await pool.query(ListOwnAccounts(userID: user.id), as: .identity)
  }

  /// Changes a member's role. A lower role also revokes the invitations that the member made. Throws `.notFound`,
  /// `.forbidden` if the caller's role does not permit it, and `.lastOwner`.
  package func setRole(
    _ role: MemberRole, of userID: UUID, in accountID: UUID, by session: MemberSession, ip: String?
  ) async throws -> Member {
    try await change(userID, in: accountID, by: session) { member, transaction in
      if member.role == role { return member }
      try await Self.check(member.role, role, by: session, in: accountID, transaction)
      let changed = try await transaction.pipeline(
        SetMemberRole(accountID: accountID, userID: userID, role: role),
        InsertAuditEvent.onMember(
          userID, of: accountID, .memberRoleChanged, by: session.caller(ip: ip),
          detail: AuditDetail("\(member.user.email): from \(member.role.rawValue) to \(role.rawValue)")),
        then: FindMember(accountID: accountID, userID: userID))
      if role < member.role {
        try await Self.revokeInvitations(of: userID, in: accountID, by: session, ip, transaction)
      }
      return try FindMember.one(of: changed)
    }
  }

  /// Ends a membership, which may be the caller's own, with the member's sessions in the account and the invitations
  /// that the member made. Keys that the member made stay. A person who no longer belongs to any account loses their
  /// address, password and second factor. Throws `.notFound`, `.forbidden` and `.lastOwner`.
  package func remove(_ userID: UUID, from accountID: UUID, by session: MemberSession, ip: String?) async throws {
    try await change(userID, in: accountID, by: session) { member, transaction in
      try await Self.check(member.role, nil, by: session, in: accountID, transaction)
      _ = try await transaction.pipeline(
        DeleteMembership(accountID: accountID, userID: userID),
        InsertAuditEvent.onMember(
          userID, of: accountID, userID == session.user.id ? .memberLeft : .memberRemoved,
          by: session.caller(ip: ip), detail: AuditDetail(member.user.email)))
      try await Self.revokeInvitations(of: userID, in: accountID, by: session, ip, transaction)
      _ = try await transaction.query(ForgetPeople(userIDs: [userID]))
    }
  }

  private func change<Value>(
    _ userID: UUID, in accountID: UUID, by session: MemberSession,
    _ body: (Member, PostgresConnection) async throws -> Value
  ) async throws -> Value {
    try await pool.withTransaction(as: .identity) { transaction in
      // The person is locked before the account, in the same order as by a concurrent login.
      let (_, _, _, actors, members) = try await transaction.pipeline(
        LockPerson<MemberSession>(id: userID), SetLocally(.account(accountID)), LockAccount(accountID: accountID),
        FindMember(accountID: accountID, userID: session.user.id),
        FindMember(accountID: accountID, userID: userID))
      guard let actor = actors.first else { throw PortalError.unauthenticated }
      guard let member = members.first else { throw PortalError.notFound }
      guard userID == actor.user.id || actor.role.permits(.changeMembers) else {
        throw PortalError.forbidden(reason: "Your role does not permit changing members.")
      }
      return try await body(member, transaction)
    }
  }

  /// Revokes the invitations of a member who may no longer invite.
  private static func revokeInvitations(
    of userID: UUID, in accountID: UUID, by session: MemberSession, _ ip: String?, _ transaction: PostgresConnection
  ) async throws {
    let revoked = try await transaction.pipeline(
      VoidInvitationTokens(accountID: accountID, of: .inviter(userID)),
      then: RevokeInvitations(accountID: accountID, of: .inviter(userID)))
    _ = try await transaction.pipeline(
      each: revoked.map { invitation in
        InsertAuditEvent.onInvitation(
          invitation.id, of: accountID, .invitationRevoked, by: session.caller(ip: ip),
          detail: AuditDetail(invitation.email))
      })
  }

  /// Only an owner can make a member an owner, or change or remove an owner; and at least one owner has to remain.
  private static func check(
    _ from: MemberRole, _ to: MemberRole?, by session: MemberSession, in accountID: UUID,
    _ transaction: PostgresConnection
  ) async throws {
    guard from == .owner || to == .owner else { return }
    let owners = try await transaction.query(ListOwners(accountID: accountID))
    guard owners.contains(session.user.id) else {
      throw PortalError.forbidden(reason: "Only an owner can make or change an owner.")
    }
    if from == .owner, to != .owner, owners.count == 1 { throw PortalError.lastOwner }
  }
}
