import Testing

@testable import Postgres

@Suite("ConnectionState")
struct ConnectionStateTests {
  typealias State = ConnectionState<String, Int, String>

  private var state = State()
  private let failure = PostgresError(.server, "no", sqlState: "23505", statement: "Insert")
  private let lost = PostgresError(.connectionLost, "gone")

  private let terminated = PostgresError(.server, "terminating", sqlState: "57P01", statement: "Sleep")

  private func batch(_ id: UInt64, _ effect: State.Effect = .none) -> State.Batch {
    State.Batch(id: id, commands: ["command \(id)"], effect: effect, waiter: "waiter \(id)")
  }

  /// What the waiters are told when the connection closes: code, and whether it may be sent again.
  private mutating func ends(isRecent: Bool = true) -> [String] {
    state.close(lost, isRecent: isRecent).map { completion in
      guard case .failure(let error) = completion.outcome else { return "success" }
      return "\(error.code)" + (error.hasNoEffect ? ", again" : "")
    }
  }

  @Test("a batch given to an idle connection is sent at once")
  mutating func sendsAtOnce() {
    #expect(state.isIdle)
    #expect(state.submit(batch(1))?.id == 1)
    #expect(!state.isIdle)
    #expect(state.runningID == 1)
  }

  @Test("a second batch waits until the first is over")
  mutating func oneAtATime() {
    _ = state.submit(batch(1))
    #expect(state.submit(batch(2)) == nil)
    #expect(state.startNext() == nil)
    #expect(state.receive(.end)?.waiter == "waiter 1")
    #expect(!state.isIdle)
    #expect(state.startNext()?.id == 2)
    #expect(state.startNext() == nil)
  }

  @Test("the wanted results of a batch reach its waiter in order, those of a prepare don't")
  mutating func results() throws {
    _ = state.submit(batch(1))
    #expect(state.receive(.success(0, isWanted: false)) == nil)
    #expect(state.receive(.success(1, isWanted: true)) == nil)
    #expect(state.receive(.success(2, isWanted: true)) == nil)
    let completion = state.receive(.end)
    #expect(try completion?.outcome.get() == [1, 2])
    #expect(state.isIdle)
  }

  @Test("the first failure of a batch is its outcome, and comes when the batch is over")
  mutating func firstFailure() throws {
    _ = state.submit(batch(1))
    #expect(state.receive(.success(1, isWanted: true)) == nil)
    #expect(state.receive(.failure(failure)) == nil)
    #expect(state.receive(.failure(PostgresError(.server, "later"))) == nil)
    #expect(state.receive(.aborted) == nil)
    let completion = state.receive(.end)
    let error = #expect(throws: PostgresError.self) { try completion?.outcome.get() }
    #expect(error?.sqlState == "23505")
  }

  @Test("what the server says while nothing runs is ignored")
  mutating func unasked() {
    #expect(state.receive(.end) == nil)
    #expect(state.receive(.failure(failure)) == nil)
    #expect(state.isIdle)
  }

  @Test("a batch cancelled before it was sent is taken out, and nothing is asked of the server")
  mutating func cancelQueued() {
    _ = state.submit(batch(1))
    _ = state.submit(batch(2))
    guard case .fail("waiter 2") = state.cancel(2, reason: .cancelled) else {
      Issue.record("not failed")
      return
    }
    #expect(!state.isCancelling)
    #expect(state.receive(.end)?.waiter == "waiter 1")
    #expect(state.startNext() == nil)
  }

  @Test("the batch under way is cancelled by one request only")
  mutating func cancelRunning() {
    _ = state.submit(batch(1))
    guard case .requestCancel = state.cancel(1, reason: .cancelled) else {
      Issue.record("not requested")
      return
    }
    #expect(state.isCancelling)
    guard case .none = state.cancel(1, reason: .timeout) else {
      Issue.record("requested twice")
      return
    }
  }

  @Test("cancelling a batch that is over does nothing")
  mutating func cancelOver() {
    _ = state.submit(batch(1))
    _ = state.receive(.end)
    guard case .none = state.cancel(1, reason: .cancelled) else {
      Issue.record("cancelled what was over")
      return
    }
    #expect(!state.isCancelling)
  }

  @Test("the next batch is held back until the cancel request has ended, though the cancelled one is over")
  mutating func requestOutlivesBatch() {
    _ = state.submit(batch(1))
    _ = state.submit(batch(2))
    _ = state.cancel(1, reason: .cancelled)
    _ = state.receive(.end)
    #expect(state.startNext() == nil)
    #expect(state.isCancelling)
    state.cancelRequestEnded()
    #expect(!state.isCancelling)
    #expect(state.startNext()?.id == 2)
  }

  @Test("the next batch is held back until the cancelled one is over, though the cancel request has ended")
  mutating func batchOutlivesRequest() {
    _ = state.submit(batch(1))
    _ = state.submit(batch(2))
    _ = state.cancel(1, reason: .cancelled)
    state.cancelRequestEnded()
    #expect(state.isCancelling)
    #expect(state.startNext() == nil)
    _ = state.receive(.end)
    #expect(!state.isCancelling)
    #expect(state.startNext()?.id == 2)
  }

  @Test("a connection counts as idle while only the end of a cancel request is to come, and holds a new batch back")
  mutating func idleWhileRequestOut() {
    _ = state.submit(batch(1))
    _ = state.cancel(1, reason: .timeout)
    _ = state.receive(.end)
    #expect(state.isIdle)
    #expect(state.submit(batch(2)) == nil)
    state.cancelRequestEnded()
    #expect(state.startNext()?.id == 2)
  }

  @Test("query_canceled after our own request has our reason", arguments: [PostgresError.Code.cancelled, .timeout])
  mutating func cancelReason(reason: PostgresError.Code) throws {
    _ = state.submit(batch(1))
    _ = state.cancel(1, reason: reason)
    _ = state.receive(.failure(PostgresError(.server, "canceling statement", sqlState: "57014")))
    let completion = state.receive(.end)
    let error = #expect(throws: PostgresError.self) { try completion?.outcome.get() }
    #expect(error?.code == reason)
    #expect(error?.sqlState == "57014")
  }

  @Test("query_canceled without our request is the server's own refusal")
  mutating func serverTimeout() throws {
    _ = state.submit(batch(1))
    _ = state.receive(.failure(PostgresError(.server, "statement timeout", sqlState: "57014")))
    let completion = state.receive(.end)
    let error = #expect(throws: PostgresError.self) { try completion?.outcome.get() }
    #expect(error?.code == .server)
  }

  @Test("another failure of a cancelled batch keeps its own code")
  mutating func otherFailure() throws {
    _ = state.submit(batch(1))
    _ = state.cancel(1, reason: .cancelled)
    _ = state.receive(.failure(failure))
    let completion = state.receive(.end)
    let error = #expect(throws: PostgresError.self) { try completion?.outcome.get() }
    #expect(error?.code == .server)
  }

  @Test("a batch that ended well in spite of a cancel request has succeeded")
  mutating func cancelCameTooLate() throws {
    _ = state.submit(batch(1))
    _ = state.cancel(1, reason: .cancelled)
    _ = state.receive(.success(7, isWanted: true))
    #expect(try state.receive(.end)?.outcome.get() == [7])
  }

  @Test("closing tells every waiter, in order, once")
  mutating func close() {
    for id in 1...3 { _ = state.submit(batch(UInt64(id))) }
    let completions = state.close(lost)
    #expect(completions.map(\.waiter) == ["waiter 1", "waiter 2", "waiter 3"])
    #expect(state.close(lost).isEmpty)
    #expect(state.closedBy?.code == .connectionLost)
    #expect(state.isIdle)
  }

  @Test("closing names the server's parting error to the batch under way")
  mutating func closeAfterError() throws {
    _ = state.submit(batch(1))
    _ = state.receive(.failure(PostgresError(.server, "terminating", sqlState: "57P01", statement: "Sleep")))
    let error = #expect(throws: PostgresError.self) { try state.close(lost)[0].outcome.get() }
    #expect(error?.code == .connectionLost)
    #expect(error?.sqlState == "57P01")
    #expect(error?.statement == "Sleep")
  }

  @Test("closing under a cancelled batch gives the reason of the cancellation")
  mutating func closeCancelled() throws {
    _ = state.submit(batch(1))
    _ = state.submit(batch(2))
    _ = state.cancel(1, reason: .timeout)
    let completions = state.close(lost)
    #expect(throws: PostgresError.self) { try completions[0].outcome.get() }
    let errors = completions.map { completion in
      if case .failure(let error) = completion.outcome { error.code } else { PostgresError.Code.server }
    }
    #expect(errors == [.timeout, .connectionLost])
  }

  @Test("closing under a commit leaves its outcome unknown; a commit not yet sent was not made")
  mutating func closeCommitting() throws {
    _ = state.submit(batch(1, .commit))
    _ = state.submit(batch(2, .commit))
    #expect(ends() == ["commitUnknown", "connectionLost, again"])
  }

  // MARK: Sending again

  @Test("what was not sent yet may be sent elsewhere", arguments: [State.Effect.none, .ownCommit, .script])
  mutating func unsent(effect: State.Effect) {
    _ = state.submit(batch(1, .commit))
    _ = state.submit(batch(2, effect))
    #expect(ends()[1] == "connectionLost, again")
    #expect(state.closedBy?.hasNoEffect == true)
  }

  @Test("a read may be sent again, unless it ran for long: then it may be what was meant")
  mutating func reads() {
    _ = state.submit(batch(1))
    #expect(ends() == ["connectionLost, again"])
    state = State()
    _ = state.submit(batch(1))
    #expect(ends(isRecent: false) == ["connectionLost"])
  }

  @Test("a change may be sent again when the server's parting word came in place of a result: it was not committed")
  mutating func terminatedChange() {
    _ = state.submit(batch(1, .ownCommit))
    _ = state.receive(.failure(terminated))
    #expect(ends() == ["connectionLost, again"])
  }

  @Test("the outcome of a change is unknown when the word came after its results, or none came")
  mutating func unknownChange() {
    _ = state.submit(batch(1, .ownCommit))
    #expect(ends() == ["commitUnknown"])
    state = State()
    _ = state.submit(batch(1, .ownCommit))
    _ = state.receive(.success(1, isWanted: true))
    _ = state.receive(.failure(terminated))
    #expect(ends() == ["commitUnknown"])
  }

  @Test("a change within a transaction is gone with it")
  mutating func changeInTransaction() {
    _ = state.submit(batch(1, .ownCommit))
    state.runsInTransaction()
    #expect(ends() == ["connectionLost, again"])
  }

  @Test("a script is never sent again once it was sent")
  mutating func script() {
    _ = state.submit(batch(1, .script))
    _ = state.receive(.failure(terminated))
    #expect(ends() == ["connectionLost"])
  }

  @Test("what was cancelled is not sent again")
  mutating func cancelledNotAgain() {
    _ = state.submit(batch(1))
    _ = state.cancel(1, reason: .cancelled)
    #expect(ends() == ["cancelled"])
  }

  // MARK: Commits

  @Test(
    "a commit is not cancelled: its waiter is let go, and its end is nobody's",
    arguments: [
      PostgresError.Code.timeout, .cancelled,
    ])
  mutating func leave(reason: PostgresError.Code) {
    _ = state.submit(batch(1, .commit))
    guard case .leave("waiter 1") = state.cancel(1, reason: reason) else {
      Issue.record("not left")
      return
    }
    #expect(state.isSettling)
    guard case .none = state.cancel(1, reason: reason) else {
      Issue.record("left twice")
      return
    }
    let completion = state.receive(.end)
    #expect(completion != nil && completion?.waiter == nil)
    #expect(!state.isSettling)
  }

  @Test("a change that is its own transaction is cancelled while it runs, and let go once it commits")
  mutating func leaveOwnCommit() {
    _ = state.submit(batch(1, .ownCommit))
    guard case .requestCancel = state.cancel(1, reason: .timeout) else {
      Issue.record("not cancelled")
      return
    }
    state.cancelRequestEnded()
    // The request came too late.
    _ = state.receive(.success(1, isWanted: true))
    guard case .leave("waiter 1") = state.leave() else {
      Issue.record("not left")
      return
    }
  }

  @Test("a read that has its results is not a commit")
  mutating func readIsNoCommit() {
    _ = state.submit(batch(1))
    _ = state.receive(.success(1, isWanted: true))
    guard case .none = state.leave() else {
      Issue.record("left")
      return
    }
  }

  @Test("a commit that no standby may have has an unknown outcome")
  mutating func withoutStandby() throws {
    _ = state.submit(batch(1, .ownCommit))
    _ = state.receive(.success(1, isWanted: true))
    state.committedWithoutStandby("canceling wait")
    let completion = state.receive(.end)
    let error = #expect(throws: PostgresError.self) { try completion?.outcome.get() }
    #expect(error?.code == .commitUnknown)
    #expect(error?.message == "canceling wait")
  }
}
