import Foundation
import Postgres

/// Accounts of any tenant, newest first, each with the counts of its keys and its members, owners first. House accounts
/// are found by their id alone.
struct SearchAccounts: PostgresStatement {
  static let isRead = true
  static let sql = """
    with found as (
      select * from accounts account
      where account.deleted_at is null
        and ($1::uuid is null or account.id = $1)
        and (account.kind <> 'house' or $1 is not null)
        and ($2::text is null or account.name ilike $2)
        and ($3::text[] is null or account.id = any(\(accountsOfMembers("person.email = any($3)"))))
        and ($4::text is null or account.id = any(\(accountsOfMembers("person.email like $4"))))
        and ($7::uuid is null or account.id < $7)
      order by account.id desc
      limit $5
    )
    select \(accountColumns), account.suspension_reason, account.created_at, keys.total, keys.unrevoked, keys.live,
      (select count(*) from memberships membership where membership.account_id = account.id),
      members.ids, members.emails, members.roles
    from found account
    join plans plan on plan.name = account.plan
    cross join lateral (
      select count(*) as total, count(*) filter (where key.revoked_at is null) as unrevoked,
        \(liveKeyCount) as live
      from api_keys key where key.account_id = account.id) keys
    cross join lateral (
      select coalesce(array_agg(id order by place), '{}') as ids,
        coalesce(array_agg(email order by place), '{}') as emails,
        coalesce(array_agg(role order by place), '{}') as roles
      from (
        select person.id, person.email, membership.role, row_number() over (
          order by array_position('{owner,admin,developer,viewer}', membership.role), person.email) as place
        from memberships membership join users person on person.id = membership.user_id
        where membership.account_id = account.id
        order by place
        limit $6) member) members
    order by account.id desc
    """
  let search: AccountSearch
  let before: UUID?
  let count: Int
  let memberCount: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      search.id, search.name?.anywhere, search.email?.storedTexts, search.emailPart?.anywhere, count, memberCount,
      before)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> FoundAccount {
    let account = try Account(row: &row)
    let (reason, createdAt) = (try row.next(String?.self), try row.next(Date.self))
    let keys = FoundAccount.KeyCounts(total: try row.next(), unrevoked: try row.next(), live: try row.next())
    let memberCount = try row.next(Int.self)
    let (ids, emails) = (try row.next([UUID].self), try row.next([String].self))
    let members = zip(zip(ids, emails), try row.next([MemberRole].self)).map { user, role in
      FoundAccount.Member(user: User(id: user.0, email: user.1), role: role)
    }
    return FoundAccount(
      account: account, suspensionReason: reason, createdAt: createdAt, keys: keys, memberCount: memberCount,
      members: members)
  }
}

/// SQL for the ids of the accounts of some people, as an array, for which an index can be used. `condition` selects
/// from `users person`.
func accountsOfMembers(_ condition: String) -> String {
  """
  array(
    select membership.account_id from memberships membership join users person on person.id = membership.user_id
    where \(condition))
  """
}

// MARK: Confirmations

/// Columns of `staff_confirmations confirmation` and `accounts account`.
private let confirmationColumns = """
  confirmation.id, confirmation.account_id, account.name, confirmation.key_ids, confirmation.key_count,
  confirmation.requester_id, confirmation.requester_name, confirmation.reason, confirmation.ticket,
  confirmation.created_at, confirmation.expires_at
  """

extension StaffConfirmation {
  fileprivate init(row: inout PostgresRow) throws(PostgresError) {
    self.init(
      id: try row.next(), accountID: try row.next(), accountName: try row.next(), keyIDs: try row.next(),
      keyCount: try row.next(), requesterID: try row.next(), requesterName: try row.next(),
      reason: SupportReason(text: try row.next(), ticket: try row.next()), createdAt: try row.next(),
      expiresAt: try row.next())
  }
}

/// The confirmations that have not expired, newest first.
struct ListConfirmations: PostgresStatement {
  static let sql = """
    select \(confirmationColumns)
    from staff_confirmations confirmation left join accounts account on account.id = confirmation.account_id
    where confirmation.expires_at > now() and account.deleted_at is null
    order by confirmation.id desc
    limit $1
    """
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffConfirmation {
    try StaffConfirmation(row: &row)
  }
}

/// The account of a confirmation; nil for a list of keys.
struct FindConfirmationAccount: PostgresStatement {
  typealias Row = UUID?
  static let sql = "select account_id from staff_confirmations where id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

/// The pending confirmation of an account. The account must be locked.
struct FindConfirmation: PostgresStatement {
  static let sql = """
    select \(confirmationColumns)
    from staff_confirmations confirmation join accounts account on account.id = confirmation.account_id
    where confirmation.account_id = $1 and confirmation.expires_at > now()
    """
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffConfirmation {
    try StaffConfirmation(row: &row)
  }
}

/// The pending confirmations of a requester: those of lists, then the others in the order in which accounts are locked.
struct ListConfirmationsOf: PostgresStatement {
  static let sql = """
    select \(confirmationColumns)
    from staff_confirmations confirmation left join accounts account on account.id = confirmation.account_id
    where confirmation.requester_id = $1 and confirmation.expires_at > now() and account.deleted_at is null
    order by confirmation.account_id nulls first, confirmation.id
    """
  let requesterID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(requesterID) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffConfirmation {
    try StaffConfirmation(row: &row)
  }
}

/// Deletes a confirmation, to carry it out or to withdraw it, so that nobody else can. The account must be locked.
struct TakeConfirmation: PostgresStatement {
  static let sql = """
    delete from staff_confirmations confirmation using accounts account
    where confirmation.account_id = $1 and confirmation.id = $2 and confirmation.expires_at > now()
      and account.id = confirmation.account_id
    returning \(confirmationColumns)
    """
  let accountID: UUID
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffConfirmation {
    try StaffConfirmation(row: &row)
  }
}

/// As ``TakeConfirmation``, for a list of keys. Taken before any account is locked.
struct TakeListConfirmation: PostgresStatement {
  static let sql = """
    delete from staff_confirmations confirmation using (select null::text as name) account
    where confirmation.id = $1 and confirmation.account_id is null and confirmation.expires_at > now()
    returning \(confirmationColumns)
    """
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffConfirmation {
    try StaffConfirmation(row: &row)
  }
}

/// The pending confirmation of a list of keys that a requester has asked for.
struct FindListConfirmation: PostgresStatement {
  static let sql = """
    select \(confirmationColumns)
    from staff_confirmations confirmation cross join (select null::text as name) account
    where confirmation.requester_id = $1 and confirmation.key_ids = $2 and confirmation.expires_at > now()
    """
  let requesterID: UUID?
  let keyIDs: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(requesterID, keyIDs) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> StaffConfirmation {
    try StaffConfirmation(row: &row)
  }
}

/// Makes room for a new request.
struct DeleteExpiredConfirmation: PostgresStatement {
  static let sql = "delete from staff_confirmations where account_id = $1 and expires_at <= now()"
  let accountID: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID) }
}

struct InsertConfirmation: PostgresStatement {
  static let sql = """
    insert into staff_confirmations
      (id, account_id, key_count, requester_id, requester_name, reason, ticket, expires_at, key_ids)
    values ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8), $9)
    """
  let id: UUID
  /// Nil for a list of keys.
  let accountID: UUID?
  var keyIDs: [UUID]?
  let keyCount: Int
  let caller: Caller
  let reason: SupportReason
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(
      id, accountID, Int32(clamping: keyCount), caller.actor.id, caller.actor.name, reason.text, reason.ticket,
      StaffConfirmation.lifetime / .seconds(1), keyIDs)
  }
}

struct DeleteExpiredConfirmations: PostgresStatement {
  static let sql = "delete from staff_confirmations where expires_at <= now()"
}

/// Searches the keys of all accounts by all given conditions, newest first.
struct SearchKeys: PostgresStatement {
  static var isRead: Bool { true }
  static let sql = newestKeys(
    where: """
      ($1::uuid is null or key.id = $1) and ($2::uuid is null or key.account_id = $2)
      and ($3::text is null or key.key_start like $3) and ($4::bytea is null or key.key_hash = $4)
      and ($5::text[] is null or key.account_id = any(\(accountsOfMembers("person.email = any($5)"))))
      and ($6::text is null or key.account_id = any(\(accountsOfMembers("person.email like $6"))))
      and ($7::text is null or key.account_id = any(array(select id from accounts where name ilike $7)))
      """,
    limit: "$8")
  let search: KeySearch
  let count: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(search.id, search.accountID)
    // A key consists of letters, digits and `_`, and `_` is a wildcard.
    bindings.append(search.start.map { $0.withoutWildcards + "%" })
    bindings.append(
      search.hash, search.email?.storedTexts, search.emailPart?.anywhere, search.accountName?.anywhere, count)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Key { try Key(row: &row) }
}

/// The imported key that has one of these hashes: the oldest of those that have not been used, or one that was imported
/// by its own hash.
struct FindUnusedImport: PostgresStatement {
  typealias Row = UUID
  static let sql = """
    select key.id from unnest($1::text[], $2::bytea[]) asked (form, hash)
    join api_keys key on key.import_form = asked.form and key.import_hash = asked.hash
    where key.import_hash is not null and (key.key_hash is null or key.import_form = 'sha256')
    order by key.id limit 1
    """
  let hashes: [ImportedHash]
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(hashes.map(\.form.name), hashes.map { PostgresBytes($0.bytes) })
  }
}
