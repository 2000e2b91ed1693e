package import Foundation

/// One row of `invalidation_log`: what must no longer be answered from a cache.
package struct Invalidation: Sendable, Equatable {
  package enum Target: Sendable, Equatable {
    case key(UUID)
    case account(UUID)
    case serviceToken(UUID)
    /// What depends on apis, permissions or roles.
    case catalog
    case limitNamespace(UUID)
    /// A bucket of credits. No cached value depends on it.
    case credits(UUID)
    case everything
  }

  package var seq: Int
  /// The mark of the position before this one: the link to the history that this row continues. Nil in rows that were
  /// written before there were marks.
  package var follows: UUID?
  package var target: Target

  package init(seq: Int, follows: UUID?, target: Target) {
    self.seq = seq
    self.follows = follows
    self.target = target
  }
}

/// The position of the invalidation log when something was read from the database.
///
/// Every commit that adds to the log takes the next `seq` and a random `mark`. A server that continues from an earlier
/// state (a failover that lost commits, a restore) gives the same numbers to other changes, but never the same marks.
/// What PostgreSQL writes is lost or restored only from some point on. So two equal positions have the same history,
/// and the same state of everything that is logged.
package struct LogPosition: Sendable, Equatable {
  /// Changed by hand (`latchkey epoch new`) after changes that bypassed the log's triggers.
  package var epoch: UUID
  package var seq: Int
  package var mark: UUID

  package init(epoch: UUID, seq: Int, mark: UUID) {
    self.epoch = epoch
    self.seq = seq
    self.mark = mark
  }
}

/// The result of one read of the log: all rows above the seq that was asked for, read in one statement with the head.
package struct SyncResult: Sendable, Equatable {
  package var head: LogPosition
  package var invalidations: [Invalidation]
  /// A time before the statement was sent: freshness counts from here.
  package var startedAt: ContinuousClock.Instant
  /// The forms of which there are imported keys, in the same snapshot.
  package var importForms: ImportForms

  package init(
    head: LogPosition, invalidations: [Invalidation], startedAt: ContinuousClock.Instant,
    importForms: ImportForms = []
  ) {
    self.head = head
    self.invalidations = invalidations
    self.startedAt = startedAt
    self.importForms = importForms
  }
}

/// The effect of a sync on the caches.
package struct SyncOutcome: Sendable, Equatable {
  /// False for the late result of a sync that began before the last applied one: it was discarded.
  package var isTaken = true
  /// Whether something was cached or read that the log does not prove to belong to the history that was synced: after a
  /// failover that lost commits, after a restore, or if rows of the log are missing. Connections that were open before
  /// may lead to a server of another history.
  package var isHistoryBroken = false
  /// Fills that had waited for this sync.
  package var fillsStored = 0
  package var fillsDiscarded = 0

  /// Combines the outcomes of two caches, or two shards of one, that were given the same result.
  package static func + (one: SyncOutcome, other: SyncOutcome) -> SyncOutcome {
    SyncOutcome(
      isTaken: one.isTaken && other.isTaken, isHistoryBroken: one.isHistoryBroken || other.isHistoryBroken,
      fillsStored: one.fillsStored + other.fillsStored, fillsDiscarded: one.fillsDiscarded + other.fillsDiscarded)
  }
}

/// A cached value that an invalidation can hit.
package protocol Invalidatable: Sendable {
  /// The id of the key, token or namespace itself.
  var id: UUID { get }
  /// The account whose invalidation drops it as well, if any.
  var owner: UUID? { get }
  /// Whether a change of an api, a permission or a role may change it.
  var dependsOnCatalog: Bool { get }
}

extension Invalidatable {
  package var dependsOnCatalog: Bool { false }

  func isHit(by target: Invalidation.Target) -> Bool {
    switch target {
    case .key(let key): id == key
    case .serviceToken(let token): id == token
    case .limitNamespace(let namespace): id == namespace
    case .account(let account): owner == account
    case .catalog: dependsOnCatalog
    case .credits: false
    case .everything: true
    }
  }
}
