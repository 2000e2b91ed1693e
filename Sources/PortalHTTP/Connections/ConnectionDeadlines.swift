import NIOCore

/// How long the client of a connection may take before it is closed.
package struct ConnectionTimeouts: Equatable, Sendable {
  /// Between two requests.
  package var idle: Duration = .seconds(75)
  /// From the first byte of a head to its last one.
  package var head: Duration = .seconds(10)
  /// For a body, beside the time for its bytes by ``bodyRateMin``.
  package var body: Duration = .seconds(30)
  /// Bytes of a body a second.
  package var bodyRateMin = 4 << 10
  /// While it takes nothing of what it has been answered.
  package var output: Duration = .seconds(60)
  /// For everything that is under way when the server is to end.
  package var shutdown: Duration = .seconds(10)

  package init() {}
}

/// When the connection of a slow client is closed; as a value: no I/O and no clock in here.
package struct ConnectionDeadlines: Equatable, Sendable {
  /// What of a request has come in, and no more.
  package enum Input: Equatable, Sendable {
    /// Nothing.
    case none
    case head(since: NIODeadline)
    /// The head, when `readCount` bytes of the connection had been read.
    case body(since: NIODeadline, readCount: Int)
  }

  /// What the connection does at the moment of a check.
  package struct Standing: Equatable, Sendable {
    package var now: NIODeadline
    /// Bytes that were read, in all.
    package var readCount = 0
    /// Whether the server waits for bytes; if it does not, nobody is slow who sends none.
    package var isReading = true
    /// Whether a whole request is being answered.
    package var isAnswering = false
    /// Bytes that the client has taken, in all.
    package var sentCount = 0
    /// Bytes that it is to take.
    package var bufferedCount = 0
  }

  /// What follows from a check.
  package enum Outcome: Equatable, Sendable {
    case close
    case check(at: NIODeadline)
  }

  /// Output that the client was to take, as it was seen last.
  private struct Output: Equatable, Sendable {
    var sentCount: Int
    /// When some of it was taken last, as far as is known.
    var since: NIODeadline
  }

  /// Checks in the time that a client may take nothing: how much it has taken is seen at a check alone.
  private static let outputCheckCount = 4

  package let timeouts: ConnectionTimeouts
  package var input = Input.none
  /// When the last whole request came or was answered, or the connection was opened.
  package var activeAt: NIODeadline
  private var output: Output?
  private var shutdownEnd: NIODeadline?

  package init(_ timeouts: ConnectionTimeouts, openedAt: NIODeadline) {
    self.timeouts = timeouts
    activeAt = openedAt
  }

  /// Whether the server is to end.
  package var isShuttingDown: Bool { shutdownEnd != nil }

  /// Notes that the server is to end. Returns when there is to be a check.
  package mutating func shutDown(at now: NIODeadline) -> NIODeadline {
    let end = shutdownEnd ?? now + TimeAmount(timeouts.shutdown)
    shutdownEnd = end
    return end
  }

  /// Notes the first bytes of a head. Returns when there is to be a check; nil if they were noted before.
  package mutating func beginHead(at now: NIODeadline) -> NIODeadline? {
    guard input == .none else { return nil }
    input = .head(since: now)
    return now + TimeAmount(timeouts.head)
  }

  /// Notes the end of a head that a body follows. Returns when there is to be a check; nil if it was noted before.
  package mutating func beginBody(at now: NIODeadline, readCount: Int) -> NIODeadline? {
    if case .body = input { return nil }
    input = .body(since: now, readCount: readCount)
    return now + TimeAmount(timeouts.body)
  }

  /// Notes how much of the output is left. Returns when there is to be a check; nil if there is none.
  package mutating func noteOutput(_ standing: Standing) -> NIODeadline? {
    guard standing.bufferedCount > 0 else {
      output = nil
      return nil
    }
    if output?.sentCount != standing.sentCount {
      output = Output(sentCount: standing.sentCount, since: standing.now)
    }
    return output.map { $0.since + TimeAmount(timeouts.output) }
  }

  /// Whether the connection is to be closed, and when to ask again.
  package mutating func check(_ standing: Standing) -> Outcome {
    let now = standing.now
    if !standing.isReading { suspendInput(standing) }
    let outputEnd = noteOutput(standing)
    let ends = [shutdownEnd, outputEnd, inputEnd(standing), idleEnd(standing)].compactMap { $0 }
    let end = ends.min() ?? now + TimeAmount(timeouts.idle)
    if end <= now { return .close }
    guard outputEnd != nil else { return .check(at: end) }
    return .check(at: min(end, now + TimeAmount(timeouts.output / Self.outputCheckCount)))
  }

  /// The client has its time from the moment on at which the server waits for it again.
  private mutating func suspendInput(_ standing: Standing) {
    switch input {
    case .none: break
    case .head: input = .head(since: standing.now)
    case .body: input = .body(since: standing.now, readCount: standing.readCount)
    }
  }

  private func inputEnd(_ standing: Standing) -> NIODeadline? {
    guard standing.isReading else { return nil }
    switch input {
    case .none: return nil
    case .head(let since): return since + TimeAmount(timeouts.head)
    case .body(let since, let readCount):
      let seconds = Double(standing.readCount - readCount) / Double(timeouts.bodyRateMin)
      return since + TimeAmount(timeouts.body + .seconds(seconds))
    }
  }

  /// Nil while something else bounds it.
  private func idleEnd(_ standing: Standing) -> NIODeadline? {
    if standing.isAnswering || standing.bufferedCount > 0 { return nil }
    if input != .none, standing.isReading { return nil }
    return activeAt + TimeAmount(timeouts.idle)
  }
}
