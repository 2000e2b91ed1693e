import DequeModule

/// The state of one connection, as a value: which batch of statements is running, which are queued behind it, and
/// whether it is being cancelled. No I/O and no clock in here.
///
/// One batch runs at a time, so that a cancel request, which PostgreSQL applies to whatever the backend is running, can
/// never hit another caller's statement: the next batch is sent only when both the result of the previous one *and* the
/// end of its cancel request have arrived. Statements are pipelined within a batch.
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

  /// The effect that a batch can have by itself.
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

  /// A report from the server (or libpq).
  enum Event {
    /// A statement succeeded. `isWanted` is false for the result of a `prepare` or a `begin`.
    case success(Output, isWanted: Bool)
    case failure(PostgresError)
    /// A statement was skipped because one before it in the batch failed.
    case aborted
    /// The batch has ended.
    case end
  }

  enum CancelAction {
    case none
    /// The batch had not been sent; fail its waiter.
    case fail(Waiter)
    /// Ask the server to cancel the batch.
    case requestCancel
    /// The server is committing. Cancelling that would make the change visible before a standby has it, so only the
    /// waiter is released; ``isSettling`` is true until the server has answered.
    case leave(Waiter)
  }

  struct Completion {
    /// Nil when the waiter has already been released with an unknown outcome.
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
    /// The server's warning that perhaps no standby has the commit.
    var replicationWarning: String?

    var isAnswered: Bool { outputs.count == commandCount }

    /// Whether only the end of a commit is still to come.
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

  /// Whether nothing is running or queued. A cancel request may still be in progress: it delays the next batch and
  /// harms none.
  var isIdle: Bool { running == nil && queue.isEmpty }
  /// Whether a cancellation is in progress: the server's answer or the end of the cancel request is still to come.
  var isCancelling: Bool { isCancelRequestOut || running?.cancelReason != nil }
  var runningID: BatchID? { running?.id }
  /// Whether the server is still committing a batch whose waiter was released. The connection takes no other batch.
  var isSettling: Bool { running.map { $0.waiter == nil } ?? false }
  /// Whether the server has refused a statement of the running batch.
  var hasFailed: Bool { running?.error != nil }

  /// Adds a batch; the caller sends the batch that is returned. Must not be called once closed.
  mutating func submit(_ batch: Batch) -> Batch? {
    // Holds whatever the server sends: the connection refuses a batch in the same turn if it is closed.
    precondition(closedBy == nil)
    queue.append(batch)
    return startNext()
  }

  /// Takes a report of the server; returns a completion when the batch has ended.
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

  /// The next batch to send, if none is running and one is queued.
  mutating func startNext() -> Batch? {
    guard running == nil, !isCancelRequestOut, let batch = queue.popFirst() else { return nil }
    running = Running(
      id: batch.id, commandCount: batch.commands.count, effect: batch.effect, waiter: batch.waiter)
    return batch
  }

  /// Records that the running batch is part of a transaction.
  mutating func runsInTransaction() {
    if running?.effect == .ownCommit { running?.effect = .none }
  }

  /// Records that the server has stopped waiting for a standby, and will answer that it has committed (PostgreSQL
  /// manual 27.2.8).
  mutating func committedWithoutStandby(_ warning: String) {
    running?.replicationWarning = warning
  }

  /// Gives up a batch, because its caller was cancelled (`.cancelled`) or its deadline has passed (`.timeout`).
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

  /// Releases the waiter if the server is committing.
  mutating func leave() -> CancelAction {
    guard let running, running.isCommitting, let waiter = running.waiter else { return .none }
    self.running?.waiter = nil
    return .leave(waiter)
  }

  /// Records that the cancel request has ended, whether it succeeded or not.
  mutating func cancelRequestEnded() {
    isCancelRequestOut = false
  }

  /// Closes permanently; the caller delivers the completions. `isRecent` says that the running batch was sent a moment
  /// ago, so that whatever ended the connection was not aimed at it.
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

  /// The error for the running batch when the connection closes.
  private func lost(_ running: Running, _ error: PostgresError, _ isRecent: Bool) -> PostgresError {
    var error = error
    if let reason = running.cancelReason { error.code = reason }
    error.sqlState = error.sqlState ?? running.error?.sqlState
    error.statement = error.statement ?? running.error?.statement
    let isRolledBack =
      switch running.effect {
      case .none: true
      case .script: false
      // Results come in order: if the server's last message took the place of one, the commit after it was never
      // reached.
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
    // 57014 is query_canceled, caused by our own request, whose reason we know.
    if error.sqlState == "57014", let reason = running.cancelReason { error.code = reason }
    return Completion(waiter: running.waiter, outcome: .failure(error))
  }
}
