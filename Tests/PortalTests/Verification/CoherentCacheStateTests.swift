import Foundation
import Testing

@testable import Portal

@Suite("CoherentCacheState")
struct CoherentCacheStateTests {
  typealias State = CoherentCacheState<Thing>

  private let start = ContinuousClock.now
  private let epoch = UUID.numbered(1_000)
  private let hash = SecretHash.numbered(1)
  private let thing = Thing(id: .numbered(1), owner: .numbered(100))
  private var state = State(limits: .init())

  // MARK: Steps

  private static func makeState(_ change: (inout State.Limits) -> Void) -> State {
    var limits = State.Limits()
    change(&limits)
    return State(limits: limits)
  }

  private func position(_ seq: Int, _ epoch: UUID? = nil) -> LogPosition {
    LogPosition(epoch: epoch ?? self.epoch, seq: seq)
  }

  private mutating func sync(
    _ seq: Int, _ news: [Invalidation] = [], epoch: UUID? = nil, startedAfter delay: Duration = .zero
  ) {
    state.apply(SyncResult(head: position(seq, epoch), invalidations: news, startedAt: start + delay))
  }

  private mutating func fill(
    _ hash: SecretHash, _ thing: Thing?, readAt seq: Int, epoch: UUID? = nil, after delay: Duration = .zero
  ) -> State.FillOutcome {
    state.fill(hash, thing, readAt: position(seq, epoch), at: start + delay)
  }

  /// Leaves no mark, so that it may be called anywhere.
  private func lookup(_ hash: SecretHash, after delay: Duration = .zero) -> State.Lookup {
    var copy = state
    return copy.lookup(hash, at: start + delay)
  }

  private func numbered(_ number: Int, owner: Int = 100) -> Thing {
    Thing(id: .numbered(number), owner: .numbered(owner))
  }

  // MARK: Freshness

  @Test("before the first sync everything is stale, and no fill can be judged")
  mutating func neverSynced() {
    #expect(lookup(hash).name == "stale")
    #expect(fill(hash, thing, readAt: 0) == .unjudged)
    sync(0)
    #expect(lookup(hash).name == "miss")
  }

  @Test("a stored value is hit until the lease after the start of the last sync has run out, and not at that moment")
  mutating func lease() {
    sync(5, startedAfter: .seconds(1))
    #expect(fill(hash, thing, readAt: 5) == .stored)
    #expect(lookup(hash, after: .milliseconds(2_999)).hit == thing)
    #expect(lookup(hash, after: .seconds(3)).name == "stale")
    sync(5, startedAfter: .seconds(4))
    #expect(lookup(hash, after: .milliseconds(5_999)).hit == thing)
    #expect(lookup(hash, after: .seconds(6)).name == "stale")
  }

  @Test("a fill does not prolong the lease")
  mutating func fillDoesNotRefresh() {
    sync(5)
    #expect(fill(hash, thing, readAt: 5, after: .milliseconds(1_999)) == .stored)
    #expect(lookup(hash, after: .milliseconds(1_999)).hit == thing)
    #expect(lookup(hash, after: .seconds(2)).name == "stale")
  }

  @Test("a sync that began earlier than the last one does not shorten the lease")
  mutating func earlierStart() {
    sync(5, startedAfter: .seconds(1))
    sync(5)
    #expect(state.isFresh(at: start + .milliseconds(2_999)))
    #expect(!state.isFresh(at: start + .seconds(3)))
  }

  // MARK: What an invalidation drops

  @Test("a key's invalidation drops that key alone, an account's all of the account, `everything` all")
  mutating func targets() {
    let others = [2: numbered(2), 3: numbered(3, owner: 200), 4: numbered(4, owner: 200)]
    func fillAll(_ test: inout Self, at seq: Int) {
      _ = test.fill(test.hash, test.thing, readAt: seq)
      for (number, other) in others { _ = test.fill(.numbered(number), other, readAt: seq) }
    }
    func hits(_ test: Self) -> [Int] { (1...4).filter { test.lookup(.numbered($0)).hit != nil } }
    sync(0)
    fillAll(&self, at: 0)
    #expect(hits(self) == [1, 2, 3, 4])
    sync(1, [Invalidation(seq: 1, target: .key(thing.id, account: .numbered(100)))])
    #expect(hits(self) == [2, 3, 4])
    sync(2, [Invalidation(seq: 2, target: .account(.numbered(200)))])
    #expect(hits(self) == [2])
    fillAll(&self, at: 2)
    sync(3, [Invalidation(seq: 3, target: .serviceToken(.numbered(4)))])
    #expect(hits(self) == [1, 2, 3])
    sync(4, [Invalidation(seq: 4, target: .everything)])
    #expect(hits(self) == [])
    #expect(state.count == 0)
  }

  @Test("rows of the log that were applied already do not drop what was read since")
  mutating func appliedBefore() {
    let revocation = Invalidation(seq: 1, target: .key(thing.id, account: .numbered(100)))
    sync(0)
    sync(1, [revocation])
    #expect(fill(hash, thing, readAt: 1) == .stored)
    sync(2, [revocation, Invalidation(seq: 2, target: .account(.numbered(300)))])
    #expect(lookup(hash).hit == thing)
  }

  // MARK: The race of fill and revocation

  private enum Step: Int, CaseIterable {
    case read, commit, firstSyncReads, firstSyncApplies, secondSyncReads, secondSyncApplies, fill
  }

  /// All orders in which the steps can happen.
  private static let orders = Step.allCases.permutations.filter { order in
    func isBefore(_ one: Step, _ other: Step) -> Bool { order.firstIndex(of: one)! < order.firstIndex(of: other)! }
    return isBefore(.read, .fill) && isBefore(.firstSyncReads, .firstSyncApplies)
      && isBefore(.secondSyncReads, .secondSyncApplies) && isBefore(.firstSyncReads, .secondSyncReads)
  }

  /// The promise of the product: whatever overtakes what, a revoked key is not accepted once a sync that saw the
  /// revocation was applied, and never later than the lease after the revocation.
  @Test(
    "in every order of read, revocation, fill and two syncs, the revoked value is never hit after the news is applied",
    arguments: [
      Invalidation.Target.key(.numbered(1), account: .numbered(100)), .serviceToken(.numbered(1)),
      .account(.numbered(100)), .everything,
    ])
  func everyOrder(_ target: Invalidation.Target) {
    let revoked = Thing(id: thing.id, owner: thing.owner, version: 1)
    #expect(Self.orders.count == 315)
    for order in Self.orders {
      for isCachedBefore in [false, true] {
        var test = self
        var database = (seq: 10, value: thing)
        test.sync(10)
        if isCachedBefore { _ = test.fill(hash, thing, readAt: 10) }
        var read = (seq: 0, value: thing)
        var syncs: [SyncResult] = []
        var committedAt: ContinuousClock.Instant?
        var isNewsApplied = false
        for (number, step) in order.enumerated() {
          let now = start + .milliseconds(100 * (number + 1))
          switch step {
          case .read: read = database
          case .commit:
            database = (11, revoked)
            committedAt = now
          case .firstSyncReads, .secondSyncReads:
            let news = database.seq == 11 ? [Invalidation(seq: 11, target: target)] : []
            syncs.append(SyncResult(head: position(database.seq), invalidations: news, startedAt: now))
          case .firstSyncApplies, .secondSyncApplies:
            let sync = syncs[step == .firstSyncApplies ? 0 : 1]
            test.state.apply(sync)
            if sync.head.seq == 11 { isNewsApplied = true }
          case .fill: _ = test.fill(hash, read.value, readAt: read.seq, after: start.duration(to: now))
          }
          let isAccepted = test.state.lookup(hash, at: now).hit == thing
          #expect(!isNewsApplied || !isAccepted, "\(order), cached before: \(isCachedBefore)")
          guard let committedAt else { continue }
          for late in [Duration.zero, .milliseconds(1), .seconds(1)] {
            let isAcceptedLate = test.state.lookup(hash, at: committedAt + .seconds(2) + late).hit == thing
            #expect(!isAcceptedLate, "\(order), cached before: \(isCachedBefore)")
          }
        }
      }
    }
  }

  @Test("a value read after the revocation is stored, though the sync that names the revocation comes later")
  mutating func readAfterCommit() {
    sync(10)
    #expect(fill(hash, thing, readAt: 11) == .stored)
    #expect(lookup(hash).hit == thing)
  }

  // MARK: Fills that cannot be judged

  @Test("a fill read before the ring of recent invalidations is not stored; one at its edge is")
  mutating func ringOverflow() {
    state = Self.makeState { $0.recentCountMax = 3 }
    sync(0)
    for seq in 1...5 { sync(seq, [Invalidation(seq: seq, target: .key(.numbered(50 + seq), account: .numbered(9)))]) }
    #expect(fill(hash, thing, readAt: 1) == .unjudged)
    #expect(fill(hash, thing, readAt: 2) == .stored)
    #expect(fill(.numbered(9), nil, readAt: 1) == .unjudged)
  }

  @Test("another epoch drops all, and fills of the one before are refused")
  mutating func epochChange() {
    let other = UUID.numbered(2_000)
    sync(5)
    _ = fill(hash, thing, readAt: 5)
    _ = fill(.numbered(2), nil, readAt: 5)
    sync(5, epoch: other)
    #expect(lookup(hash).name == "miss")
    #expect(lookup(.numbered(2)).name == "miss")
    #expect(fill(hash, thing, readAt: 5) == .unjudged)
    #expect(fill(hash, thing, readAt: 5, epoch: other) == .stored)
  }

  @Test(
    "rows missing from the log drop all, wherever they are missing",
    arguments: [[], [3], [2], [1], [2, 3], [1, 3], [1, 2]])
  mutating func gap(_ seqs: [Int]) {
    let stranger = Invalidation.Target.key(.numbered(77), account: .numbered(9))
    sync(0)
    _ = fill(hash, thing, readAt: 0)
    sync(3, seqs.map { Invalidation(seq: $0, target: stranger) })
    #expect(lookup(hash).name == "miss")
    #expect(fill(hash, thing, readAt: 2) == .unjudged)
    #expect(fill(hash, thing, readAt: 3) == .stored)
  }

  @Test("a head that goes backwards drops all, as after a restore that kept the epoch")
  mutating func backwards() {
    sync(5)
    _ = fill(hash, thing, readAt: 5)
    sync(3, startedAfter: .seconds(1))
    #expect(lookup(hash, after: .seconds(1)).name == "miss")
    #expect(state.applied == position(3))
  }

  /// After a reconnect, the sync of the lost connection may end last. It must neither revive what later news dropped
  /// nor lend the caches the freshness of another sync.
  @Test("the late result of a sync that began before the last one changes nothing")
  mutating func lateSync() {
    sync(5)
    sync(6, [Invalidation(seq: 6, target: .key(thing.id, account: .numbered(100)))], startedAfter: .seconds(1))
    _ = fill(.numbered(2), numbered(2), readAt: 6)
    sync(5, startedAfter: .milliseconds(500))
    #expect(fill(hash, thing, readAt: 5) == .overtaken)
    #expect(lookup(.numbered(2)).hit == numbered(2))
    #expect(state.applied == position(6))
    sync(5, epoch: .numbered(2_000), startedAfter: .milliseconds(600))
    #expect(state.applied == position(6))
  }

  // MARK: Unknown secrets

  @Test("an unknown secret is absent until its lifetime is over")
  mutating func absent() {
    state = Self.makeState { $0.absentLifetime = .seconds(1) }
    sync(5)
    #expect(fill(hash, nil, readAt: 5) == .stored)
    #expect(lookup(hash, after: .milliseconds(999)).name == "absent")
    #expect(lookup(hash, after: .seconds(1)).name == "miss")
  }

  @Test("unknown secrets are bounded, the oldest go first, and push out no known one")
  mutating func absentBound() {
    state = Self.makeState {
      $0.absentCountMax = 3
      $0.entryCountMax = 2
    }
    sync(0)
    _ = fill(.numbered(1), numbered(1), readAt: 0)
    _ = fill(.numbered(2), numbered(2), readAt: 0)
    for number in 10..<20 { #expect(fill(.numbered(number), nil, readAt: 0) == .stored) }
    #expect((10..<20).filter { lookup(.numbered($0)).name == "absent" } == [17, 18, 19])
    #expect(lookup(.numbered(1)).hit == numbered(1))
    #expect(lookup(.numbered(2)).hit == numbered(2))
  }

  @Test("that a secret was not found does not evict what somebody found later")
  mutating func absentAfterFound() {
    sync(5)
    #expect(fill(hash, thing, readAt: 5) == .stored)
    #expect(fill(hash, nil, readAt: 5) == .overtaken)
    #expect(lookup(hash).hit == thing)
  }

  @Test("a secret that is found is absent no more")
  mutating func foundAfterAbsent() {
    sync(5)
    _ = fill(hash, nil, readAt: 5)
    #expect(fill(hash, thing, readAt: 5) == .stored)
    #expect(lookup(hash).hit == thing)
  }

  // MARK: Bounds

  @Test("entries are bounded, and the oldest go first")
  mutating func entryBound() {
    state = Self.makeState { $0.entryCountMax = 3 }
    sync(0)
    for number in 1...10 {
      _ = fill(.numbered(number), numbered(number), readAt: 0)
      #expect(state.count <= 3)
    }
    #expect((1...10).filter { lookup(.numbered($0)).hit != nil } == [8, 9, 10])
  }

  @Test("what is asked for stays, however many others come by once")
  mutating func scanResistance() {
    state = Self.makeState { $0.entryCountMax = 10 }
    sync(0)
    for number in 1...1_000 {
      _ = fill(.numbered(number), numbered(number), readAt: 0)
      for hot in 1...min(5, number) {
        let found = state.lookup(.numbered(hot), at: start).hit
        #expect(found != nil)
      }
    }
  }

  @Test("a key cached under a former hash is not hit there any more")
  mutating func changedHash() {
    sync(0)
    _ = fill(.numbered(1), thing, readAt: 0)
    _ = fill(.numbered(2), thing, readAt: 0)
    #expect(lookup(.numbered(1)).name == "miss")
    #expect(lookup(.numbered(2)).hit == thing)
  }

  /// A server runs for months: what is dropped and read again must not leave anything behind.
  @Test("keys that are invalidated and read again a thousand times leave no trace in the bookkeeping")
  mutating func churn() {
    state = Self.makeState { $0.entryCountMax = 10 }
    sync(0)
    for seq in 1...1_000 {
      for number in 1...3 { _ = fill(.numbered(number), numbered(number), readAt: seq - 1) }
      _ = fill(.numbered(4), nil, readAt: seq - 1)
      _ = fill(.numbered(4), numbered(4), readAt: seq - 1)
      sync(seq, [Invalidation(seq: seq, target: .account(.numbered(100)))])
    }
    Bookkeeping(state).check(entryCountMax: 10, absentCountMax: 10_000)
  }
}

/// The private parts of a state, by reflection.
struct Bookkeeping {
  let entries: CacheEntries<Thing>
  let absent: Set<SecretHash>
  let absentOrder: [SecretHash]
  let recentCount: Int

  init(_ state: CoherentCacheState<Thing>) {
    let mirror = Mirror(reflecting: state)
    entries = mirror.descendant("entries") as! CacheEntries<Thing>
    absent = Set((mirror.descendant("absent") as! [SecretHash: ContinuousClock.Instant]).keys)
    absentOrder = Mirror(reflecting: mirror.descendant("absentOrder")!).children.map { $0.value as! SecretHash }
    recentCount = Mirror(reflecting: mirror.descendant("recent")!).children.count
  }

  /// Whether nothing is both known and absent, and nothing grows beyond its bound.
  func check(entryCountMax: Int, absentCountMax: Int, recentCountMax: Int = 4_096) {
    #expect(Set(absentOrder).isSuperset(of: absent))
    #expect(!absent.contains { entries.contains($0) })
    #expect(entries.count <= entryCountMax && Mirror(entries).placeCount <= entryCountMax)
    #expect(absent.count <= absentCountMax && absentOrder.count <= 2 * absentCountMax)
    #expect(recentCount <= recentCountMax)
  }
}

extension Mirror {
  fileprivate init(_ entries: CacheEntries<Thing>) { self.init(reflecting: entries) }
  fileprivate var placeCount: Int { Mirror(reflecting: descendant("entries")!).children.count }
}
