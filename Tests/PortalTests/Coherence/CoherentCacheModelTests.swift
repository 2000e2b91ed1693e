import Foundation
import PostgresTesting
import Testing

@testable import Portal

/// A PostgreSQL server with a few things and its invalidation log. A copy of it is a backup or a standby.
private struct ModelServer {
  var epoch = UUID.numbered(1_000)
  private(set) var seq = 0
  private(set) var mark = UUID.numbered(1)
  private(set) var log: [Invalidation] = []
  /// By the number of the secret.
  private(set) var things: [Int: Thing] = [:]

  var position: LogPosition { LogPosition(epoch: epoch, seq: seq, mark: mark) }

  /// `stamp` yields unique numbers.
  mutating func put(_ number: Int, id: Int, owner: Int, _ stamp: inout Int) {
    let former = things[number]
    append(.key(former?.id ?? .numbered(id)), &stamp)
    replace(number, Thing(id: .numbered(id), owner: .numbered(owner)), &stamp)
  }

  mutating func delete(_ number: Int, _ stamp: inout Int) {
    guard let former = things[number] else { return }
    append(.key(former.id), &stamp)
    things[number] = nil
  }

  mutating func changeAccount(_ owner: Int, _ stamp: inout Int) {
    append(.account(.numbered(owner)), &stamp)
    for (number, thing) in things where thing.owner == .numbered(owner) { replace(number, thing, &stamp) }
  }

  mutating func changeEverything(_ stamp: inout Int) {
    append(.everything, &stamp)
    for (number, thing) in things { replace(number, thing, &stamp) }
  }

  /// Changes everything without the log, and then changes the epoch.
  mutating func changeBehindTheTriggers(_ stamp: inout Int) {
    for (number, thing) in things { replace(number, thing, &stamp) }
    stamp += 1
    epoch = .numbered(1_000_000 + stamp)
  }

  mutating func prune(_ isGone: (Invalidation) -> Bool) { log.removeAll(where: isGone) }

  private mutating func append(_ target: Invalidation.Target, _ stamp: inout Int) {
    stamp += 1
    seq += 1
    log.append(Invalidation(seq: seq, follows: mark, target: target))
    mark = .numbered(stamp)
  }

  private mutating func replace(_ number: Int, _ thing: Thing, _ stamp: inout Int) {
    stamp += 1
    things[number] = Thing(id: thing.id, owner: thing.owner, version: stamp)
  }
}

/// A tree of histories: the primary, the former primary that does not know that it was replaced, and every earlier
/// state of a server.
private struct ModelWorld {
  private(set) var primary = ModelServer()
  private(set) var zombie: ModelServer?
  private var snapshots: [ModelServer] = []
  /// When a version was superseded, by the number of the secret and version.
  private(set) var supersededAt: [Int: [Int: ContinuousClock.Instant]] = [:]
  private var stamp = 1_000

  mutating func change(at now: ContinuousClock.Instant, _ change: (inout ModelServer, inout Int) -> Void) {
    let before = primary
    change(&primary, &stamp)
    supersede(before, at: now)
    snapshots.append(primary)
  }

  mutating func changeZombie(_ change: (inout ModelServer, inout Int) -> Void) {
    guard var server = zombie else { return }
    change(&server, &stamp)
    zombie = server
  }

  mutating func prune(_ isGone: (Invalidation) -> Bool) { primary.prune(isGone) }

  /// A failover or a restore: everything committed after some earlier state is lost.
  mutating func goBack(at now: ContinuousClock.Instant, using random: inout SeededGenerator) {
    // Usually not far.
    let recent = snapshots.suffix(Bool.random(using: &random) ? 4 : 200)
    guard let server = recent.randomElement(using: &random) else { return }
    let before = primary
    zombie = primary
    primary = server
    supersede(before, at: now)
    snapshots.append(primary)
  }

  private mutating func supersede(_ before: ModelServer, at now: ContinuousClock.Instant) {
    for (number, thing) in before.things where primary.things[number] != thing {
      supersededAt[number, default: [:]][thing.version] = now
    }
  }
}

@Suite("CoherentCacheState against a model")
struct CoherentCacheModelTests {
  /// Reads and syncs arrive late and in any order. An answer is a hit, or a value that was read and not refused.
  @Test("in one history, no answer is older than one that was given before", arguments: 0..<40)
  func neverBack(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var limits = CoherentCacheState<Thing>.Limits()
    limits.lease = .milliseconds(300)
    limits.recentCountMax = seed.isMultiple(of: 3) ? 4 : 1_000
    limits.waitingCountMax = seed.isMultiple(of: 2) ? 2 : 50
    var state = CoherentCacheState<Thing>(limits: limits)
    var world = ModelWorld()
    var now = ContinuousClock.now
    for number in 1...4 { world.change(at: now) { $0.put(number, id: number, owner: 100, &$1) } }
    var reads: [(number: Int, value: Thing, position: LogPosition)] = []
    var syncs: [SyncResult] = []
    var newest: [Int: Int] = [:]
    var answerCount = 0
    for _ in 0..<2_000 {
      now += .milliseconds(Int.random(in: 1...10, using: &random))
      let number = Int.random(in: 1...4, using: &random)
      var answer: Thing?
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<10: world.change(at: now) { $0.put(number, id: number, owner: 100, &$1) }
      case 10..<40:
        if let value = world.primary.things[number] { reads.append((number, value, world.primary.position)) }
      case 40..<70:
        // Mostly the latest.
        guard !reads.isEmpty else { continue }
        let isLate = Int.random(in: 0..<4, using: &random) == 0
        let read = reads.remove(at: isLate ? reads.indices.randomElement(using: &random)! : reads.count - 1)
        let outcome = state.fill(.numbered(read.number), read.value, readAt: read.position, at: now)
        if outcome == .stored || outcome == .waiting {
          answerCount += 1
          if read.value.version < newest[read.number, default: 0] {
            Issue.record("seed \(seed): an older value was returned")
            return
          }
          newest[read.number] = read.value.version
        }
      case 70..<85:
        let after = state.applied?.seq ?? .max
        let news = world.primary.log.filter { $0.seq > after }
        syncs.append(SyncResult(head: world.primary.position, invalidations: news, startedAt: now))
      default:
        guard !syncs.isEmpty else { continue }
        _ = state.apply(syncs.removeFirst())
      }
      for number in 1...4 {
        answer = state.lookup(.numbered(number), at: now).hit
        guard let version = answer?.version else { continue }
        answerCount += 1
        if version < newest[number, default: 0] {
          Issue.record("seed \(seed): a hit is older than an earlier answer")
          return
        }
        newest[number] = version
      }
    }
    #expect(answerCount > 500)
  }

  /// For any events in any order, including late reads and late syncs, pruned logs, failovers that lose commits,
  /// restores, and reads from a server that has been replaced: no hit returns a value that was superseded before the
  /// read of any sync applied so far, or superseded the lease ago or longer.
  @Test("random histories never break the promise, and leave the indexes consistent", arguments: 0..<60)
  func randomHistory(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var limits = CoherentCacheState<Thing>.Limits()
    limits.lease = .milliseconds(300)
    limits.entryCountMax = seed.isMultiple(of: 2) ? 6 : 100
    limits.absentCountMax = 5
    limits.recentCountMax = seed.isMultiple(of: 3) ? 4 : 1_000
    limits.waitingCountMax = seed.isMultiple(of: 5) ? 2 : 50
    var state = CoherentCacheState<Thing>(limits: limits)
    var world = ModelWorld()
    var now = ContinuousClock.now
    for number in 1...8 { world.change(at: now) { $0.put(number, id: number, owner: 100 + number % 3, &$1) } }
    var reads: [(number: Int, value: Thing?, position: LogPosition)] = []
    var syncs: [SyncResult] = []
    var newsUntil: ContinuousClock.Instant?
    var (hitCount, waitCount) = (0, 0)
    for _ in 0..<1_500 {
      now += .milliseconds(Int.random(in: 1...20, using: &random))
      let number = Int.random(in: 1...10, using: &random)
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<8:
        // Sometimes the secret becomes that of another thing.
        let id =
          Int.random(in: 0..<10, using: &random) == 0 ? number + 100 * Int.random(in: 1...9, using: &random) : number
        let owner = 100 + Int.random(in: 0...2, using: &random)
        if number <= 8 { world.change(at: now) { $0.put(number, id: id, owner: owner, &$1) } }
      case 8: world.change(at: now) { $0.changeAccount(100 + number % 3, &$1) }
      case 9: world.change(at: now) { $0.delete(number, &$1) }
      case 10: world.change(at: now) { $0.changeEverything(&$1) }
      case 11 where number <= 2: world.change(at: now) { $0.changeBehindTheTriggers(&$1) }
      case 12 where number <= 4: world.goBack(at: now, using: &random)
      case 13:
        let seq = world.primary.seq
        let victim = Int.random(in: 0...max(1, seq), using: &random)
        world.prune { $0.seq == victim || $0.seq < seq - 10 }
      case 14: world.changeZombie { $0.put(number, id: number, owner: 100, &$1) }
      case 15..<19:
        if let zombie = world.zombie { reads.append((number, zombie.things[number], zombie.position)) }
      case 19..<42: reads.append((number, world.primary.things[number], world.primary.position))
      case 42..<65:
        guard let index = reads.indices.randomElement(using: &random) else { continue }
        let read = reads.remove(at: index)
        let outcome = state.fill(.numbered(read.number), read.value, readAt: read.position, at: now)
        if outcome == .waiting { waitCount += 1 }
      case 65..<80:
        let after = state.applied?.seq ?? .max
        let news = world.primary.log.filter { $0.seq > after }
        syncs.append(SyncResult(head: world.primary.position, invalidations: news, startedAt: now))
        now += .milliseconds(Int.random(in: 0...50, using: &random))
      default:
        // Usually in order; sometimes a sync overtakes another.
        guard !syncs.isEmpty else { continue }
        let isLate = Int.random(in: 0..<5, using: &random) == 0
        let sync = syncs.remove(at: isLate ? syncs.indices.randomElement(using: &random)! : 0)
        if state.apply(sync).isTaken { newsUntil = sync.startedAt }
      }
      for number in 1...10 {
        guard let value = state.lookup(.numbered(number), at: now).hit else { continue }
        hitCount += 1
        guard value != world.primary.things[number] else { continue }
        guard let supersededAt = world.supersededAt[number]?[value.version] else {
          Issue.record("seed \(seed): a hit on a value that never existed")
          return
        }
        let isWithinPromise = now < supersededAt + limits.lease && newsUntil.map { supersededAt >= $0 } ?? false
        if !isWithinPromise {
          Issue.record("seed \(seed): a superseded value was hit")
          return
        }
      }
    }
    #expect(hitCount > 100 && waitCount > 10)
    Bookkeeping(state).check(
      entryCountMax: limits.entryCountMax, absentCountMax: limits.absentCountMax, recentCountMax: limits.recentCountMax,
      waitingCountMax: limits.waitingCountMax)
  }
}
