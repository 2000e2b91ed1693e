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
    /// Whether it ends a transaction: if the connection breaks under it, nobody knows whether it was committed.
    var isCommit = false
    let waiter: Waiter
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
  }

  struct Completion {
    let waiter: Waiter
    let outcome: Result<[Output], PostgresError>
  }

  private struct Running {
    let id: BatchID
    let isCommit: Bool
    let waiter: Waiter
    var outputs: [Output] = []
    var error: PostgresError?
    var cancelReason: PostgresError.Code?
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
    running = Running(id: batch.id, isCommit: batch.isCommit, waiter: batch.waiter)
    return batch
  }

  /// Gives a batch up, because its caller was cancelled (`.cancelled`) or its time is over (`.timeout`).
  mutating func cancel(_ id: BatchID, reason: PostgresError.Code) -> CancelAction {
    if running?.id == id {
      guard running?.cancelReason == nil else { return .none }
      running?.cancelReason = reason
      isCancelRequestOut = true
      return .requestCancel
    }
    guard let index = queue.firstIndex(where: { $0.id == id }) else { return .none }
    return .fail(queue.remove(at: index).waiter)
  }

  /// The cancel request has come to its end, whether it succeeded or not.
  mutating func cancelRequestEnded() {
    isCancelRequestOut = false
  }

  /// Closes for good; every waiter is to be told.
  mutating func close(_ error: PostgresError) -> [Completion] {
    guard closedBy == nil else { return [] }
    closedBy = error
    var completions: [Completion] = []
    if let running { completions.append(Completion(waiter: running.waiter, outcome: .failure(lost(running, error)))) }
    completions += queue.map { Completion(waiter: $0.waiter, outcome: .failure(error)) }
    running = nil
    queue = []
    return completions
  }

  /// What the batch under way is told when the connection closes.
  private func lost(_ running: Running, _ error: PostgresError) -> PostgresError {
    var error = error
    if let reason = running.cancelReason { error.code = reason }
    if running.isCommit { error.code = .commitUnknown }
    error.sqlState = error.sqlState ?? running.error?.sqlState
    error.statement = error.statement ?? running.error?.statement
    return error
  }

  private mutating func endRunning() -> Completion? {
    guard let running else { return nil }
    self.running = nil
    guard var error = running.error else {
      return Completion(waiter: running.waiter, outcome: .success(running.outputs))
    }
    // 57014 is query_canceled: our own request, so the reason is ours to name.
    if error.sqlState == "57014", let reason = running.cancelReason { error.code = reason }
    return Completion(waiter: running.waiter, outcome: .failure(error))
  }
}
