import Foundation
import Testing

@testable import Portal

@Suite("CoherentCache")
struct CoherentCacheTests {
  private let epoch = UUID.numbered(1_000)

  private func sync(_ seq: Int, _ target: Invalidation.Target? = nil, at now: ContinuousClock.Instant = .now)
    -> SyncResult
  {
    SyncResult(
      head: LogPosition(epoch: epoch, seq: seq),
      invalidations: target.map { [Invalidation(seq: seq, target: $0)] } ?? [], startedAt: now)
  }

  private func thing(_ number: Int, version: Int = 0) -> Thing {
    Thing(id: .numbered(number), owner: .numbered(10_000 + number % 7), version: version)
  }

  @Test("a sync reaches every shard: no key of the account is a hit afterwards, all others are")
  func allShards() {
    let cache = CoherentCache<Thing>(.init())
    let now = ContinuousClock.now
    _ = cache.apply(sync(0, at: now))
    for number in 0..<500 {
      let position = LogPosition(epoch: epoch, seq: 0)
      #expect(cache.fill(.numbered(number), thing(number), readAt: position, at: now) == .stored)
    }
    #expect(cache.count == 500)
    _ = cache.apply(sync(1, .account(.numbered(10_003)), at: now))
    for number in 0..<500 {
      #expect((cache.lookup(.numbered(number), at: now).hit == nil) == (number % 7 == 3))
    }
  }

  @Test("it is fresh when all shards are, until the lease has run out")
  func freshness() {
    let cache = CoherentCache<Thing>(.init())
    let now = ContinuousClock.now
    #expect(!cache.isFresh(at: now))
    _ = cache.apply(sync(0, at: now))
    #expect(cache.isFresh(at: now + .milliseconds(1_999)))
    #expect(!cache.isFresh(at: now + .seconds(2)))
  }

  @Test("the limits are those of all shards together")
  func bounds() {
    var limits = CoherentCacheState<Thing>.Limits()
    limits.entryCountMax = 160
    let cache = CoherentCache<Thing>(limits)
    let now = ContinuousClock.now
    _ = cache.apply(sync(0, at: now))
    for number in 0..<2_000 {
      _ = cache.fill(.numbered(number), thing(number), readAt: LogPosition(epoch: epoch, seq: 0), at: now)
    }
    #expect((120...160).contains(cache.count))
  }

  /// Versions only grow: a look-up after a sync was applied must not return a version from before it.
  @Test("with concurrent look-ups, fills and invalidations it never goes back to a dropped version")
  func hammering() async {
    let cache = CoherentCache<Thing>(.init())
    _ = cache.apply(sync(0))
    let rounds = 300
    await withTaskGroup { group in
      for key in 0..<4 {
        group.addTask {
          for round in 1...rounds {
            let seq = (round - 1) * 4 + key + 1
            let before = LogPosition(epoch: self.epoch, seq: seq - 1)
            _ = cache.fill(.numbered(key), self.thing(key, version: round - 1), readAt: before, at: .now)
            await Task.yield()
          }
        }
      }
      group.addTask {
        for seq in 1...(rounds * 4) {
          let (round, key) = ((seq - 1) / 4 + 1, (seq - 1) % 4)
          _ = cache.apply(self.sync(seq, .key(.numbered(key))))
          // A value read before this invalidation is of an earlier round.
          let late = LogPosition(epoch: self.epoch, seq: seq - 1)
          #expect(cache.fill(.numbered(key), self.thing(key, version: round - 1), readAt: late, at: .now) != .stored)
          #expect(cache.lookup(.numbered(key), at: .now).hit.map { $0.version >= round } ?? true)
          if seq.isMultiple(of: 16) { await Task.yield() }
        }
      }
    }
  }
}
