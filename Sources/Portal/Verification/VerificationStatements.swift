import Foundation
import Postgres

/// Of `api_keys key` and what it is joined with: what ``FoundKey`` takes.
private let verifiableKeyColumns = """
  key.key_hash, key.id, key.account_id, key.name, key.environment, key.scopes, plan.scopes,
  least(key.rate_limit_per_minute, plan.rate_limit_per_minute_max), key.limit_names,
  key.limit_values::bigint[], key.limit_window_seconds::bigint[], account.shared_limit_per_minute,
  key.rate_limit_mode, account.rate_limit_mode, key.allowed_ips::text[], \(effectiveExpiry),
  key.revoked_at is not null, account.suspended_at is not null, key.disabled_at is not null
  """

private let verifiableKeyTables = """
  api_keys key
  join accounts account on account.id = key.account_id
  join plans plan on plan.name = account.plan
  """

/// A key, with what its plan leaves of it, and where the log stood when it was read; one row without a key if there is none.
struct FoundKey {
  let position: LogPosition
  let found: (hash: SecretHash, key: VerifiableKey)?

  init(row: inout PostgresRow) throws(PostgresError) {
    position = LogPosition(epoch: try row.next(), seq: try row.next())
    guard let hash = try SecretHash(column: row.next()) else {
      found = nil
      return
    }
    let key = VerifiableKey(
      id: try row.next(), accountID: try row.next(), name: try row.next(),
      environment: try Key.Environment(column: row.next(), "environment"),
      scopes: Scope.intersection(try row.next(), try row.next()),
      rateLimitPerMinute: try row.next(), namedLimits: try [RateLimit](columns: &row),
      accountLimitPerMinute: try row.next(), rateLimitMode: try RateLimitMode(column: row.next(), "mode"),
      accountLimitMode: try RateLimitMode(column: row.next(), "mode"),
      allowedIPs: try [AddressBlock](column: row.next()),
      expiresAt: try row.next(), isRevoked: try row.next(), isSuspended: try row.next(), isDisabled: try row.next())
    found = (hash, key)
  }
}

/// Keys by hash, together with the position of the log in the same snapshot.
struct FindVerifiableKeys: PostgresStatement {
  static let sql = """
    select head.epoch, head.seq, found.* from invalidation_head head left join (
      select \(verifiableKeyColumns) from \(verifiableKeyTables) where key.key_hash = any ($1)
    ) found on true
    """
  let hashes: [SecretHash]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(hashes.map { PostgresBytes($0.bytes) }) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> FoundKey { try FoundKey(row: &row) }
}

/// Opens a cursor over the keys, those first that were used last.
struct DeclareRecentlyUsedKeys: PostgresStatement {
  static let sql = """
    declare recently_used_keys no scroll cursor for select key_id from key_activity order by last_used_at desc
    """
}

/// The next keys of the cursor.
struct FetchRecentlyUsedKeys: PostgresStatement {
  static let countMax = 1_000
  static let sql = "fetch \(countMax) from recently_used_keys"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> UUID { try row.next() }
}

/// Keys by id, as `FindVerifiableKeys`.
struct FindVerifiableKeysByID: PostgresStatement {
  static let sql = """
    select head.epoch, head.seq, found.* from invalidation_head head left join (
      select \(verifiableKeyColumns) from \(verifiableKeyTables) where key.id = any ($1)
    ) found on true
    """
  let ids: ArraySlice<UUID>
  func bind(_ bindings: inout PostgresBindings) { bindings.append(Array(ids)) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> FoundKey { try FoundKey(row: &row) }
}

/// Service tokens by hash, as `FindVerifiableKeys`.
struct FindServiceTokens: PostgresStatement {
  static let sql = """
    select head.epoch, head.seq, token.token_hash, token.id, token.name, token.permissions, token.environment,
      token.expires_at, token.revoked_at is not null
    from invalidation_head head left join service_tokens token on token.token_hash = any ($1)
    """
  struct Row {
    let position: LogPosition
    let found: (hash: SecretHash, token: ServiceToken)?
  }
  let hashes: [SecretHash]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(hashes.map { PostgresBytes($0.bytes) }) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    let position = LogPosition(epoch: try row.next(), seq: try row.next())
    guard let hash = try SecretHash(column: row.next()) else { return Row(position: position, found: nil) }
    let token = ServiceToken(
      id: try row.next(), name: try row.next(), permissions: try [ServiceToken.Permission](column: row.next()),
      environment: try Key.Environment(optional: row.next()), expiresAt: try row.next(), isRevoked: try row.next())
    return Row(position: position, found: (hash, token))
  }
}

extension SecretHash {
  init?(column: PostgresBytes?) throws(PostgresError) {
    guard let column else { return nil }
    try self.init(present: column)
  }

  init(present column: PostgresBytes) throws(PostgresError) {
    guard let hash = SecretHash(bytes: column.bytes) else { throw PostgresError(.decoding, "a hash of a wrong length") }
    self = hash
  }
}

extension [ServiceToken.Permission] {
  init(column texts: [String]) throws(PostgresError) {
    self = []
    for text in texts { append(try Element(column: text, "permission")) }
  }
}

/// The head and all above `after`, oldest first, in one snapshot; one row without an invalidation if there is none.
struct ReadInvalidations: PostgresStatement {
  static let sql = """
    select head.epoch, head.seq, log.seq, log.kind, log.account_id, log.key_id, log.token_id
    from invalidation_head head left join invalidation_log log on log.seq > $1
    order by log.seq
    limit $2
    """
  struct Row {
    let head: LogPosition
    let invalidation: Invalidation?
  }
  let after: Int
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(after, limit) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    let head = LogPosition(epoch: try row.next(), seq: try row.next())
    guard let seq = try row.next(Int?.self) else { return Row(head: head, invalidation: nil) }
    let kind = try row.next(String.self)
    let (account, key, token) = (try row.next(UUID?.self), try row.next(UUID?.self), try row.next(UUID?.self))
    let target: Invalidation.Target =
      switch (kind, account, key, token) {
      case ("key", let account?, let key?, _): .key(key, account: account)
      case ("account", let account?, _, _): .account(account)
      case ("service_token", _, _, let token?): .serviceToken(token)
      // Also of a kind that only a later version knows: dropping too much is never wrong.
      default: .everything
      }
    return Row(head: head, invalidation: Invalidation(seq: seq, target: target))
  }
}

/// Says that this instance lives and how far it has come.
struct Heartbeat: PostgresStatement {
  static let sql = """
    insert into instances (id, name, lease_milliseconds, applied_seq) values ($1, $2, $3, $4)
    on conflict (id) do update set heartbeat_at = now(), applied_seq = excluded.applied_seq
    """
  let id: UUID
  let name: String
  let lease: Duration
  let appliedSeq: Int
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(id, name, Int32(lease / .milliseconds(1)), appliedSeq)
  }
}

struct DeleteInstance: PostgresStatement {
  static let sql = "delete from instances where id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

/// The instances whose lease may still run, and how many of them have applied the log up to `seq`, or up to its head.
struct CountAcknowledgements: PostgresStatement {
  static let sql = """
    select target.seq, count(instance.id), count(instance.id) filter (where instance.applied_seq >= target.seq)
    from (select coalesce($1, seq) as seq from invalidation_head) target
    left join instances instance
      on instance.heartbeat_at > now() - instance.lease_milliseconds * interval '1 millisecond'
    group by target.seq
    """
  let seq: Int?
  func bind(_ bindings: inout PostgresBindings) { bindings.append(seq) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (seq: Int, live: Int, acknowledged: Int) {
    (seq: try row.next(), live: try row.next(), acknowledged: try row.next())
  }
}

/// The instances that have been heard of in the last hour, those that are behind first.
struct ListInstances: PostgresStatement {
  static let sql = """
    select instance.id, instance.name, instance.started_at, instance.heartbeat_at, instance.lease_milliseconds,
      instance.applied_seq, greatest(0, head.seq - instance.applied_seq),
      (extract(epoch from instance.lease_milliseconds * interval '1 millisecond' - (now() - instance.heartbeat_at))
        * 1000)::bigint
    from instances instance cross join invalidation_head head
    order by instance.applied_seq, instance.heartbeat_at, instance.id limit $1
    """
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> InstanceReport {
    InstanceReport(
      id: try row.next(), name: try row.next(), startedAt: try row.next(), heartbeatAt: try row.next(),
      leaseMilliseconds: Int(try row.next(Int32.self)), appliedSeq: try row.next(), lag: try row.next(),
      freshMilliseconds: max(0, try row.next(Int.self)))
  }
}

/// Forgets what no instance can want any more: instances that are gone, and rows of the log older than any lease. An
/// instance that was away for longer finds a gap and empties its caches.
struct DeleteOldInvalidations: PostgresStatement {
  static let sql = """
    with gone as (delete from instances where heartbeat_at < now() - interval '1 hour')
    delete from invalidation_log where at < now() - interval '1 hour'
    """
}
