import Foundation
import PostgresTesting
import Testing

@testable import Portal

/// A database of a few things, with its invalidation log and everything that ever happened to it.
private struct ModelDatabase {
  private(set) var epoch = UUID.numbered(1_000)
  private(set) var seq = 0
  private(set) var log: [Invalidation] = []
  /// By the number of the secret.
  private(set) var things: [Int: Thing] = [:]
  /// When a version stopped being the truth, by the number of the secret and version.
  private(set) var supersededAt: [Int: [Int: ContinuousClock.Instant]] = [:]
  private var lastVersion = 0

  var position: LogPosition { LogPosition(epoch: epoch, seq: seq) }

  mutating func change(_ number: Int, id: Int, owner: Int, at now: ContinuousClock.Instant) {
    if let former = things[number] { append(.key(former.id, account: former.owner!)) }
    replace(number, Thing(id: .numbered(id), owner: .numbered(owner)), at: now)
  }

  mutating func changeAccount(_ owner: Int, at now: ContinuousClock.Instant) {
    append(.account(.numbered(owner)))
    for (number, thing) in things where thing.owner == .numbered(owner) { replace(number, thing, at: now) }
  }

  mutating func changeEverything(at now: ContinuousClock.Instant) {
    append(.everything)
    for (number, thing) in things { replace(number, thing, at: now) }
  }

  /// A restore: another history, in which everything is otherwise.
  mutating func restore(epoch: UUID, seq: Int, at now: ContinuousClock.Instant) {
    self.epoch = epoch
    self.seq = seq
    log = []
    for (number, thing) in things { replace(number, thing, at: now) }
  }

  mutating func prune(_ isGone: (Invalidation) -> Bool) { log.removeAll(where: isGone) }

  private mutating func append(_ target: Invalidation.Target) {
    seq += 1
    log.append(Invalidation(seq: seq, target: target))
  }

  private mutating func replace(_ number: Int, _ thing: Thing, at now: ContinuousClock.Instant) {
    if let former = things[number] { supersededAt[number, default: [:]][former.version] = now }
    lastVersion += 1
    things[number] = Thing(id: thing.id, owner: thing.owner, version: lastVersion)
  }
}

@Suite("CoherentCacheState against a model")
struct CoherentCacheModelTests {
  /// Whatever happens in whatever order, late reads and late syncs, pruned logs and restores: no value is hit that was
  /// superseded before the read of any sync applied so far, nor one superseded the lease ago or longer.
  @Test("random histories never break the promise, and leave the indexes consistent", arguments: 0..<40)
  func randomHistory(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var limits = CoherentCacheState<Thing>.Limits()
    limits.lease = .milliseconds(300)
    limits.entryCountMax = seed.isMultiple(of: 2) ? 6 : 100
    limits.absentCountMax = 5
    limits.recentCountMax = seed.isMultiple(of: 3) ? 4 : 1_000
    var state = CoherentCacheState<Thing>(limits: limits)
    var database = ModelDatabase()
    var now = ContinuousClock.now
    for number in 1...8 { database.change(number, id: number, owner: 100 + number % 3, at: now) }
    var reads: [(number: Int, value: Thing?, position: LogPosition)] = []
    var syncs: [(result: SyncResult, readAt: ContinuousClock.Instant)] = []
    var newsUntil: ContinuousClock.Instant?
    var hitCount = 0
    for _ in 0..<1_500 {
      now += .milliseconds(Int.random(in: 1...20, using: &random))
      let number = Int.random(in: 1...10, using: &random)
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<8:
        // Now and then the secret comes to be that of another thing.
        let id =
          Int.random(in: 0..<10, using: &random) == 0 ? number + 100 * Int.random(in: 1...9, using: &random) : number
        if number <= 8 { database.change(number, id: id, owner: 100 + Int.random(in: 0...2, using: &random), at: now) }
      case 8..<10: database.changeAccount(100 + number % 3, at: now)
      case 10: database.changeEverything(at: now)
      case 11 where Int.random(in: 0..<10, using: &random) == 0:
        let seq = max(0, database.seq + Int.random(in: -5...5, using: &random))
        database.restore(epoch: .numbered(Int.random(in: 1_000...9_999, using: &random)), seq: seq, at: now)
      case 12:
        let victim = Int.random(in: 0...max(1, database.seq), using: &random)
        let oldest = database.seq - 10
        database.prune { $0.seq == victim || $0.seq < oldest }
      case 13..<40: reads.append((number, database.things[number], database.position))
      case 40..<65:
        guard let index = reads.indices.randomElement(using: &random) else { continue }
        let read = reads.remove(at: index)
        _ = state.fill(.numbered(read.number), read.value, readAt: read.position, at: now)
      case 65..<80:
        let after = state.applied?.seq ?? .max
        let news = database.log.filter { $0.seq > after }
        let startedAt = now
        now += .milliseconds(Int.random(in: 0...50, using: &random))
        syncs.append((SyncResult(head: database.position, invalidations: news, startedAt: startedAt), startedAt))
      default:
        // Usually in order; sometimes one overtakes another.
        guard !syncs.isEmpty else { continue }
        let isLate = Int.random(in: 0..<5, using: &random) == 0
        let sync = syncs.remove(at: isLate ? syncs.indices.randomElement(using: &random)! : 0)
        state.apply(sync.result)
        newsUntil = max(newsUntil ?? sync.readAt, sync.readAt)
      }
      for number in 1...10 {
        guard let value = state.lookup(.numbered(number), at: now).hit else { continue }
        hitCount += 1
        guard value != database.things[number] else { continue }
        guard let supersededAt = database.supersededAt[number]?[value.version] else {
          Issue.record("seed \(seed): a hit on what never was")
          return
        }
        let isWithinPromise = now < supersededAt + limits.lease && newsUntil.map { supersededAt >= $0 } ?? false
        if !isWithinPromise {
          Issue.record("seed \(seed): a superseded value was hit")
          return
        }
      }
    }
    #expect(hitCount > 100)
    Bookkeeping(state).check(
      entryCountMax: limits.entryCountMax, absentCountMax: limits.absentCountMax, recentCountMax: limits.recentCountMax)
  }
}
