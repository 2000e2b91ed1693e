import Foundation
import Postgres

/// Finds a person by the first of `emails` that belongs to a user, with the stored password and the account that the
/// person joined first.
struct FindUserForLogin: PostgresStatement {
  static let sql = """
    select person.id, person.password_hash, factor.confirmed_at is not null, membership.account_id
    from users person
    join memberships membership on membership.user_id = person.id
    join accounts account on account.id = membership.account_id and account.deleted_at is null
    left join second_factors factor on factor.person_id = person.id
    where person.email = any($1::text[])
    order by array_position($1::text[], person.email), membership.created_at, membership.account_id
    limit 1
    """
  let emails: [String]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(emails) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> LoginCandidate {
    LoginCandidate(
      personID: try row.next(), password: PasswordHash(stored: try row.next()), hasSecondFactor: try row.next(),
      accountID: try row.next())
  }
}

/// Finds a member of staff, like ``FindUserForLogin``.
struct FindStaffForLogin: PostgresStatement {
  static let sql = """
    select member.id, member.password_hash, factor.confirmed_at is not null
    from staff member left join second_factors factor on factor.person_id = member.id
    where member.email = any($1::text[]) and member.disabled_at is null
    order by array_position($1::text[], member.email)
    limit 1
    """
  let emails: [String]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(emails) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> LoginCandidate {
    LoginCandidate(
      personID: try row.next(), password: PasswordHash(stored: try row.next()), hasSecondFactor: try row.next())
  }
}

/// Prevents changes of the proven credentials until the login has committed its session. A change that waits then ends
/// this session, too.
struct ShareLockPerson<Session: PersonSession>: PostgresStatement {
  typealias Row = Bool
  static var sql: String { "select true from \(Session.personTable) where id = $1 for share" }
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

/// Inserts nothing if the account is deleted, or if the credentials that the candidate has proven have changed. The
/// person's row must be locked.
struct InsertSession: PostgresStatement {
  static let sql = """
    insert into sessions (id, token_hash, account_id, user_id, expires_at, ip, user_agent)
    select $1, $2, account.id, person.id, now() + make_interval(secs => $5::bigint), $6::text::inet, $7
    from users person
    join memberships membership on membership.user_id = person.id and membership.account_id = $3
    join accounts account on account.id = membership.account_id and account.deleted_at is null
    left join second_factors factor on factor.person_id = person.id
    where person.id = $4 and ($8::text is null
      or person.password_hash = $8 and (factor.confirmed_at is not null) = $9::boolean)
    """
  let token: SecretHash
  let accountID: UUID
  let userID: UUID
  let lifetimeSeconds: Int
  let origin: Origin
  /// Nil if the identity was not proven by a password.
  let candidate: LoginCandidate?
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      UUID.version7(), token, accountID, userID, lifetimeSeconds, origin.ip, origin.userAgent, candidate?.password.text,
      candidate?.hasSecondFactor)
  }
}

/// Inserts nothing if the member of staff is disabled, or if the proven credentials have changed.
struct InsertStaffSession: PostgresStatement {
  static let sql = """
    insert into staff_sessions (id, token_hash, staff_id, expires_at, ip, user_agent)
    select $1, $2, member.id, now() + make_interval(secs => $4::bigint), $5::text::inet, $6
    from staff member left join second_factors factor on factor.person_id = member.id
    where member.id = $3 and member.disabled_at is null and member.password_hash = $7
      and (factor.confirmed_at is not null) = $8
    """
  let token: SecretHash
  let candidate: LoginCandidate
  let lifetimeSeconds: Int
  let origin: Origin
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      UUID.version7(), token, candidate.personID, lifetimeSeconds, origin.ip, origin.userAgent, candidate.password.text,
      candidate.hasSecondFactor)
  }
}

/// True if the use of `session` was not recorded within the last minute.
private let isUseDue = "session.last_seen_at < now() - interval '1 minute'"

/// Records that a session was used, at most once a minute. The commit waits neither for the disk nor for a standby: if
/// it is lost, the next request records the use.
struct NoteSessionUse<Session: PersonSession>: PostgresStatement {
  static var sql: String {
    """
    update \(Session.table) session set last_seen_at = now()
    where token_hash = $1 and \(isUseDue)
      and last_seen_at > now() - make_interval(secs => $2::bigint) and expires_at > now()
    returning set_config('synchronous_commit', 'off', true) is null
    """
  }
  let token: SecretHash
  let idleSeconds: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(token, idleSeconds) }
}

struct FindSession: PostgresStatement {
  static let sql = """
    select session.id, session.token_hash, person.id, person.email, \(accountColumns), membership.role,
      session.expires_at, \(isUseDue)
    from sessions session
    join memberships membership on membership.user_id = session.user_id and membership.account_id = session.account_id
    join users person on person.id = session.user_id
    join accounts account on account.id = session.account_id
    join plans plan on plan.name = account.plan
    where session.token_hash = $1 and session.expires_at > now()
      and session.last_seen_at > now() - make_interval(secs => $2::bigint) and account.deleted_at is null
    """
  let token: SecretHash
  let idleSeconds: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(token, idleSeconds) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> MemberSession {
    MemberSession(
      id: try row.next(), tokenHash: try row.next(), user: User(id: try row.next(), email: try row.next()),
      account: try Account(row: &row), role: try row.next(), expiresAt: try row.next(), isUseDue: try row.next())
  }
}

struct FindStaffSession: PostgresStatement {
  static let sql = """
    select session.id, session.token_hash, member.id, member.email, member.name, member.role,
      factor.confirmed_at is not null, session.expires_at, \(isUseDue)
    from staff_sessions session
    join staff member on member.id = session.staff_id
    left join second_factors factor on factor.person_id = member.id
    where session.token_hash = $1 and session.expires_at > now()
      and session.last_seen_at > now() - make_interval(secs => $2::bigint) and member.disabled_at is null
    """
  let token: SecretHash
  let idleSeconds: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(token, idleSeconds) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffSession {
    StaffSession(
      id: try row.next(), tokenHash: try row.next(), member: try StaffMember(row: &row),
      hasSecondFactor: try row.next(), expiresAt: try row.next(), isUseDue: try row.next())
  }
}

/// The open sessions of a person, most recently used first.
struct ListSessions<Session: PersonSession>: PostgresStatement {
  static var sql: String {
    """
    select id, created_at, last_seen_at, expires_at, host(ip), user_agent from \(Session.table)
    where \(Session.personColumn) = $1 and expires_at > now()
      and last_seen_at > now() - make_interval(secs => $2::bigint)
    order by last_seen_at desc, id
    limit $3
    """
  }
  let personID: UUID
  let idleSeconds: Int
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(personID, idleSeconds, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> OpenSession {
    OpenSession(
      id: try row.next(), createdAt: try row.next(), lastSeenAt: try row.next(), expiresAt: try row.next(),
      ip: try row.next(), userAgent: try row.next())
  }
}

/// Deletes a customer's session by its token. Returns the user and the account; no row if the token is null or is not
/// that of a session.
struct DeleteSession: PostgresStatement {
  static let sql = """
    delete from sessions session using users person where token_hash = $1 and person.id = session.user_id
    returning person.id, person.email, session.account_id
    """
  let token: SecretHash?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(token) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> EndedSession {
    EndedSession(user: User(id: try row.next(), email: try row.next()), accountID: try row.next())
  }
}

/// Deletes a session. Returns its account.
struct EndSession<Session: PersonSession>: PostgresStatement {
  typealias Row = UUID?
  static var sql: String {
    """
    delete from \(Session.table) where id = $1 and \(Session.personColumn) = $2 returning \(Session.accountColumn)
    """
  }
  let id: UUID
  let personID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, personID) }
}

/// Deletes all other sessions of a person. Returns their accounts.
struct DeleteOtherSessions<Session: PersonSession>: PostgresStatement {
  typealias Row = UUID?
  static var sql: String {
    """
    delete from \(Session.table) where id <> $1 and \(Session.personColumn) = $2 returning \(Session.accountColumn)
    """
  }
  let id: UUID
  let personID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, personID) }
}

/// Deletes all sessions of a person.
struct DeleteSessions<Session: PersonSession>: PostgresStatement {
  static var sql: String { "delete from \(Session.table) where \(Session.personColumn) = $1" }
  let personID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(personID) }
}

/// Replaces the token if the caller's token is still the current one.
struct RotateSession<Session: PersonSession>: PostgresStatement {
  static var sql: String {
    "update \(Session.table) set token_hash = $3, last_seen_at = now() where id = $1 and token_hash = $2"
  }
  let session: Session
  let token: SecretHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(session.id, session.tokenHash, token) }
}

/// Like ``RotateSession``, and moves the session to another account of the person.
struct MoveSession: PostgresStatement {
  typealias Row = Bool
  static let sql = """
    update sessions set token_hash = $3, account_id = $4, last_seen_at = now() where id = $1 and token_hash = $2
    returning true
    """
  let session: MemberSession
  let token: SecretHash
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(session.id, session.tokenHash, token, accountID) }
}

/// Deletes up to `limit` sessions that have expired or were idle for too long.
struct DeleteExpiredSessions<Session: PersonSession>: PostgresStatement {
  static var sql: String {
    """
    delete from \(Session.table) where token_hash in (
      select token_hash from \(Session.table)
      where expires_at < now() or last_seen_at < now() - make_interval(hours => $1::bigint::integer)
      limit $2 for update skip locked)
    """
  }
  let idleHours: Int
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(idleHours, limit) }
}

extension PersonSession {
  fileprivate static var accountColumn: String { haveAccounts ? "account_id" : "null::uuid" }
}

extension StaffMember {
  /// Reads id, email, name, role.
  init(row: inout PostgresRow) throws(PostgresError) {
    self.init(id: try row.next(), email: try row.next(), name: try row.next(), role: try row.next())
  }
}

/// The accounts of a person, in the order in which events are written to their trails.
struct ListUserAccounts: PostgresStatement {
  typealias Row = UUID
  static let sql = "select account_id from memberships where user_id = $1 order by account_id"
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID) }
}
