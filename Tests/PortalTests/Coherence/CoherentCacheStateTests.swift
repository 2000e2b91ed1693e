import Foundation
import Testing

@testable import Portal

@Suite("CoherentCacheState")
struct CoherentCacheStateTests {
  typealias State = CoherentCacheState<Thing>

  private let start = ContinuousClock.now
  private let epoch = UUID.numbered(1_000)
  private let hash = SecretHash.numbered(1)
  private let thing = Thing(id: .numbered(1), owner: .numbered(100), dependsOnCatalog: true)
  private var state = State(limits: .init())

  // MARK: Steps

  private static func makeState(_ change: (inout State.Limits) -> Void) -> State {
    var limits = State.Limits()
    change(&limits)
    return State(limits: limits)
  }

  private func position(_ seq: Int, _ epoch: UUID? = nil, on history: History = .main) -> LogPosition {
    LogPosition(epoch: epoch ?? self.epoch, seq: seq, on: history)
  }

  @discardableResult
  private mutating func sync(
    _ seq: Int, _ news: [Invalidation] = [], epoch: UUID? = nil, on history: History = .main,
    startedAfter delay: Duration = .zero
  ) -> SyncOutcome {
    state.apply(SyncResult(head: position(seq, epoch, on: history), invalidations: news, startedAt: start + delay))
  }

  private mutating func fill(
    _ hash: SecretHash, _ thing: Thing?, readAt seq: Int, epoch: UUID? = nil, on history: History = .main,
    after delay: Duration = .zero
  ) -> State.FillOutcome {
    state.fill(hash, thing, readAt: position(seq, epoch, on: history), at: start + delay)
  }

  /// Rows of the log about other keys.
  private func strangers(_ seqs: ClosedRange<Int>, on history: History = .main) -> [Invalidation] {
    seqs.map { Invalidation(seq: $0, target: .key(.numbered(50 + $0)), on: history) }
  }

  /// Works on a copy and leaves no mark, so it may be called anywhere.
  private func lookup(_ hash: SecretHash, after delay: Duration = .zero) -> State.Lookup {
    var copy = state
    return copy.lookup(hash, at: start + delay)
  }

  private func numbered(_ number: Int, owner: Int = 100) -> Thing {
    Thing(id: .numbered(number), owner: .numbered(owner))
  }

  // MARK: Extreme numbers

  @Test("seqs up to the highest are followed and judged, and a jump to the highest drops everything")
  mutating func highestSeqs() {
    let epoch = epoch
    func position(_ seq: Int) -> LogPosition { LogPosition(epoch: epoch, seq: seq, mark: .numbered(seq % 1_000)) }
    func row(_ seq: Int) -> Invalidation {
      Invalidation(seq: seq, follows: position(seq - 1).mark, target: .key(.numbered(7)))
    }
    let seqs = (Int.max - 3)...Int.max
    var breaks: [Bool] = []
    for (head, news) in [
      (seqs.lowerBound, []), (.max, seqs.dropFirst().map(row)), (.max, []), (0, []), (.max, [row(.max)]),
    ] as [(Int, [Invalidation])] {
      let sync = SyncResult(head: position(head), invalidations: news, startedAt: start)
      breaks.append(state.apply(sync).isHistoryBroken)
      guard head == .max, !breaks.contains(true) else { continue }
      let outcome = state.fill(hash, thing, readAt: position(.max), at: start)
      #expect(outcome == .stored && lookup(hash).name == "hit")
    }
    #expect(breaks == [false, false, false, true, true])
    #expect(state.applied?.seq == .max && lookup(hash).name == "miss")
  }

  // MARK: Freshness

  @Test("before the first sync everything is stale, and no fill can be judged")
  mutating func neverSynced() {
    #expect(lookup(hash).name == "stale")
    #expect(fill(hash, thing, readAt: 0) == .unjudged)
    sync(0)
    #expect(lookup(hash).name == "miss")
  }

  @Test("a stored value is a hit until the lease, counted from the start of the last sync, has run out")
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

  @Test("a sync that started earlier than the last one does not shorten the lease")
  mutating func earlierStart() {
    sync(5, startedAfter: .seconds(1))
    sync(5)
    #expect(state.isFresh(at: start + .milliseconds(2_999)))
    #expect(!state.isFresh(at: start + .seconds(3)))
  }

  // MARK: What an invalidation drops

  @Test("a key's invalidation drops only that key, an account's all keys of the account, `everything` all keys")
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
    sync(1, [Invalidation(seq: 1, target: .key(thing.id))])
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

  @Test("rows of the log that were already applied do not drop values read since")
  mutating func appliedBefore() {
    let revocation = Invalidation(seq: 1, target: .key(thing.id))
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

  /// The product's promise: whatever the order of events, a revoked key is not accepted after a sync that read the
  /// revocation has been applied, and never later than the lease after the revocation.
  @Test(
    "in every order of read, revocation, fill and two syncs, the value is never a hit once its revocation is applied",
    arguments: [
      Invalidation.Target.key(.numbered(1)), .serviceToken(.numbered(1)),
      .limitNamespace(.numbered(1)), .account(.numbered(100)), .catalog, .everything,
    ])
  func everyOrder(_ target: Invalidation.Target) {
    let revoked = Thing(id: thing.id, owner: thing.owner, version: 1, dependsOnCatalog: true)
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
            if test.state.apply(sync).isTaken, sync.head.seq == 11 { isNewsApplied = true }
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

  // MARK: Fills that wait

  @Test("a value read ahead of the applied position is not a hit before the sync that passes it, and is one after it")
  mutating func readAhead() {
    sync(10)
    #expect(fill(hash, thing, readAt: 11) == .waiting)
    #expect(fill(.numbered(2), nil, readAt: 11) == .waiting)
    #expect(lookup(hash).name == "miss" && lookup(.numbered(2)).name == "miss")
    #expect(sync(11, strangers(11...11), startedAfter: .milliseconds(1)).fillsStored == 2)
    #expect(lookup(hash).hit == thing)
    #expect(lookup(.numbered(2)).name == "absent")
  }

  /// A sync that was sent before a revocation may make the cache fresh again after a caller has learned of the
  /// revocation.
  @Test("once a newer value of a secret was read, the older one is no longer a hit")
  mutating func neverBack() {
    sync(10)
    #expect(fill(hash, thing, readAt: 10) == .stored)
    #expect(fill(.numbered(2), nil, readAt: 10) == .stored)
    let revoked = Thing(id: thing.id, owner: thing.owner, version: 1)
    #expect(fill(hash, revoked, readAt: 11, after: .milliseconds(5)) == .waiting)
    #expect(fill(.numbered(2), numbered(2), readAt: 12, after: .milliseconds(5)) == .waiting)
    #expect(lookup(hash).name == "miss" && lookup(.numbered(2)).name == "miss")
    sync(10, startedAfter: .milliseconds(1))
    #expect(fill(hash, thing, readAt: 10) == .overtaken)
    #expect(lookup(hash).name == "miss")
  }

  @Test("of two values of a secret that wait, a sync between them stores neither")
  mutating func twoWaiting() {
    sync(10)
    let revoked = Thing(id: thing.id, owner: thing.owner, version: 1)
    #expect(fill(hash, thing, readAt: 11, after: .milliseconds(3)) == .waiting)
    #expect(fill(hash, revoked, readAt: 12, after: .milliseconds(5)) == .waiting)
    // Sent before the revocation, and applied after a caller has learned of it.
    sync(11, strangers(11...11), startedAfter: .milliseconds(4))
    #expect(lookup(hash).name == "miss")
    let news = [Invalidation(seq: 12, target: .key(thing.id))]
    #expect(sync(12, news, startedAfter: .milliseconds(6)).fillsStored == 1)
    #expect(lookup(hash).hit == revoked)
  }

  @Test("once a waiting value is dropped for want of room, older values of all secrets are read again")
  mutating func droppedForRoom() {
    state = Self.makeState { $0.waitingCountMax = 2 }
    sync(10)
    let revoked = Thing(id: thing.id, owner: thing.owner, version: 1)
    #expect(fill(hash, revoked, readAt: 12, after: .milliseconds(5)) == .waiting)
    for number in 2...3 { #expect(fill(.numbered(number), numbered(number), readAt: 13) == .waiting) }
    #expect(fill(hash, thing, readAt: 10) == .overtaken)
    #expect(fill(.numbered(4), numbered(4), readAt: 11) == .overtaken)
    #expect(fill(.numbered(4), numbered(4), readAt: 12) == .waiting)
    #expect(lookup(hash).name == "miss")
  }

  @Test("a waiting value that the next sync revokes is not stored")
  mutating func aheadAndRevoked() {
    sync(10)
    #expect(fill(hash, thing, readAt: 11) == .waiting)
    let news = strangers(11...11) + [Invalidation(seq: 12, target: .key(thing.id))]
    #expect(sync(12, news).fillsDiscarded == 1)
    #expect(lookup(hash).name == "miss")
  }

  @Test("a value that waits for a later sync than the next one continues to wait")
  mutating func aheadOfTwo() {
    sync(10)
    #expect(fill(hash, thing, readAt: 12, after: .milliseconds(5)) == .waiting)
    // Sent before the value arrived.
    #expect(sync(11, strangers(11...11), startedAfter: .milliseconds(1)) == SyncOutcome())
    #expect(lookup(hash).name == "miss")
    #expect(sync(12, strangers(12...12), startedAfter: .milliseconds(6)).fillsStored == 1)
    #expect(lookup(hash).hit == thing)
  }

  @Test("a waiting value that a later read of the log does not reach came from another history")
  mutating func aheadOfOther() {
    sync(10)
    #expect(fill(hash, thing, readAt: 12, after: .milliseconds(5)) == .waiting)
    let outcome = sync(11, strangers(11...11), startedAfter: .milliseconds(6))
    #expect(outcome.isHistoryBroken && outcome.fillsDiscarded == 1)
    sync(12, strangers(12...12), startedAfter: .milliseconds(7))
    #expect(lookup(hash).name == "miss")
  }

  @Test("a value that waits at the exact position to which everything is dropped is stored")
  mutating func aheadOfDrop() {
    let other = History(number: 1, leftMainAfter: 8)
    sync(10)
    #expect(fill(hash, thing, readAt: 20, on: other) == .waiting)
    let outcome = sync(20, strangers(11...20, on: other), on: other, startedAfter: .milliseconds(1))
    #expect(outcome.isHistoryBroken && outcome.fillsStored == 1)
    #expect(lookup(hash).hit == thing)
  }

  @Test("waiting values are bounded, the oldest are dropped first, and none waits longer than the lease")
  mutating func waitingBound() {
    state = Self.makeState { $0.waitingCountMax = 3 }
    sync(10)
    for number in 1...5 { #expect(fill(.numbered(number), numbered(number), readAt: 11) == .waiting) }
    sync(11, strangers(11...11), startedAfter: .milliseconds(1))
    #expect((1...5).filter { lookup(.numbered($0)).hit != nil } == [3, 4, 5])
    #expect(fill(.numbered(6), numbered(6), readAt: 12) == .waiting)
    sync(12, strangers(12...12), startedAfter: .seconds(2))
    #expect(lookup(.numbered(6), after: .seconds(2)).name == "miss")
  }

  // MARK: Fills that cannot be judged

  @Test("a fill read before the recent invalidations is not stored; one at their edge is")
  mutating func ringOverflow() {
    state = Self.makeState { $0.recentCountMax = 3 }
    sync(0)
    for seq in 1...5 { sync(seq, [Invalidation(seq: seq, target: .key(.numbered(50 + seq)))]) }
    #expect(fill(hash, thing, readAt: 1) == .overtaken)
    #expect(fill(hash, thing, readAt: 2) == .stored)
    #expect(fill(.numbered(9), nil, readAt: 1) == .overtaken)
  }

  @Test("another epoch drops everything, and fills of the previous one are refused")
  mutating func epochChange() {
    let other = UUID.numbered(2_000)
    sync(5)
    _ = fill(hash, thing, readAt: 5)
    _ = fill(.numbered(2), nil, readAt: 5)
    sync(5, epoch: other)
    #expect(lookup(hash).name == "miss")
    #expect(lookup(.numbered(2)).name == "miss")
    #expect(fill(hash, thing, readAt: 5) == .anotherHistory)
    #expect(fill(hash, thing, readAt: 5, epoch: other) == .stored)
  }

  @Test(
    "rows missing anywhere in the log drop everything",
    arguments: [[], [3], [2], [1], [2, 3], [1, 3], [1, 2]])
  mutating func gap(_ seqs: [Int]) {
    let stranger = Invalidation.Target.key(.numbered(77))
    sync(0)
    _ = fill(hash, thing, readAt: 0)
    sync(3, seqs.map { Invalidation(seq: $0, target: stranger) })
    #expect(lookup(hash).name == "miss")
    #expect(fill(hash, thing, readAt: 2) == .overtaken)
    #expect(fill(hash, thing, readAt: 3) == .stored)
  }

  @Test("a head that goes backwards, as after a restore that kept the epoch, drops everything")
  mutating func backwards() {
    sync(5)
    _ = fill(hash, thing, readAt: 5)
    sync(3, startedAfter: .seconds(1))
    #expect(lookup(hash, after: .seconds(1)).name == "miss")
    #expect(state.applied == position(3))
  }

  /// After a reconnect, the sync of the lost connection may end last. It must neither restore what later rows dropped
  /// nor give the caches the freshness of another sync. That it continues what was applied proves nothing.
  @Test("the late result of a sync that started before the last one changes nothing, whether it continues it or not")
  mutating func lateSync() {
    sync(5)
    sync(6, [Invalidation(seq: 6, target: .key(thing.id))], startedAfter: .seconds(1))
    _ = fill(.numbered(2), numbered(2), readAt: 6)
    #expect(!sync(5, startedAfter: .milliseconds(500)).isTaken)
    #expect(fill(hash, thing, readAt: 5) == .overtaken)
    #expect(lookup(.numbered(2)).hit == numbered(2))
    #expect(!sync(5, epoch: .numbered(2_000), startedAfter: .milliseconds(600)).isTaken)
    let continuing = [Invalidation(seq: 7, target: .everything)]
    #expect(!sync(7, continuing, startedAfter: .milliseconds(999)).isTaken)
    #expect(state.applied == position(6))
    #expect(lookup(.numbered(2)).hit == numbered(2))
    #expect(sync(7, continuing, startedAfter: .seconds(1)).isTaken)
  }

  // MARK: Two histories

  private static let forkAfter8 = History(number: 1, leftMainAfter: 8)

  @Test("a log that continues from another mark than the applied one drops everything, however complete its rows are")
  mutating func otherLink() {
    sync(10)
    _ = fill(hash, thing, readAt: 10)
    #expect(sync(20, strangers(11...20), startedAfter: .milliseconds(1)) == SyncOutcome())
    #expect(lookup(hash).hit == thing)
    let other = History(number: 1, leftMainAfter: 19)
    #expect(sync(30, strangers(21...30, on: other), on: other, startedAfter: .milliseconds(2)).isHistoryBroken)
    #expect(lookup(hash).name == "miss")
    #expect(state.applied == position(30, on: other))
  }

  @Test("the same seq with another mark drops everything")
  mutating func sameSeq() {
    sync(10)
    _ = fill(hash, thing, readAt: 10)
    #expect(sync(10, on: Self.forkAfter8, startedAfter: .milliseconds(1)).isHistoryBroken)
    #expect(lookup(hash).name == "miss")
  }

  @Test("rows without a mark, from before there were marks, prove nothing")
  mutating func noMark() {
    sync(10)
    _ = fill(hash, thing, readAt: 10)
    sync(11, [Invalidation(seq: 11, follows: nil, target: .account(.numbered(9)))], startedAfter: .milliseconds(1))
    #expect(lookup(hash).name == "miss")
  }

  @Test("the row of the applied position may be gone from the log, because the next one names its mark")
  mutating func trimmed() {
    sync(10)
    _ = fill(hash, thing, readAt: 10)
    #expect(sync(12, strangers(11...12), startedAfter: .milliseconds(1)) == SyncOutcome())
    #expect(lookup(hash).hit == thing)
    #expect(sync(14, strangers(14...14), startedAfter: .milliseconds(2)).isHistoryBroken)
    #expect(lookup(hash).name == "miss")
  }

  @Test("a fill from another history is refused, at the applied position or behind it, known or not")
  mutating func foreignFills() {
    sync(10)
    sync(14, strangers(11...14), startedAfter: .milliseconds(1))
    let other = History(number: 1, leftMainAfter: 11)
    for value in [thing, nil] {
      #expect(fill(hash, value, readAt: 14, on: other) == .anotherHistory)
      #expect(fill(hash, value, readAt: 13, on: other) == .anotherHistory)
      #expect(fill(hash, value, readAt: 10, on: Self.forkAfter8) == .anotherHistory)
      #expect(fill(hash, value, readAt: 9) == .overtaken)
      #expect(lookup(hash).name == "miss")
    }
    // Where both were still the same.
    #expect(fill(hash, thing, readAt: 11, on: other) == .stored)
  }

  /// The shortest sequences of events in which, without each rule, a wrong answer would stay for ever.
  @Test("a revocation whose number another history has used is not skipped")
  mutating func reusedNumber() {
    let other = History(number: 1, leftMainAfter: 0)
    sync(0)
    sync(1, strangers(1...1), startedAfter: .milliseconds(1))
    _ = fill(hash, thing, readAt: 1)
    sync(1, on: other, startedAfter: .milliseconds(2))
    #expect(lookup(hash).name == "miss")
  }

  @Test("a fill read ahead on the old server is not stored when the new one continues from an earlier state")
  mutating func lateFillAhead() {
    sync(0)
    let read = position(1)
    sync(0, startedAfter: .milliseconds(1))
    #expect(state.fill(hash, thing, readAt: read, at: start + .milliseconds(2)) == .waiting)
    #expect(sync(0, startedAfter: .milliseconds(3)).isHistoryBroken)
    let other = History(number: 1, leftMainAfter: 0)
    sync(1, strangers(1...1, on: other), on: other, startedAfter: .milliseconds(4))
    #expect(lookup(hash, after: .milliseconds(5)).name == "miss")
  }

  @Test("a fill read on the old server is not stored after rows of the new one that do not name it")
  mutating func lateFillBehind() {
    let other = History(number: 1, leftMainAfter: 0)
    sync(0)
    sync(2, strangers(1...2, on: other), on: other, startedAfter: .milliseconds(1))
    #expect(fill(hash, thing, readAt: 1) == .anotherHistory)
    #expect(lookup(hash).name == "miss")
  }

  @Test("a late sync of the old server does not make its fill look like the newest")
  mutating func lateSyncOfOldServer() {
    sync(0)
    // The new server, on which nothing is committed.
    sync(0, startedAfter: .milliseconds(2))
    #expect(!sync(1, strangers(1...1), startedAfter: .milliseconds(1)).isTaken)
    #expect(fill(hash, thing, readAt: 1) == .waiting)
    #expect(lookup(hash).name == "miss")
  }

  // MARK: Unknown secrets

  @Test("an unknown secret is absent until its lifetime has passed")
  mutating func absent() {
    state = Self.makeState { $0.absentLifetime = .seconds(1) }
    sync(5)
    #expect(fill(hash, nil, readAt: 5) == .stored)
    #expect(lookup(hash, after: .milliseconds(999)).name == "absent")
    #expect(lookup(hash, after: .seconds(1)).name == "miss")
  }

  @Test("unknown secrets are bounded, the oldest are dropped first, and they evict no known one")
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

  @Test("a read that did not find a secret does not evict a later one that did")
  mutating func absentAfterFound() {
    sync(5)
    #expect(fill(hash, thing, readAt: 5) == .stored)
    #expect(fill(hash, nil, readAt: 5) == .overtaken)
    #expect(lookup(hash).hit == thing)
  }

  @Test("a secret that is found is no longer absent")
  mutating func foundAfterAbsent() {
    sync(5)
    _ = fill(hash, nil, readAt: 5)
    #expect(fill(hash, thing, readAt: 5) == .stored)
    #expect(lookup(hash).hit == thing)
  }

  // MARK: Bounds

  @Test("entries are bounded, and the oldest are evicted first")
  mutating func entryBound() {
    state = Self.makeState { $0.entryCountMax = 3 }
    sync(0)
    for number in 1...10 {
      _ = fill(.numbered(number), numbered(number), readAt: 0)
      #expect(state.count <= 3)
    }
    #expect((1...10).filter { lookup(.numbered($0)).hit != nil } == [8, 9, 10])
  }

  @Test("an entry that is looked up stays, however many others are used once")
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

  @Test("a key that was cached under a former hash is no longer a hit there")
  mutating func changedHash() {
    sync(0)
    _ = fill(.numbered(1), thing, readAt: 0)
    _ = fill(.numbered(2), thing, readAt: 0)
    #expect(lookup(.numbered(1)).name == "miss")
    #expect(lookup(.numbered(2)).hit == thing)
  }

  /// A server runs for months: entries that are dropped and read again must leave nothing behind.
  @Test("keys that are invalidated and read again a thousand times leave nothing behind in memory")
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
  let waitingCount: Int

  init(_ state: CoherentCacheState<Thing>) {
    let mirror = Mirror(reflecting: state)
    entries = mirror.descendant("entries") as! CacheEntries<Thing>
    absent = Set((mirror.descendant("absent") as! [SecretHash: ContinuousClock.Instant]).keys)
    absentOrder = Mirror(reflecting: mirror.descendant("absentOrder")!).children.map { $0.value as! SecretHash }
    recentCount = Mirror(reflecting: mirror.descendant("recent")!).children.count
    waitingCount = Mirror(reflecting: mirror.descendant("waiting")!).children.count
  }

  /// Whether no secret is both known and absent, and nothing exceeds its bound.
  func check(entryCountMax: Int, absentCountMax: Int, recentCountMax: Int = 4_096, waitingCountMax: Int = 8_192) {
    #expect(Set(absentOrder).isSuperset(of: absent))
    #expect(!absent.contains { entries.contains($0) })
    #expect(entries.count <= entryCountMax && Mirror(entries).placeCount <= entryCountMax)
    #expect(absent.count <= absentCountMax && absentOrder.count <= 2 * absentCountMax)
    #expect(recentCount <= recentCountMax && waitingCount <= waitingCountMax)
  }
}

extension Mirror {
  fileprivate init(_ entries: CacheEntries<Thing>) { self.init(reflecting: entries) }
  fileprivate var placeCount: Int { Mirror(reflecting: descendant("entries")!).children.count }
}
