package import Foundation
package import Postgres

/// The creator of an account.
package enum AccountCreator: Sendable {
  /// Its first user, who signs up from this address.
  case owner(ip: String?)
  case other(Caller)

  func caller(for user: User) -> Caller {
    switch self {
    case .owner(let ip): Caller(actor: .user(id: user.id, email: user.email), ip: ip)
    case .other(let caller): caller
    }
  }
}

/// Creates accounts, their first users, and members of staff.
package struct Accounts: Sendable {
  let pool: PostgresPool
  let passwords: PasswordHasher

  package init(pool: PostgresPool, passwords: PasswordHasher) {
    self.pool = pool
    self.passwords = passwords
  }

  /// Creates an account with its first user, the owner. Throws `.emailTaken`.
  package func create(
    name: String, email: EmailAddress, password: Password, by creator: AccountCreator
  ) async throws -> (account: UUID, user: User) {
    let hash = try await passwords.hash(password)
    let user = User(id: .version7(), email: email.text)
    let accountID = UUID.version7()
    do {
      _ = try await pool.pipeline(
        InsertAccount(id: accountID, name: name), InsertUser(user: user, password: hash),
        InsertMembership(accountID: accountID, userID: user.id, role: .owner),
        InsertAuditEvent.onAccount(accountID, .accountCreated, by: creator.caller(for: user)), as: .account(accountID))
    } catch {
      throw error.violates("users_email_unique") ? PortalError.emailTaken : error
    }
    return (accountID, user)
  }

  /// Sets the limit per minute that the account's keys share; nil for none. Throws `.notFound`.
  package func setSharedLimit(
    _ limitPerMinute: Int?, _ mode: RateLimitMode, of accountID: UUID, by caller: Caller
  ) async throws {
    try await pool.withTransaction(as: .account(accountID)) { transaction in
      guard try await !transaction.query(LockAccount(accountID: accountID)).isEmpty else { throw PortalError.notFound }
      _ = try await transaction.pipeline(
        SetSharedLimit(accountID: accountID, limitPerMinute: limitPerMinute, mode: mode),
        InsertAuditEvent.onAccount(accountID, .accountLimitChanged, by: caller))
    }
  }

  /// Creates a member of staff. Throws `.emailTaken`.
  package func createStaff(
    name: String, email: EmailAddress, role: StaffMember.Role, password: Password, by caller: Caller
  ) async throws -> StaffMember {
    let member = StaffMember(id: .version7(), email: email.text, name: name, role: role)
    let hash = try await passwords.hash(password)
    do {
      _ = try await pool.pipeline(
        InsertStaff(member: member, password: hash),
        InsertAuditEvent.inSystem(.staffCreated, "staff", member.id, by: caller), as: .staff)
    } catch {
      throw error.violates("staff_email_unique") ? PortalError.emailTaken : error
    }
    return member
  }
}
