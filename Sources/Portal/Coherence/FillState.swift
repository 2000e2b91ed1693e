/// The look-ups of unknown secrets that are in progress, as a value: no I/O and no clock in here.
///
/// One look-up per secret at a time (single flight); look-ups that arrive while the maximum number of statements is in
/// progress are combined into the next one. A result may be used until the lease after the statement was *sent*: later
/// requests go into the next statement, and a caller that has waited for longer gets an error.
struct FillState<Waiter> {
  typealias BatchID = UInt64

  struct Limits {
    var lease: Duration = .seconds(2)
    var batchesInFlightMax = 2
    var secretsPerBatchMax = 500
    /// The maximum number of waiting callers; any more are refused.
    var waiterCountMax = 20_000
  }

  struct Batch {
    let id: BatchID
    let hashes: [SecretHash]
    /// The texts of those secrets whose callers have given them.
    var secrets: [SecretHash: Secret] = [:]
  }

  enum RequestAction {
    /// Send this now; the caller waits.
    case send(Batch)
    /// The caller waits for a statement in progress, or for the next one.
    case wait
    case refuse
  }

  /// The work that is left when a statement has ended.
  struct EndAction {
    /// The waiters that get the result, by secret.
    var deliver: [(hash: SecretHash, waiters: [Waiter])] = []
    /// Whether the result is at least as old as the lease, so that it must not be used.
    var isTooLate = false
    var send: Batch?
  }

  private struct InFlight {
    let sentAt: ContinuousClock.Instant
    var waiters: [SecretHash: [Waiter]]
  }

  private let limits: Limits
  private var pending: [SecretHash: [Waiter]] = [:]
  private var pendingSecrets: [SecretHash: Secret] = [:]
  private var inFlight: [BatchID: InFlight] = [:]
  private var nextID: BatchID = 0
  private(set) var waiterCount = 0

  init(limits: Limits) { self.limits = limits }

  /// Asks for the value of a secret, whose text is needed if it may be an imported key.
  mutating func request(
    _ hash: SecretHash, _ waiter: Waiter, secret: Secret? = nil, at now: ContinuousClock.Instant
  ) -> RequestAction {
    guard waiterCount < limits.waiterCountMax else { return .refuse }
    waiterCount += 1
    for (id, batch) in inFlight where batch.waiters[hash] != nil && now < batch.sentAt + limits.lease {
      inFlight[id]?.waiters[hash]?.append(waiter)
      return .wait
    }
    pending[hash, default: []].append(waiter)
    if let secret { pendingSecrets[hash] = secret }
    return takeBatch(at: now).map { .send($0) } ?? .wait
  }

  /// Records that a statement has returned or was given up; a second call for the same statement does nothing.
  mutating func ended(_ id: BatchID, at now: ContinuousClock.Instant) -> EndAction {
    guard let batch = inFlight.removeValue(forKey: id) else { return EndAction() }
    waiterCount -= batch.waiters.values.reduce(0) { $0 + $1.count }
    return EndAction(
      deliver: batch.waiters.map { (hash: $0.key, waiters: $0.value) }, isTooLate: now >= batch.sentAt + limits.lease,
      send: takeBatch(at: now))
  }

  private mutating func takeBatch(at now: ContinuousClock.Instant) -> Batch? {
    guard !pending.isEmpty, inFlight.count < limits.batchesInFlightMax else { return nil }
    nextID += 1
    var waiters: [SecretHash: [Waiter]] = [:]
    var secrets: [SecretHash: Secret] = [:]
    if pending.count <= limits.secretsPerBatchMax {
      swap(&waiters, &pending)
      swap(&secrets, &pendingSecrets)
    } else {
      for (hash, waiting) in pending.prefix(limits.secretsPerBatchMax) {
        waiters[hash] = waiting
        pending[hash] = nil
        secrets[hash] = pendingSecrets.removeValue(forKey: hash)
      }
    }
    inFlight[nextID] = InFlight(sentAt: now, waiters: waiters)
    return Batch(id: nextID, hashes: Array(waiters.keys), secrets: secrets)
  }
}
