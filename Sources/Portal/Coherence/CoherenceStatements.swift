import Foundation
import Postgres

/// The columns of `invalidation_head head` that `LogPosition.init(columns:)` takes.
let headColumns = "head.epoch, head.seq, head.mark"

extension LogPosition {
  init(columns row: inout PostgresRow) throws(PostgresError) {
    self.init(epoch: try row.next(), seq: try Invalidation.seq(column: row.next()), mark: try row.next())
  }
}

extension Invalidation {
  /// Throws `.decoding` for a number that cannot have been counted to: two of these can be subtracted, and each has a
  /// successor.
  fileprivate static func seq(column: Int) throws(PostgresError) -> Int {
    guard (0..<Int.max).contains(column) else { throw PostgresError(.decoding, "a seq of \(column)") }
    return column
  }
}

/// The head and all invalidations above `after`, oldest first, in one snapshot; one row without an invalidation if
/// there is none.
struct ReadInvalidations: PostgresStatement {
  static let sql = """
    select \(headColumns), log.seq, log.follows, log.kind, log.account_id, log.key_id, log.token_id,
      log.namespace_id, log.credits_id, head.import_forms
    from invalidation_head head left join invalidation_log log on log.seq > $1
    order by log.seq
    limit $2
    """
  struct Row {
    let head: LogPosition
    let invalidation: Invalidation?
    let importForms: ImportForms
  }
  let after: Int
  let limit: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(after, limit) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    let head = try LogPosition(columns: &row)
    let (seq, follows, kind) = (try row.next(Int?.self), try row.next(UUID?.self), try row.next(String?.self))
    let (account, key, token) = (try row.next(UUID?.self), try row.next(UUID?.self), try row.next(UUID?.self))
    let (namespace, credits) = (try row.next(UUID?.self), try row.next(UUID?.self))
    let importForms = ImportForms(names: try row.next())
    guard let seq else { return Row(head: head, invalidation: nil, importForms: importForms) }
    let target: Invalidation.Target =
      switch (kind, account, key, token, namespace) {
      case ("key", _?, let key?, _, _): .key(key)
      case ("account", let account?, _, _, _): .account(account)
      case ("service_token", _, _, let token?, _): .serviceToken(token)
      case ("catalog", _, _, _, _): .catalog
      case ("limit_namespace", _, _, _, let namespace?): .limitNamespace(namespace)
      case ("credits", _, _, _, _): credits.map { .credits($0) } ?? .everything
      // Also for a kind that only a later version knows: dropping too much is never wrong.
      default: .everything
      }
    return Row(
      head: head, invalidation: Invalidation(seq: try Invalidation.seq(column: seq), follows: follows, target: target),
      importForms: importForms)
  }
}

/// Records that this instance is alive and how far it has come. What it has applied counts only if it is on the history
/// of the server that is asked: an acknowledgement of another history is not valid here. -1 means none. Returns the
/// time, and the number of live instances, including this one.
struct Heartbeat: PostgresStatement {
  static let sql = """
    insert into instances (id, name, lease_milliseconds, applied_seq)
    values ($1, $2, $3, case when is_in_invalidation_history($4, $5) then $4 else -1 end)
    on conflict (id) do update set heartbeat_at = now(), applied_seq = excluded.applied_seq
    returning clock_timestamp(), 1 + (
      select count(*) from instances other
      where other.id <> $1 and other.heartbeat_at > now() - other.lease_milliseconds * interval '1 millisecond')
    """
  let id: UUID
  let name: String
  let lease: Duration
  let applied: LogPosition?
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(id, name, Int32(lease / .milliseconds(1)), applied?.seq, applied?.mark)
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (time: Date, liveInstanceCount: Int) {
    (try row.next(), try row.next())
  }
}

/// Records that another server, or a restored copy, has the database now, if that is the case: the last heartbeats of
/// instances may have been lost on the way.
struct NoteInvalidationServer: PostgresStatement {
  static let sql = """
    update invalidation_server server
    set postmaster_started_at = running.postmaster_started_at, head_oid = running.head_oid, since = clock_timestamp()
    from running_invalidation_server running
    where (server.postmaster_started_at, server.head_oid) is distinct from
      (running.postmaster_started_at, running.head_oid)
    """
}

/// Changes the epoch, which empties every cache; returns the new one.
struct BeginInvalidationEpoch: PostgresStatement {
  typealias Row = UUID
  static let isRead = false
  static let sql = "select begin_invalidation_epoch()"
}

struct DeleteInstance: PostgresStatement {
  static let sql = "delete from instances where id = $1"
  let id: UUID
  func bind(_ bindings: inout PostgresBindings) { bindings.append(id) }
}

/// The number of instances whose lease may still run, and how many of them have applied the log up to `target`, or up
/// to its head.
///
/// - A live instance is counted for a second longer than its lease: after a crash of PostgreSQL, its last heartbeats,
///   which do not wait for the disk, may be lost.
/// - If another server took over less than a lease ago, or has not been recorded yet, the rows of some instances may
///   have been lost: they count as one more instance, which has not acknowledged.
/// - If `target` is no longer on this server's history, no instance has acknowledged it.
struct CountAcknowledgements: PostgresStatement {
  static let sql = """
    select target.seq, target.mark, count(instance.id) + (server.may_have_lost_instances)::int,
      count(instance.id) filter (where target.is_in_history and instance.applied_seq >= target.seq)
    from (
      select coalesce($1, head.seq) as seq, coalesce($2, head.mark) as mark,
        $1::bigint is null or is_in_invalidation_history($1, $2) as is_in_history
      from invalidation_head head
    ) target
    cross join (
      select (noted.postmaster_started_at, noted.head_oid)
          is distinct from (running.postmaster_started_at, running.head_oid)
        or noted.since > now() - interval '1 millisecond' * greatest(
          $3, (select max(lease_milliseconds) from instances)) as may_have_lost_instances
      from invalidation_server noted cross join running_invalidation_server running
    ) server
    left join instances instance
      on instance.heartbeat_at > now() - (instance.lease_milliseconds + 1000) * interval '1 millisecond'
    group by target.seq, target.mark, target.is_in_history, server.may_have_lost_instances
    """
  struct Row {
    let target: (seq: Int, mark: UUID)
    let live: Int
    let acknowledged: Int
  }
  let target: (seq: Int, mark: UUID)?
  func bind(_ bindings: inout PostgresBindings) {
    bindings.append(target?.seq, target?.mark, Int32(leaseDefault / .milliseconds(1)))
  }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Row {
    Row(target: (seq: try row.next(), mark: try row.next()), live: try row.next(), acknowledged: try row.next())
  }
}

/// At most `count` instances, those furthest behind first. Those without a heartbeat for an hour are deleted.
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

/// Deletes what no instance can need any more: instances that are gone, and rows of the log older than any lease. An
/// instance that was away for longer finds a gap and empties its caches.
struct DeleteOldInvalidations: PostgresStatement {
  static let sql = """
    with gone as (delete from instances where heartbeat_at < now() - interval '1 hour')
    delete from invalidation_log where at < now() - interval '1 hour'
    """
}

// MARK: The listener's connection

enum ListenerScript {
  /// Run before the instance is registered. The name is for operators, in `pg_stat_activity`. `local`, because a
  /// standby that is down must not keep an instance from following the log.
  static let opened =
    "set synchronous_commit = local; set application_name = '\(InvalidationListener.applicationName)'"
  /// Run after that: from here on, a heartbeat is not worth a wait for the disk.
  static let registered = "set synchronous_commit = off"
}
