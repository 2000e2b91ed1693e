import Foundation
import Postgres

/// The condition for an invitation that can still be accepted.
private let isOpen = "accepted_at is null and revoked_at is null and expires_at > now()"

extension Invitation {
  fileprivate static let columns = "id, email, role, inviter_name, created_at, expires_at"

  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), email: try row.next(), role: try row.next(), inviterName: try row.next(),
      createdAt: try row.next(), expiresAt: try row.next())
  }
}

struct ListInvitations: PostgresStatement {
  static let sql = """
    select \(Invitation.columns) from invitations
    where account_id = $1 and ($2::uuid is null or id < $2) and \(isOpen)
    order by id desc limit $3
    """
  let accountID: UUID
  let before: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, before, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Invitation { try Invitation(row: &row) }
}

struct FindInvitation: PostgresStatement {
  static let sql = "select \(Invitation.columns) from invitations where account_id = $1 and id = $2 and \(isOpen)"
  let accountID: UUID
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Invitation { try Invitation(row: &row) }
}

struct CountInvitations: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from invitations where account_id = $1 and \(isOpen)"
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
}

struct InsertInvitation: PostgresStatement {
  static let sql = """
    insert into invitations (id, account_id, email, role, inviter_id, inviter_name, is_mailed, plan, expires_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9))
    """
  let invitation: NewInvitation
  let isMailed: Bool
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      invitation.id, invitation.accountID, invitation.email, invitation.role, invitation.inviterID,
      invitation.inviterName, isMailed, invitation.plan, Invitation.lifetime / .seconds(1))
  }
}

/// Selects open invitations.
enum InvitationChoice {
  case id(UUID)
  case address(String)
  case inviter(UUID)

  /// A condition on `invitations`, by `$2` to `$4`, of which one is not null.
  fileprivate static let condition = """
    account_id = $1 and (id = $2 or email = $3 or inviter_id = $4) and accepted_at is null and revoked_at is null
    """

  fileprivate func bind(_ bindings: inout PostgresBindings) {
    let (none, noText) = (UUID?.none, String?.none)
    switch self {
    case .id(let id): bindings.append(id, noText, none)
    case .address(let address): bindings.append(none, address, none)
    case .inviter(let id): bindings.append(none, noText, id)
    }
  }
}

/// Revokes invitations. Returns them.
struct RevokeInvitations: PostgresStatement {
  static let sql = """
    update invitations set revoked_at = now() where \(InvitationChoice.condition) returning id, email
    """
  let accountID: UUID
  let of: InvitationChoice
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(accountID)
    of.bind(&bindings)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (id: UUID, email: String) {
    (try row.next(), try row.next())
  }
}

/// The token of an invitation that goes out without mail.
struct InsertInvitationToken: PostgresStatement {
  static let sql = """
    insert into one_time_tokens (token_hash, purpose, email, account_id, subject_id, expires_at)
    values ($1, 'invitation', $2, $3, $4, now() + make_interval(secs => $5))
    """
  let token: SecretHash
  let accountID: UUID
  let invitationID: UUID
  let email: String
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(token, email, accountID, invitationID, Invitation.lifetime / .seconds(1))
  }
}

/// Voids the tokens of invitations, and deletes unsent mails with more of them.
struct VoidInvitationTokens: PostgresStatement {
  static let sql = """
    with taken_back as (
      select id from invitations where \(InvitationChoice.condition)
    ), unsent as (
      delete from mails using taken_back
      where mails.subject_id = taken_back.id and mails.kind = 'invitation' and mails.state = 'waiting'
    )
    update one_time_tokens set used_at = now() from taken_back
    where one_time_tokens.subject_id = taken_back.id and one_time_tokens.used_at is null
    """
  let accountID: UUID
  let of: InvitationChoice
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(accountID)
    of.bind(&bindings)
  }
}

struct FindMemberByEmail: PostgresStatement {
  typealias Row = UUID
  static let sql = """
    select person.id from memberships membership join users person on person.id = membership.user_id
    where membership.account_id = $1 and person.email = $2
    """
  let accountID: UUID
  let email: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, email) }
}

// MARK: Accepting

/// An invitation, found by its token.
struct InvitationOffer: Sendable {
  var id: UUID
  var accountID: UUID
  var email: String
  var role: MemberRole
  var isMailed: Bool
  /// As ``NewInvitation/plan``.
  var plan: String?
}

/// The invitation that a token is for, if both are valid.
struct FindOffer: PostgresStatement {
  static let sql = """
    select invitation.id, invitation.account_id, invitation.email, invitation.role, invitation.is_mailed,
      invitation.plan
    from one_time_tokens token join invitations invitation on invitation.id = token.subject_id
    where token.token_hash = $1 and token.purpose = 'invitation' and token.used_at is null and token.expires_at > now()
      and invitation.accepted_at is null and invitation.revoked_at is null and invitation.expires_at > now()
    """
  let token: SecretHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(token) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> InvitationOffer {
    InvitationOffer(
      id: try row.next(), accountID: try row.next(), email: try row.next(), role: try row.next(),
      isMailed: try row.next(), plan: try row.next())
  }
}

struct AcceptInvitation: PostgresStatement {
  typealias Row = Bool
  static let sql = "update invitations set accepted_at = now() where id = $1 and \(isOpen) returning true"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

/// Finds a person by address, whether or not they belong to an account.
struct FindPassword: PostgresStatement {
  static let sql = "select id, email, password_hash from users where email = $1"
  let email: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(email) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (user: User, password: PasswordHash) {
    (User(id: try row.next(), email: try row.next()), PasswordHash(stored: try row.next()))
  }
}

/// Locks a user. Returns no row if the address or the password has changed since the password was checked.
struct LockKnownUser: PostgresStatement {
  typealias Row = Bool
  static let sql = """
    select true from users where id = $1 and email = $2 and password_hash = $3 for no key update
    """
  let user: User
  let password: PasswordHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(user.id, user.email, password.text) }
}
