import Foundation
import Postgres
import Synchronization

/// The result of a look-up of many secrets, and the position of the invalidation log in the same snapshot.
package struct SecretsRead<Value: Sendable>: Sendable {
  package var position: LogPosition
  package var values: [SecretHash: Value]
  /// The errors of secrets that were found and whose rows could not be decoded.
  var failures: [SecretHash: PostgresError] = [:]

  fileprivate func value(of hash: SecretHash) throws(PostgresError) -> Value? {
    if let failure = failures[hash] { throw failure }
    return values[hash]
  }
}

/// A coherent cache that asks the database for what it does not have, or may not answer: single-flight and batched.
package final class ReadThroughCache<Value: Invalidatable>: Sendable {
  /// Reads the values of secrets by their hashes. The second parameter has the texts of those whose callers have given
  /// them.
  package typealias Read = @Sendable ([SecretHash], [SecretHash: Secret]) async throws -> SecretsRead<Value>
  private typealias Waiter = CheckedContinuation<Result<LookedUp, any Error>, Never>

  private struct LookedUp: Sendable {
    var value: Value?
    /// Whether a change of it was applied after it was read, so that a caller may already have learned that it is gone;
    /// or it was read from a different history than the one that is followed.
    var isToBeReadAgain: Bool
  }

  package let cache: CoherentCache<Value>
  private let fills: Mutex<FillState<Waiter>>
  private let read: Read
  private let executor: any TaskExecutor
  private let observer: Observer
  private let onAnotherHistory: @Sendable () -> Void

  private static var retryPauses: [Duration] {
    [.zero, .milliseconds(1), .milliseconds(5), .milliseconds(20), .milliseconds(50)]
  }

  private static var tooLate: PortalError { .unavailable(reason: "the database takes longer than the lease to answer") }

  /// `read` runs on `executor`, that of the pool that it uses. `onAnotherHistory` must make the next read use another
  /// connection, because this one leads to a server with a different history than the one that is followed.
  package init(
    _ limits: CoherentCacheState<Value>.Limits, executor: any TaskExecutor, observer: Observer,
    onAnotherHistory: @escaping @Sendable () -> Void = {}, read: @escaping Read
  ) {
    cache = CoherentCache(limits)
    fills = Mutex(FillState(limits: .init(lease: limits.lease)))
    self.read = read
    self.executor = executor
    self.observer = observer
    self.onAnotherHistory = onAnotherHistory
  }

  /// The answer that is allowed without asking the database; nil if it must be asked.
  package func cached(_ hash: SecretHash, at now: ContinuousClock.Instant) -> Value?? {
    let lookup = cache.lookup(hash, at: now)
    switch lookup {
    case .hit, .absent: observer.observe(.cacheHit)
    case .miss: observer.observe(.cacheMiss)
    case .stale: observer.observe(.cacheStale)
    }
    return Self.answer(lookup)
  }

  private static func answer(_ lookup: CoherentCacheState<Value>.Lookup) -> Value?? {
    switch lookup {
    case .hit(let value): .some(value)
    case .absent: .some(nil)
    case .miss, .stale: nil
    }
  }

  /// The value of a secret, from the cache or the database; nil if there is no such secret. Throws `.unavailable` when
  /// the database would have to be asked and does not answer within the lease. `secret` is its text, if that may be
  /// needed.
  package func value(of hash: SecretHash, _ secret: Secret? = nil) async throws -> Value? {
    if let cached = cached(hash, at: .now) { return cached }
    return try await lookUp(hash, secret)
  }

  private func lookUp(_ hash: SecretHash, _ secret: Secret?) async throws -> Value? {
    let deadline = ContinuousClock.now + cache.lease
    var pauses = Self.retryPauses.makeIterator()
    var pause = Duration.zero
    while true {
      let found = try await lookUpOnce(hash, secret)
      guard found.isToBeReadAgain else { return found.value }
      if let cached = Self.answer(cache.lookup(hash, at: .now)) { return cached }
      guard .now < deadline else { throw Self.tooLate }
      pause = pauses.next() ?? pause
      if pause > .zero { try await Task.sleep(for: pause) }
    }
  }

  private func lookUpOnce(_ hash: SecretHash, _ secret: Secret?) async throws -> LookedUp {
    let result = await withCheckedContinuation { (waiter: Waiter) in
      switch fills.withLock({ $0.request(hash, waiter, secret: secret, at: .now) }) {
      case .send(let batch): start(batch)
      case .wait: break
      case .refuse:
        waiter.resume(returning: .failure(PortalError.unavailable(reason: "too many look-ups are already waiting")))
      }
    }
    return try result.get()
  }

  /// The values of many secrets; as ``value(of:_:)``. Those that are not in the cache are looked up together, and hits
  /// are checked again after that wait: they may have been revoked meanwhile.
  package func values(of hashes: [SecretHash], _ secrets: [SecretHash: Secret] = [:]) async throws -> [Value?] {
    let deadline = ContinuousClock.now + cache.lease
    var lookedUp: [SecretHash: Value?] = [:]
    var answers: [SecretHash: Value?] = [:]
    for hash in hashes where answers[hash] == nil { answers[hash] = cached(hash, at: .now) }
    while case let missing = Set(hashes).subtracting(answers.keys), !missing.isEmpty {
      try await withThrowingTaskGroup(of: (SecretHash, Value?).self) { group in
        for hash in missing { group.addTask { (hash, try await self.lookUp(hash, secrets[hash])) } }
        for try await (hash, value) in group { lookedUp[hash] = .some(value) }
      }
      // The earliest look-up may have started with this loop.
      guard .now < deadline else { throw Self.tooLate }
      answers = lookedUp
      for hash in hashes where answers[hash] == nil { answers[hash] = Self.answer(cache.lookup(hash, at: .now)) }
    }
    return hashes.map { answers[$0] ?? nil }
  }

  /// The read is given up when its result would be too old to be used, so that callers are answered in time, whatever
  /// the database is doing.
  private func start(_ batch: FillState<Waiter>.Batch) {
    Task(executorPreference: executor) {
      await withTaskGroup { group in
        group.addTask {
          do {
            self.end(batch, .success(try await self.read(batch.hashes, batch.secrets)))
          } catch {
            self.end(batch, .failure(error))
          }
        }
        group.addTask {
          guard (try? await Task.sleep(for: self.cache.lease)) != nil else { return }
          self.end(batch, .failure(Self.tooLate))
        }
        await group.next()
        group.cancelAll()
      }
    }
  }

  /// No caller joins after this point, before the result is judged: so a caller that asks after a change was applied
  /// here never gets what was read before it, and a receipt that says so is true.
  private func end(_ batch: FillState<Waiter>.Batch, _ result: Result<SecretsRead<Value>, any Error>) {
    let action = fills.withLock { $0.ended(batch.id, at: .now) }
    var again: Set<SecretHash> = []
    if case .success(let read) = result { again = store(batch.hashes, read) }
    let result = action.isTooLate ? .failure(Self.tooLate) : result
    for (hash, waiters) in action.deliver {
      let found = result.flatMap { read in
        Result { LookedUp(value: try read.value(of: hash), isToBeReadAgain: again.contains(hash)) }
      }
      for waiter in waiters { waiter.resume(returning: found) }
    }
    if let next = action.send { start(next) }
  }

  /// Stores the values, and nothing for those that could not be decoded; returns the hashes that are to be read again.
  private func store(_ hashes: [SecretHash], _ read: SecretsRead<Value>) -> Set<SecretHash> {
    var again: Set<SecretHash> = []
    var isOfAnotherHistory = false
    for hash in hashes where read.failures[hash] == nil {
      let outcome = cache.fill(hash, read.values[hash], readAt: read.position, at: .now)
      switch outcome {
      case .stored: observer.observe(.fillStored)
      // Counted when it is judged.
      case .waiting: break
      case .overtaken, .anotherHistory, .unjudged: observer.observe(.fillDiscarded)
      }
      if outcome == .anotherHistory { isOfAnotherHistory = true }
      if outcome == .overtaken || outcome == .anotherHistory { again.insert(hash) }
    }
    if isOfAnotherHistory {
      observer.observe(.historyBroken)
      onAnotherHistory()
    }
    return again
  }
}

extension SecretsRead {
  /// From the rows of a look-up, each with the position and, if something was found, its hash and value.
  init(_ rows: [(position: LogPosition, found: (SecretHash, Result<Value, PostgresError>)?)]) throws(PostgresError) {
    guard let position = rows.first?.position else {
      throw PostgresError(.protocolViolation, "invalidation_head is empty")
    }
    self.init(position: position, values: [:])
    for (hash, value) in rows.compactMap(\.found) {
      switch value {
      case .success(let value): values[hash] = value
      case .failure(let error): failures[hash] = error
      }
    }
  }
}
