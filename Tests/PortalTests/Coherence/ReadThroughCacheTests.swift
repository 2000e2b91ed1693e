import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization
import Testing

@testable import Portal

/// Look-ups that wait until the test completes them.
private final class HeldReads: Sendable {
  struct Down: Error {}
  typealias Call = (hashes: [SecretHash], answer: CheckedContinuation<SecretsRead<Thing>, any Error>)

  private struct State {
    var waiting: [Call] = []
    var count = 0
    var cancelledCount = 0
    var isDown = false
  }

  private let state = Mutex(State())

  var count: Int { state.withLock { $0.count } }
  var cancelledCount: Int { state.withLock { $0.cancelledCount } }

  var read: ReadThroughCache<Thing>.Read {
    { hashes, _ in
      try await withTaskCancellationHandler {
        try await withCheckedThrowingContinuation { continuation in
          let isDown = self.state.withLock { state in
            state.count += 1
            if !state.isDown { state.waiting.append((hashes, continuation)) }
            return state.isDown
          }
          if isDown { continuation.resume(throwing: Down()) }
        }
      } onCancel: {
        let call = self.state.withLock { state in
          state.cancelledCount += 1
          return state.waiting.firstIndex { $0.hashes == hashes }.map { state.waiting.remove(at: $0) }
        }
        call?.answer.resume(throwing: CancellationError())
      }
    }
  }

  func next() async throws -> Call {
    try await eventually("a look-up is sent") { self.state.withLock { !$0.waiting.isEmpty } }
    return state.withLock { $0.waiting.removeFirst() }
  }

  /// Fails the waiting look-ups and all later ones.
  func goDown() {
    let waiting = state.withLock { state in
      state.isDown = true
      defer { state.waiting = [] }
      return state.waiting
    }
    for call in waiting { call.answer.resume(throwing: Down()) }
  }

  func comeBack() { state.withLock { $0.isDown = false } }
}

@Suite("ReadThroughCache")
struct ReadThroughCacheTests {
  private let epoch = UUID.numbered(1_000)
  private let thing = Thing(id: .numbered(1), owner: .numbered(100))
  private let observations = Observations()
  private let reads = HeldReads()

  private func makeCache(lease: Duration = .seconds(60)) -> ReadThroughCache<Thing> {
    var limits = CoherentCacheState<Thing>.Limits()
    limits.lease = lease
    return ReadThroughCache(
      limits, executor: globalConcurrentExecutor, observer: Observer([observations.sink]), read: reads.read)
  }

  private func sync(_ cache: ReadThroughCache<Thing>, _ seq: Int, _ targets: Invalidation.Target...) {
    let news = targets.enumerated().map { Invalidation(seq: seq - targets.count + 1 + $0.offset, target: $0.element) }
    _ = cache.cache.apply(
      SyncResult(head: LogPosition(epoch: epoch, seq: seq), invalidations: news, startedAt: .now))
  }

  private func found(at seq: Int, _ values: [SecretHash: Thing]) -> SecretsRead<Thing> {
    SecretsRead(position: LogPosition(epoch: epoch, seq: seq), values: values)
  }

  @Test("a hundred concurrent callers cause one look-up and all get its value; later callers cause none")
  func singleFlight() async throws {
    let cache = makeCache()
    sync(cache, 5)
    async let outcomes = concurrently(100) { _ in try await cache.value(of: .numbered(1)) }
    try await eventually("all have asked") { observations.count(.cacheMiss) == 100 }
    let call = try await reads.next()
    #expect(call.hashes == [.numbered(1)])
    call.answer.resume(returning: found(at: 5, [.numbered(1): thing]))
    #expect(await outcomes.values == Array(repeating: thing, count: 100))
    #expect(try await cache.value(of: .numbered(1)) == thing)
    #expect(reads.count == 1)
    #expect(observations.count(.cacheHit) >= 1)
  }

  @Test("an unknown secret is looked up once, and is remembered as unknown afterwards")
  func unknown() async throws {
    let cache = makeCache()
    sync(cache, 5)
    async let value = cache.value(of: .numbered(1))
    try await reads.next().answer.resume(returning: found(at: 5, [:]))
    #expect(try await value == nil)
    #expect(try await cache.value(of: .numbered(1)) == nil)
    #expect(reads.count == 1)
  }

  @Test("a look-up that fails throws for all its waiters, and is not remembered")
  func failure() async throws {
    let cache = makeCache()
    sync(cache, 5)
    async let outcomes = concurrently(20) { _ in try await cache.value(of: .numbered(1)) }
    try await eventually("all have asked") { observations.count(.cacheMiss) == 20 }
    reads.goDown()
    let (values, errors) = (await outcomes.values, await outcomes.errors)
    #expect(values.isEmpty && errors.count == 20 && errors.allSatisfy { $0 is HeldReads.Down })
    reads.comeBack()
    async let again = cache.value(of: .numbered(1))
    try await reads.next().answer.resume(returning: found(at: 5, [.numbered(1): thing]))
    #expect(try await again == thing)
  }

  @Test("if a value of a look-up cannot be decoded, only its callers get the error, and it is not remembered")
  func undecodable() async throws {
    let cache = makeCache()
    sync(cache, 5)
    // Two look-ups in progress, so that the next three secrets share one.
    async let one = cache.value(of: .numbered(8))
    async let other = cache.value(of: .numbered(9))
    let inProgress = [try await reads.next(), try await reads.next()]
    async let good = cache.value(of: .numbered(1))
    async let bad = concurrently(2) { _ in try await cache.value(of: .numbered(2)) }
    async let unknown = cache.value(of: .numbered(3))
    try await eventually("all have asked") { observations.count(.cacheMiss) == 6 }
    inProgress[0].answer.resume(returning: found(at: 5, [:]))
    let call = try await reads.next()
    #expect(Set(call.hashes) == [.numbered(1), .numbered(2), .numbered(3)])
    var read = found(at: 5, [.numbered(1): thing])
    read.failures = [.numbered(2): PostgresError(.decoding, "column 17 is infinite")]
    call.answer.resume(returning: read)
    #expect(try await good == thing)
    #expect(try await unknown == nil)
    let errors = await bad.errors
    #expect(errors.count == 2 && errors.allSatisfy { ($0 as? PostgresError)?.code == .decoding })
    #expect(cache.cached(.numbered(2), at: .now) == .none)
    inProgress[1].answer.resume(returning: found(at: 5, [:]))
    _ = try await (one, other)
  }

  /// Otherwise a caller that joined the look-up after a complete receipt would find the key valid.
  @Test("a value read before a revocation that is applied meanwhile is returned to no caller, and read again")
  func revokedMeanwhile() async throws {
    let cache = makeCache()
    sync(cache, 5)
    async let outcomes = concurrently(3) { _ in try await cache.value(of: .numbered(1)) }
    let call = try await reads.next()
    try await eventually("all have asked") { observations.count(.cacheMiss) == 3 }
    sync(cache, 6, .key(thing.id))
    call.answer.resume(returning: found(at: 5, [.numbered(1): thing]))
    let revoked = Thing(id: thing.id, owner: thing.owner, version: 1)
    try await reads.next().answer.resume(returning: found(at: 6, [.numbered(1): revoked]))
    let values = await outcomes.values
    #expect(values == [revoked, revoked, revoked])
    #expect(observations.count(.fillDiscarded) == 1 && reads.count == 2)
    #expect(cache.cached(.numbered(1), at: .now) == .some(revoked))
  }

  /// Otherwise a slow database could accept a key for longer than the lease after its revocation, and a silent one
  /// could make gateways wait for ever.
  @Test("a caller that has waited for the lease gets an unavailable error, and the read is given up")
  func tooOld() async throws {
    let cache = makeCache(lease: .milliseconds(30))
    for number in 1...5 {
      await #expect(throws: PortalError.unavailable(reason: "the database takes longer than the lease to answer")) {
        try await cache.value(of: .numbered(number))
      }
    }
    try await eventually("the reads were cancelled") { reads.cancelledCount == 5 }
  }

  /// Otherwise a batch could accept a key for twice the lease: that of its entry, and that of another key's look-up.
  @Test("a hit that is revoked while other keys of its batch are looked up is looked up as well")
  func revokedInBatch() async throws {
    let cache = makeCache()
    sync(cache, 5)
    async let first = cache.value(of: .numbered(1))
    try await reads.next().answer.resume(returning: found(at: 5, [.numbered(1): thing]))
    #expect(try await first == thing)
    let other = Thing(id: .numbered(2), owner: .numbered(100))
    async let values = cache.values(of: [.numbered(1), .numbered(2), .numbered(1), .numbered(3)])
    var waiting: Set<SecretHash> = [.numbered(2), .numbered(3)]
    try await eventually("it has checked all") { observations.count(.cacheMiss) == 3 }
    sync(cache, 6, .key(thing.id))
    let revoked = Thing(id: thing.id, owner: thing.owner, version: 1)
    while !waiting.isEmpty {
      let call = try await reads.next()
      waiting.subtract(call.hashes)
      call.answer.resume(returning: found(at: 5, [.numbered(2): other]))
    }
    let again = try await reads.next()
    #expect(again.hashes == [.numbered(1)])
    again.answer.resume(returning: found(at: 6, [.numbered(1): revoked]))
    #expect(try await values == [revoked, other, revoked, nil])
  }

  @Test("after the lease every call asks the database, and none is answered from memory")
  func stale() async throws {
    let cache = makeCache()
    for _ in 0..<3 {
      async let value = cache.value(of: .numbered(1))
      try await reads.next().answer.resume(returning: found(at: 5, [.numbered(1): thing]))
      #expect(try await value == thing)
    }
    #expect(observations.count(.cacheStale) == 3)
    #expect(observations.count(.fillDiscarded) == 3)
    #expect(cache.cache.count == 0)
  }
}
