import Foundation
import Postgres

struct FindSecondFactor: PostgresStatement {
  static let sql = """
    select sealed_secret, confirmed_at, cardinality(recovery_code_hashes) from second_factors where person_id = $1
    """
  let personID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(personID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StoredSecondFactor {
    try StoredSecondFactor(row: &row)
  }
}

/// Like ``FindSecondFactor``, and locks the row until the end of the transaction.
struct LockSecondFactor: PostgresStatement {
  static let sql = FindSecondFactor.sql + " for update"
  let personID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(personID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StoredSecondFactor {
    try StoredSecondFactor(row: &row)
  }
}

extension StoredSecondFactor {
  /// Reads sealed secret, confirmed at, number of recovery codes.
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      sealedSecret: try row.next(PostgresBytes.self).bytes, confirmedAt: try row.next(),
      recoveryCodeCount: try row.next())
  }
}

/// Inserts or replaces an unconfirmed second factor. Affects no row if a second factor is in use.
struct InsertSecondFactor<Session: PersonSession>: PostgresStatement {
  static var sql: String {
    """
    insert into second_factors as stored (\(Session.personColumn), sealed_secret) values ($1, $2)
    on conflict (person_id) do update set sealed_secret = excluded.sealed_secret, created_at = now()
      where stored.confirmed_at is null
    """
  }
  let personID: UUID
  let sealedSecret: [UInt8]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(personID, PostgresBytes(sealedSecret)) }
}

/// The row must be locked. The code of `step` is consumed.
struct ConfirmSecondFactor: PostgresStatement {
  static let sql = """
    update second_factors set confirmed_at = now(), last_step = $2, recovery_code_hashes = $3
    where person_id = $1 and confirmed_at is null
    """
  let personID: UUID
  let step: Int
  let codes: [SecretHash]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(personID, step, codes)
  }
}

/// Consumes the code of `step`. Of any number of concurrent uses, at most one affects a row.
struct UseSecondFactorStep: PostgresStatement {
  static let sql = """
    update second_factors set last_step = $2
    where person_id = $1 and confirmed_at is not null and last_step < $2
    """
  let personID: UUID
  let step: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(personID, step) }
}

/// Consumes a recovery code, once, like ``UseSecondFactorStep``. Returns the name of its owner.
struct UseRecoveryCode<Session: PersonSession>: PostgresStatement {
  typealias Row = String
  static var sql: String {
    """
    update second_factors set recovery_code_hashes = array_remove(recovery_code_hashes, $2)
    from \(Session.personTable) person
    where person_id = $1 and confirmed_at is not null and $2 = any (recovery_code_hashes) and person.id = person_id
    returning person.\(Session.nameColumn)
    """
  }
  let personID: UUID
  let code: SecretHash
  func bind(_ bindings: inout PostgresBindings) { bindings.append(personID, code) }
}

struct ReplaceRecoveryCodes: PostgresStatement {
  static let sql = """
    update second_factors set recovery_code_hashes = $2 where person_id = $1 and confirmed_at is not null
    """
  let personID: UUID
  let codes: [SecretHash]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(personID, codes)
  }
}

struct DeleteSecondFactor: PostgresStatement {
  static let sql = "delete from second_factors where person_id = $1"
  let personID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(personID) }
}

// MARK: Key rotation

/// Sealed secrets ordered by the person's id, starting after `after`.
struct ListSealedSecretsAfter: PostgresStatement {
  static let sql = """
    select person_id, sealed_secret from second_factors
    where $1::uuid is null or person_id > $1
    order by person_id limit $2
    """
  let after: UUID?
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(after, count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (personID: UUID, sealed: [UInt8]) {
    (try row.next(), try row.next(PostgresBytes.self).bytes)
  }
}

/// Replaces a sealed secret if it is still the one that was read.
struct SealAnew: PostgresStatement {
  typealias Row = Bool
  static let sql = """
    update second_factors set sealed_secret = $3 where person_id = $1 and sealed_secret = $2 returning true
    """
  let personID: UUID
  let from: [UInt8]
  let to: [UInt8]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(personID, PostgresBytes(from), PostgresBytes(to))
  }
}
