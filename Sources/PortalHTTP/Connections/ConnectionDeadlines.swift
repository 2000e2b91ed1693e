package import NIOCore

/// How long the client of a connection may take before the connection is closed.
package struct ConnectionTimeouts: Equatable, Sendable {
  /// Between two requests.
  package var idle: Duration = .seconds(75)
  /// From the first byte of a head to its last one.
  package var head: Duration = .seconds(10)
  /// For a body, in addition to the time for its bytes at ``bodyRateMin``.
  package var body: Duration = .seconds(30)
  /// The slowest rate of a body, in bytes per second.
  var bodyRateMin = 4 << 10
  /// While it takes none of its answers.
  package var output: Duration = .seconds(60)
  /// For everything under way when the server shuts down.
  package var shutdown: Duration = .seconds(10)

  package init() {}
}

/// When the connection of a slow client is closed, as a value: no I/O and no clock.
package struct ConnectionDeadlines: Equatable, Sendable {
  /// The part of a request that has arrived.
  package enum Input: Equatable, Sendable {
    /// Nothing.
    case none
    case head(since: NIODeadline)
    /// The head; `readCount` bytes of the connection had been read by its end.
    case body(since: NIODeadline, readCount: Int)
  }

  /// The state of the connection at a check.
  package struct Standing: Equatable, Sendable {
    package var now: NIODeadline
    /// Bytes read, in total.
    package var readCount = 0
    /// Whether the server waits for bytes; if it does not, a client that sends none is not slow.
    package var isReading = true
    /// Whether a whole request is being answered.
    package var isAnswering = false
    /// Bytes that the client has taken, in total.
    package var sentCount = 0
    /// Bytes that it has yet to take.
    package var bufferedCount = 0

    package init(
      now: NIODeadline, readCount: Int = 0, isReading: Bool = true, isAnswering: Bool = false, sentCount: Int = 0,
      bufferedCount: Int = 0
    ) {
      self.now = now
      self.readCount = readCount
      self.isReading = isReading
      self.isAnswering = isAnswering
      self.sentCount = sentCount
      self.bufferedCount = bufferedCount
    }
  }

  /// The outcome of a check.
  package enum Outcome: Equatable, Sendable {
    case close
    case check(at: NIODeadline)
  }

  /// Output that the client had yet to take, as last seen.
  private struct Output: Equatable, Sendable {
    var sentCount: Int
    /// When the client last took some of it, as far as is known.
    var since: NIODeadline
  }

  /// Checks per ``ConnectionTimeouts/output``: how much a client has taken is only seen at a check.
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

  /// Whether the server is shutting down.
  package var isShuttingDown: Bool { shutdownEnd != nil }

  /// Notes that the server is shutting down. Returns when to check.
  package mutating func shutDown(at now: NIODeadline) -> NIODeadline {
    let end = shutdownEnd ?? now + TimeAmount(timeouts.shutdown)
    shutdownEnd = end
    return end
  }

  /// Notes the first bytes of a head. Returns when to check; nil if they were noted before.
  package mutating func beginHead(at now: NIODeadline) -> NIODeadline? {
    guard input == .none else { return nil }
    input = .head(since: now)
    return now + TimeAmount(timeouts.head)
  }

  /// Notes the end of a head that is followed by a body. Returns when to check; nil if it was noted before.
  package mutating func beginBody(at now: NIODeadline, readCount: Int) -> NIODeadline? {
    if case .body = input { return nil }
    input = .body(since: now, readCount: readCount)
    return now + TimeAmount(timeouts.body)
  }

  /// Notes how much of the output is left. Returns when to check; nil if none is left.
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

  /// Whether to close the connection, and when to check again.
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

  /// The client's time starts again when the server next waits for it.
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

  /// Nil while the connection is not idle.
  private func idleEnd(_ standing: Standing) -> NIODeadline? {
    if standing.isAnswering || standing.bufferedCount > 0 { return nil }
    if input != .none, standing.isReading { return nil }
    return activeAt + TimeAmount(timeouts.idle)
  }
}
