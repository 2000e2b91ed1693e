import Foundation
import Postgres

struct FindUserByEmail: PostgresStatement {
  static let sql = """
    select id, email from users
    where email = any($1::text[]) order by array_position($1::text[], email) limit 1
    """
  let email: EmailAddress
  func bind(_ bindings: inout PostgresBindings) { bindings.append(email.storedTexts) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> User {
    User(id: try row.next(), email: try row.next())
  }
}

/// The person, without any list.
struct FindPersonRecord: PostgresStatement {
  static let sql = """
    select person.id, person.email, person.created_at, person.email_verified_at, factor.confirmed_at,
      coalesce(cardinality(factor.recovery_code_hashes), 0)::bigint
    from users person left join second_factors factor on factor.person_id = person.id
    where person.id = $1
    """
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> PersonRecord {
    PersonRecord(
      user: User(id: try row.next(), email: try row.next()), createdAt: try row.next(),
      emailVerifiedAt: try row.next(), secondFactorEnabledAt: try row.next(), recoveryCodeCount: try row.next())
  }
}

struct ListMembershipsOfPerson: PostgresStatement {
  static let sql = """
    select account.id, account.name, membership.role, membership.created_at, account.deleted_at
    from memberships membership join accounts account on account.id = membership.account_id
    where membership.user_id = $1
    order by membership.created_at desc, account.id
    limit $2
    """
  let userID: UUID
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> PersonRecord.Membership {
    PersonRecord.Membership(
      accountID: try row.next(), accountName: try row.next(), role: try row.next(), joinedAt: try row.next(),
      accountDeletedAt: try row.next())
  }
}

/// Includes expired sessions that are still stored.
struct ListSessionsOfPerson: PostgresStatement {
  static let sql = """
    select account_id, id, created_at, last_seen_at, expires_at, host(ip), user_agent
    from sessions where user_id = $1
    order by last_seen_at desc, id
    limit $2
    """
  let userID: UUID
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> PersonRecord.Session {
    PersonRecord.Session(
      accountID: try row.next(),
      session: OpenSession(
        id: try row.next(), createdAt: try row.next(), lastSeenAt: try row.next(), expiresAt: try row.next(),
        ip: try row.next(), userAgent: try row.next()))
  }
}

/// The invitations that the person received or sent.
struct ListInvitationsOfPerson: PostgresStatement {
  static let sql = """
    select id, account_id, email, role, inviter_name, created_at, expires_at, accepted_at, revoked_at
    from invitations where email = (select email from users where id = $1) or inviter_id = $1
    order by id desc
    limit $2
    """
  let userID: UUID
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> PersonRecord.Invitation {
    PersonRecord.Invitation(
      id: try row.next(), accountID: try row.next(), email: try row.next(), role: try row.next(),
      inviterName: try row.next(), createdAt: try row.next(), expiresAt: try row.next(), acceptedAt: try row.next(),
      revokedAt: try row.next())
  }
}

struct ListMailsOfPerson: PostgresStatement {
  static let sql = """
    select id, kind, recipient, account_id, state, created_at, finished_at, parameters::text
    from mails where recipient = (select email from users where id = $1) or user_id = $1
    order by created_at desc, id
    limit $2
    """
  let userID: UUID
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> PersonRecord.Mail {
    PersonRecord.Mail(
      id: try row.next(), kind: try row.next(), recipient: try row.next(), accountID: try row.next(),
      state: try row.next(), createdAt: try row.next(), finishedAt: try row.next(), parameters: try row.next())
  }
}

struct ListTokensOfPerson: PostgresStatement {
  static let sql = """
    select purpose, email, created_at, expires_at, used_at
    from one_time_tokens where email = (select email from users where id = $1) or user_id = $1
    order by created_at desc
    limit $2
    """
  let userID: UUID
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> PersonRecord.OneTimeToken {
    PersonRecord.OneTimeToken(
      purpose: try row.next(), email: try row.next(), createdAt: try row.next(), expiresAt: try row.next(),
      usedAt: try row.next())
  }
}

/// The keys that a person created in one account, in the order of their ids, starting after `after`.
struct ListKeysOfPerson: PostgresStatement {
  static let sql = """
    select id, account_id, name, key_start, created_at, revoked_at
    from api_keys
    where account_id = $1 and created_by_kind = 'user' and created_by_id = $2 and ($3::uuid is null or id > $3)
    order by id
    limit $4
    """
  let trail: AuditTrail
  let userID: UUID
  let after: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(trail.accountID, userID, after, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> MadeKey {
    MadeKey(
      id: try row.next(), accountID: try row.next(), name: try row.next(), start: try row.next(),
      createdAt: try row.next(), revokedAt: try row.next())
  }
}
