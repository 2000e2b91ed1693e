import DequeModule

/// What one connection is doing, as a value: which batch of statements is under way, which wait behind it, and whether
/// it is being cancelled. No I/O and no clock in here.
///
/// One batch is under way at a time, so that a cancel request, which PostgreSQL applies to whatever the backend is
/// running, can never hit somebody else's statement: the next batch is sent only when the result of the one before
/// *and* the end of its cancel request have come. Statements are pipelined within a batch.
///
/// Generic over the result and the waiter, so that tests need neither libpq nor continuations.
struct ConnectionState<Command, Output, Waiter> {
  typealias BatchID = UInt64

  struct Batch {
    let id: BatchID
    let commands: [Command]
    var effect = Effect.none
    let waiter: Waiter
  }

  /// What a batch can leave behind by itself.
  enum Effect {
    /// Nothing: it reads, or it is part of a transaction whose `commit` is still to come.
    case none
    /// It changes something, and is a transaction of its own (PostgreSQL manual 34.5.1.1): it commits at its end.
    case ownCommit
    /// It is `commit`.
    case commit
    /// A script, which may hold any number of transactions.
    case script
  }

  /// What the server (or libpq) said.
  enum Event {
    /// A statement ended well. `isWanted` is false for the result of a `prepare` or a `begin`.
    case success(Output, isWanted: Bool)
    case failure(PostgresError)
    /// A statement was skipped because one before it in the batch failed.
    case aborted
    /// The batch is over.
    case end
  }

  enum CancelAction {
    case none
    /// The batch had not been sent; tell its waiter.
    case fail(Waiter)
    /// Ask the server to cancel what it runs.
    case requestCancel
    /// The server commits. To cancel that would make the change visible before a standby has it, so only the waiter is
    /// told; ``isSettling`` holds until the server has answered.
    case leave(Waiter)
  }

  struct Completion {
    /// Nil when the waiter has been told before that the outcome is unknown.
    let waiter: Waiter?
    let outcome: Result<[Output], PostgresError>
  }

  private struct Running {
    let id: BatchID
    let commandCount: Int
    var effect: Effect
    var waiter: Waiter?
    var outputs: [Output] = []
    var error: PostgresError?
    var cancelReason: PostgresError.Code?
    /// What the server said of a commit that no standby may have.
    var replicationWarning: String?

    var isAnswered: Bool { outputs.count == commandCount }

    /// Whether all that is left to come is the end of a commit.
    var isCommitting: Bool {
      switch effect {
      case .none, .script: false
      case .ownCommit: error == nil && isAnswered
      case .commit: error == nil
      }
    }
  }

  private var running: Running?
  private var queue: Deque<Batch> = []
  private var isCancelRequestOut = false
  private(set) var closedBy: PostgresError?

  /// Whether nobody waits for anything. A cancel request may be out still: it delays the next batch, and harms none.
  var isIdle: Bool { running == nil && queue.isEmpty }
  /// Whether the server has been asked to cancel, and either its answer or the end of the asking is still to come.
  var isCancelling: Bool { isCancelRequestOut || running?.cancelReason != nil }
  var runningID: BatchID? { running?.id }
  /// Whether the server commits what nobody waits for any more. The connection takes no other batch.
  var isSettling: Bool { running.map { $0.waiter == nil } ?? false }
  /// Whether the server has refused a statement of the batch under way.
  var hasFailed: Bool { running?.error != nil }

  /// Adds a batch; the caller sends what comes back. Must not be called once closed.
  mutating func submit(_ batch: Batch) -> Batch? {
    precondition(closedBy == nil)
    queue.append(batch)
    return startNext()
  }

  /// Takes what the server said; a completion when the batch is over.
  mutating func receive(_ event: Event) -> Completion? {
    guard running != nil else { return nil }
    switch event {
    case .success(let output, let isWanted):
      if isWanted { running?.outputs.append(output) }
    case .failure(let error):
      if running?.error == nil { running?.error = error }
    case .aborted:
      break
    case .end:
      return endRunning()
    }
    return nil
  }

  /// The batch to send now that the one before is over, if any.
  mutating func startNext() -> Batch? {
    guard running == nil, !isCancelRequestOut, let batch = queue.popFirst() else { return nil }
    running = Running(
      id: batch.id, commandCount: batch.commands.count, effect: batch.effect, waiter: batch.waiter)
    return batch
  }

  /// The batch under way turns out to be part of a transaction.
  mutating func runsInTransaction() {
    if running?.effect == .ownCommit { running?.effect = .none }
  }

  /// The server has given up waiting for a standby, and will answer that it has committed (PostgreSQL manual 27.2.8).
  mutating func committedWithoutStandby(_ warning: String) {
    running?.replicationWarning = warning
  }

  /// Gives a batch up, because its caller was cancelled (`.cancelled`) or its time is over (`.timeout`).
  mutating func cancel(_ id: BatchID, reason: PostgresError.Code) -> CancelAction {
    if let running, running.id == id {
      if running.isCommitting { return leave() }
      guard running.cancelReason == nil else { return .none }
      self.running?.cancelReason = reason
      isCancelRequestOut = true
      return .requestCancel
    }
    guard let index = queue.firstIndex(where: { $0.id == id }) else { return .none }
    return .fail(queue.remove(at: index).waiter)
  }

  /// Lets the waiter go, if the server commits.
  mutating func leave() -> CancelAction {
    guard let running, running.isCommitting, let waiter = running.waiter else { return .none }
    self.running?.waiter = nil
    return .leave(waiter)
  }

  /// The cancel request has come to its end, whether it succeeded or not.
  mutating func cancelRequestEnded() {
    isCancelRequestOut = false
  }

  /// Closes for good; every waiter is to be told. `isRecent` says that the batch under way was sent a moment ago, so
  /// that what ended the connection was not meant for it.
  mutating func close(_ error: PostgresError, isRecent: Bool = false) -> [Completion] {
    guard closedBy == nil else { return [] }
    var unsent = error
    unsent.hasNoEffect = true
    closedBy = unsent
    var completions: [Completion] = []
    if let running {
      completions.append(Completion(waiter: running.waiter, outcome: .failure(lost(running, error, isRecent))))
    }
    completions += queue.map { Completion(waiter: $0.waiter, outcome: .failure(unsent)) }
    running = nil
    queue = []
    return completions
  }

  /// What the batch under way is told when the connection closes.
  private func lost(_ running: Running, _ error: PostgresError, _ isRecent: Bool) -> PostgresError {
    var error = error
    if let reason = running.cancelReason { error.code = reason }
    error.sqlState = error.sqlState ?? running.error?.sqlState
    error.statement = error.statement ?? running.error?.statement
    let isRolledBack =
      switch running.effect {
      case .none: true
      case .script: false
      // Results come in order: where a parting word stands in place of one, the commit behind it was never reached.
      case .ownCommit: running.error != nil && !running.isAnswered
      case .commit: false
      }
    if !isRolledBack, running.effect != .script { error.code = .commitUnknown }
    error.hasNoEffect = isRolledBack && isRecent && running.cancelReason == nil
    return error
  }

  private mutating func endRunning() -> Completion? {
    guard let running else { return nil }
    self.running = nil
    guard var error = running.error else {
      if let warning = running.replicationWarning {
        return Completion(waiter: running.waiter, outcome: .failure(PostgresError(.commitUnknown, warning)))
      }
      return Completion(waiter: running.waiter, outcome: .success(running.outputs))
    }
    // 57014 is query_canceled: our own request, so the reason is ours to name.
    if error.sqlState == "57014", let reason = running.cancelReason { error.code = reason }
    return Completion(waiter: running.waiter, outcome: .failure(error))
  }
}
