import Foundation
import Postgres

/// Returns a row if the token could be used now, without using it.
struct FindOneTimeToken: PostgresStatement {
  typealias Row = Bool
  static let sql = """
    select true from one_time_tokens
    where token_hash = $1 and purpose = $2 and used_at is null and expires_at > now()
    """
  let token: SecretHash
  let purpose: OneTimeToken.Purpose
  func bind(_ bindings: inout PostgresBindings) { bindings.append(token, purpose) }
}

/// The user to whom a token was sent, if they still have that address. The user's row is locked, so that of two tokens
/// of a user that are used at the same time, the second is found to be void.
struct LockTokenUser: PostgresStatement {
  static let sql = """
    select person.id, person.email
    from one_time_tokens token join users person on person.id = token.user_id and person.email = token.email
    where token.token_hash = $1
    for no key update of person
    """
  let token: SecretHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(token) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> User {
    User(id: try row.next(), email: try row.next())
  }
}

/// The user who wants to change their address, and the new address, by the token that was sent to it. The user's row is
/// locked as by `LockTokenUser`.
struct LockEmailChange: PostgresStatement {
  static let sql = """
    select person.id, person.email, token.email
    from one_time_tokens token join users person on person.id = token.user_id
    where token.token_hash = $1 and token.purpose = 'email_change'
    for no key update of person
    """
  let token: SecretHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(token) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (user: User, email: String) {
    (User(id: try row.next(), email: try row.next()), try row.next())
  }
}

/// Consumes a token, and voids the other tokens that were sent to the address for the same purpose. Returns no row if
/// the token was used, has expired, or never existed.
struct UseOneTimeToken: PostgresStatement {
  typealias Row = Bool
  static let sql = """
    with used as (
      update one_time_tokens set used_at = now()
      where token_hash = $1 and purpose = $2 and used_at is null and expires_at > now()
      returning email, account_id
    ), others as (
      update one_time_tokens other set used_at = now() from used
      where other.purpose = $2 and other.email = used.email and other.account_id is not distinct from used.account_id
        and other.token_hash <> $1 and other.used_at is null
    )
    select true from used
    """
  let token: SecretHash
  let purpose: OneTimeToken.Purpose
  func bind(_ bindings: inout PostgresBindings) { bindings.append(token, purpose) }
}

struct SetPassword: PostgresStatement {
  static let sql = "update users set password_hash = $2 where id = $1"
  let userID: UUID
  let password: PasswordHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID, password.text) }
}

/// Deletes mails that have not been sent yet.
struct DeleteWaitingMails: PostgresStatement {
  static let sql = "delete from mails where recipient = $1 and kind = $2 and state = 'waiting'"
  let recipient: String
  let kind: Mail.Kind
  func bind(_ bindings: inout PostgresBindings) { bindings.append(recipient, kind) }
}

struct MarkEmailVerified: PostgresStatement {
  static let sql = "update users set email_verified_at = coalesce(email_verified_at, now()) where id = $1"
  let userID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(userID) }
}

/// A sign-up whose address is not confirmed yet.
struct Signup: Sendable {
  var id: UUID
  var email: String
  var password: PasswordHash
  var accountName: String
}

struct InsertSignup: PostgresStatement {
  static let sql = "insert into signups (id, email, password_hash, account_name) values ($1, $2, $3, $4)"
  let signup: Signup
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(signup.id, signup.email, signup.password.text, signup.accountName)
  }
}

/// The sign-up that a token was sent for.
struct LockSignup: PostgresStatement {
  static let sql = """
    select signup.id, signup.email, signup.password_hash, signup.account_name
    from one_time_tokens token join signups signup on signup.id = token.subject_id
    where token.token_hash = $1 and token.purpose = 'sign_up'
    for update of signup
    """
  let token: SecretHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(token) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Signup {
    Signup(
      id: try row.next(), email: try row.next(), password: PasswordHash(stored: try row.next()),
      accountName: try row.next())
  }
}

/// Deletes all sign-ups of an address, after one of them has become an account.
struct DeleteSignups: PostgresStatement {
  static let sql = "delete from signups where email = $1"
  let email: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(email) }
}

/// Deletes sign-ups that no token can confirm any more: a token is sent within a day, and expires after another.
struct DeleteOldSignups: PostgresStatement {
  static let sql = """
    delete from signups where id in (
      select id from signups where created_at < now() - interval '48 hours' order by created_at limit $1)
    """
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(limit) }
}

struct DeleteExpiredOneTimeTokens: PostgresStatement {
  static let sql = """
    delete from one_time_tokens where token_hash in (
      select token_hash from one_time_tokens where expires_at < now() order by expires_at limit $1)
    """
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(limit) }
}
