import Foundation
import Postgres

extension Mail.Parameters {
  /// JSON.
  var text: String {
    // Strings and integers can always be encoded.
    (try? JSONEncoder().encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
  }

  init(column text: String) throws(PostgresError) {
    do { self = try JSONDecoder().decode(Self.self, from: Data(text.utf8)) } catch {
      throw PostgresError(.decoding, "mails.parameters cannot be decoded")
    }
  }
}

/// Enqueues a mail, unless its address was sent `countMax` of this kind within the last half hour, which is how long a
/// token for a new password is valid. Under the role of an account, only the account's own mails count. Concurrent
/// statements do not see each other's mails, so they may exceed the limit.
struct EnqueueMail: PostgresStatement {
  private static let countMax = 5

  static let sql = """
    insert into mails (id, kind, recipient, account_id, user_id, subject_id, parameters)
    select $1, $2, $3, $4, $5, $6, $7::text::jsonb
    where $8 and $9 > (
      select count(*) from mails where recipient = $3 and kind = $2 and created_at > now() - interval '30 minutes')
    """
  let mail: Mail
  let isOpen: Bool
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      mail.id, mail.kind, mail.recipient, mail.accountID, mail.userID, mail.subjectID, mail.parameters.text, isOpen,
      Self.countMax)
  }
}

/// Enqueues a mail to each owner and admin of an account.
struct EnqueueNotices: PostgresStatement {
  static let sql = """
    insert into mails (id, kind, recipient, account_id, user_id, subject_id, parameters)
    select gen_random_uuid(), $1, person.email, account.id, person.id, $3,
      $4::text::jsonb || jsonb_build_object('accountName', account.name)
    from memberships membership
    join users person on person.id = membership.user_id
    join accounts account on account.id = membership.account_id
    where $5 and membership.account_id = $2 and membership.role in ('owner', 'admin')
    """
  let kind: Mail.Kind
  let accountID: UUID
  let subjectID: UUID
  let parameters: Mail.Parameters
  let isOpen: Bool
  func bind(_ bindings: inout PostgresBindings) { bindings.append(kind, accountID, subjectID, parameters.text, isOpen) }
}

/// Leases due mails: no other sender claims them until the lease has expired.
struct ClaimMails: PostgresStatement {
  static let sql = """
    update mails mail set attempt_count = attempt_count + 1, due_at = now() + make_interval(secs => $1)
    from (
      select id from mails where state = 'waiting' and due_at <= now() and kind = any($2)
      order by due_at limit $3 for update skip locked) due
    where mail.id = due.id
    returning mail.id, mail.kind, mail.recipient, mail.account_id, mail.user_id, mail.subject_id, mail.parameters::text,
      mail.attempt_count, extract(epoch from now() - mail.created_at)::double precision
    """
  let lease: Duration
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(lease / .seconds(1), Mail.Kind.allCases, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> ClaimedMail {
    ClaimedMail(
      mail: Mail(
        id: try row.next(), kind: try row.next(), recipient: try row.next(), accountID: try row.next(),
        userID: try row.next(), subjectID: try row.next(), parameters: try Mail.Parameters(column: row.next())),
      attempt: try row.next(), ageSeconds: try row.next())
  }
}

/// Records a mail's final state, no matter which sender reached it.
struct FinishMail: PostgresStatement {
  enum State: String, PostgresCodable {
    case sent, failed, dropped
  }
  static let sql = """
    update mails set state = $2, last_error = coalesce($3, last_error), finished_at = now()
    where id = $1 and state = 'waiting'
    """
  let id: UUID
  let state: State
  var error: String?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, state, error) }
}

/// Schedules the next attempt at a mail, unless the lease has expired and another sender has claimed it.
struct DeferMail: PostgresStatement {
  static let sql = """
    update mails set due_at = now() + make_interval(secs => $3), last_error = $4
    where id = $1 and attempt_count = $2 and state = 'waiting'
    """
  let id: UUID
  let attempt: Int
  let delay: Duration
  let error: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id, attempt, delay / .seconds(1), error) }
}

/// The user with an address.
struct FindMailUser: PostgresStatement {
  static let sql = "select id, email_verified_at is not null from users where email = $1"
  let email: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(email) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (id: UUID, isVerified: Bool) {
    (try row.next(), try row.next())
  }
}

/// Stores the hash of the token in a mail. Returns no row if the mail is not to be sent any more. The mail's row is
/// locked meanwhile, so that a transaction that withdraws the mail also sees the token.
struct InsertOneTimeToken: PostgresStatement {
  typealias Row = Bool
  static let sql = """
    insert into one_time_tokens (token_hash, purpose, email, user_id, account_id, subject_id, expires_at)
    select $2, $3, mail.recipient, $4, mail.account_id, mail.subject_id, now() + make_interval(secs => $5)
    from mails mail where mail.id = $1 and mail.state = 'waiting'
    for share of mail
    returning true
    """
  let mailID: UUID
  let token: SecretHash
  let purpose: OneTimeToken.Purpose
  let userID: UUID?
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(mailID, token, purpose, userID, purpose.lifetime / .seconds(1))
  }
}

struct DeleteOldMails: PostgresStatement {
  static let sql = """
    delete from mails where id in (
      select id from mails where finished_at < now() - make_interval(days => $1::integer) order by finished_at limit $2)
    """
  let days: Int
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(days, limit) }
}
