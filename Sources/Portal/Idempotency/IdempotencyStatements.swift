import Foundation
import Postgres

/// The stored answer to a request with this key. To rely on there being none, lock the account first, so that no
/// concurrent request is being answered.
struct FindFirstAnswer: PostgresStatement {
  static let sql = """
    select request_hash, new_key_id, shown_keys,
      case when created_at > now() - make_interval(secs => $4) then sealed_secret end
    from idempotent_requests
    where account_id = $1 and key_hash = $2 and created_at > now() - make_interval(secs => $3)
    """
  struct Row {
    let requestHash: SecretHash
    let newID: UUID
    let objects: [String]
    let sealedSecret: [UInt8]?

    /// Throws `.idempotencyConflict` if the stored answer is to a different request.
    func answer(to request: IdempotentRequest) throws(PortalError) -> FirstAnswer {
      guard requestHash == request.requestHash else { throw .idempotencyConflict }
      return FirstAnswer(
        objects: objects, newID: newID, secret: sealedSecret.flatMap { request.open($0, of: newID) })
    }
  }
  let request: IdempotentRequest
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      request.accountID, request.keyHash, Double(IdempotentRequest.answerSeconds),
      Double(IdempotentRequest.secretSeconds))
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    Row(
      requestHash: try row.next(), newID: try row.next(), objects: try row.next(),
      sealedSecret: try row.next(PostgresBytes?.self)?.bytes)
  }
}

/// Replaces an expired answer with the same key, if it has not been deleted yet.
struct InsertFirstAnswer: PostgresStatement {
  static let sql = """
    insert into idempotent_requests (account_id, key_hash, request_hash, new_key_id, shown_keys, sealed_secret)
    values ($1, $2, $3, $4, $5, $6)
    on conflict (account_id, key_hash) do update set request_hash = excluded.request_hash,
      new_key_id = excluded.new_key_id, shown_keys = excluded.shown_keys, sealed_secret = excluded.sealed_secret,
      created_at = excluded.created_at
    """
  let request: IdempotentRequest
  let answer: FirstAnswer
  let sealedSecret: [UInt8]?
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      request.accountID, request.keyHash, request.requestHash, answer.newID, answer.objects,
      sealedSecret.map { PostgresBytes($0) })
  }
}

// MARK: Creating accounts

/// Lets one request with this key at a time go on, until the end of its transaction.
struct LockAccountRequest: PostgresStatement {
  typealias Row = Bool
  static let isRead = false
  static let sql = """
    select true from (
      select pg_advisory_xact_lock(('x' || substr(encode($1, 'hex'), 1, 16))::bit(64)::bigint)
    ) locked
    """
  let request: IdempotentRequest
  func bind(_ bindings: inout PostgresBindings) { bindings.append(request.keyHash) }
}

/// The stored answer to a request with this key. The requests with this key must be locked first.
struct FindAccountRequest: PostgresStatement {
  static let sql = """
    select request_hash, account_id, array[shown_account] from account_requests
    where key_hash = $1 and created_at > now() - make_interval(secs => $2)
    order by created_at desc limit 1
    """
  let request: IdempotentRequest
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(request.keyHash, Double(IdempotentRequest.answerSeconds))
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> FindFirstAnswer.Row {
    FindFirstAnswer.Row(
      requestHash: try row.next(), newID: try row.next(), objects: try row.next(), sealedSecret: nil)
  }
}

struct InsertAccountRequest: PostgresStatement {
  static let sql = """
    insert into account_requests (account_id, key_hash, request_hash, shown_account) values ($1, $2, $3, $4)
    """
  let accountID: UUID
  let request: IdempotentRequest
  /// The text of a JSON object.
  let answer: String
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(accountID, request.keyHash, request.requestHash, answer)
  }
}

struct DeleteOldAccountRequests: PostgresStatement {
  static let sql = """
    delete from account_requests where account_id in (
      select account_id from account_requests
      where created_at <= now() - make_interval(secs => $1)
      order by created_at limit $2 for update skip locked)
    """
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Double(IdempotentRequest.answerSeconds), limit) }
}

// MARK: Deleting

struct DeleteSealedSecrets: PostgresStatement {
  static let sql = """
    update idempotent_requests set sealed_secret = null where (account_id, key_hash) in (
      select account_id, key_hash from idempotent_requests
      where sealed_secret is not null and created_at <= now() - make_interval(secs => $1)
      order by created_at limit $2 for update skip locked)
    """
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Double(IdempotentRequest.secretSeconds), limit) }
}

struct DeleteOldFirstAnswers: PostgresStatement {
  static let sql = """
    delete from idempotent_requests where (account_id, key_hash) in (
      select account_id, key_hash from idempotent_requests
      where created_at <= now() - make_interval(secs => $1)
      order by created_at limit $2 for update skip locked)
    """
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Double(IdempotentRequest.answerSeconds), limit) }
}
