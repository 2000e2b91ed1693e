import Foundation
import Synchronization

/// `CoherentCacheState` in shards, each behind a lock that is held for one look-up. A secret is always in the same
/// shard; a sync goes to all of them.
package final class CoherentCache<Value: Invalidatable>: Sendable {
  private static var shardCount: Int { 16 }

  private final class Shard: Sendable {
    let state: Mutex<CoherentCacheState<Value>>
    init(_ limits: CoherentCacheState<Value>.Limits) { state = Mutex(CoherentCacheState(limits: limits)) }
  }

  package let lease: Duration
  private let shards: [Shard]

  /// The limits are those of all shards together.
  package init(_ limits: CoherentCacheState<Value>.Limits) {
    lease = limits.lease
    var share = limits
    share.entryCountMax = max(1, limits.entryCountMax / Self.shardCount)
    share.absentCountMax = max(1, limits.absentCountMax / Self.shardCount)
    share.waitingCountMax = max(1, limits.waitingCountMax / Self.shardCount)
    shards = (0..<Self.shardCount).map { _ in Shard(share) }
  }

  package func lookup(_ hash: SecretHash, at now: ContinuousClock.Instant) -> CoherentCacheState<Value>.Lookup {
    shard(hash).state.withLock { $0.lookup(hash, at: now) }
  }

  package func fill(
    _ hash: SecretHash, _ value: Value?, readAt position: LogPosition, at now: ContinuousClock.Instant
  ) -> CoherentCacheState<Value>.FillOutcome {
    shard(hash).state.withLock { $0.fill(hash, value, readAt: position, at: now) }
  }

  /// Results that are applied concurrently must be for different caches, or shards might disagree on which was the
  /// last.
  package func apply(_ sync: SyncResult) -> SyncOutcome {
    shards.reduce(SyncOutcome()) { outcome, shard in outcome + shard.state.withLock { $0.apply(sync) } }
  }

  package func isFresh(at now: ContinuousClock.Instant) -> Bool { freshFor(at: now) > .zero }

  /// The remaining time of the lease, in the shard that has the least.
  package func freshFor(at now: ContinuousClock.Instant) -> Duration {
    shards.map { shard in shard.state.withLock { $0.freshFor(at: now) } }.min() ?? .zero
  }

  package var count: Int { shards.reduce(0) { sum, shard in sum + shard.state.withLock { $0.count } } }

  private func shard(_ hash: SecretHash) -> Shard { shards[hash.shardBits & (Self.shardCount - 1)] }
}
