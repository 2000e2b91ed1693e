import NIOCore

/// What a connection does before the HTTP decoder, as a value: no bytes, no I/O and no clock in here.
///
/// `FastPathHandler` tells it what happens, and does what it says. While ``next(isWritable:)`` says that there is
/// something to do with the bytes that have come, it is asked again.
struct FastPathState: Sendable {
  /// What becomes of the bytes that come next.
  enum Phase: Sendable {
    /// They are the beginning of a request, whose head is not whole with less than `atLeast` of them.
    case plain(atLeast: Int)
    /// They are a request that may be answered here as soon as it is whole; and what was looked up for it.
    case framed(PlainRequest, FastPath.LookUp?)
    /// They are a request that waits for its keys.
    case lookingUp(PlainRequest, number: Int)
    /// `rest` of them belong to a request that goes to the decoder, and what follows waits until it is answered.
    case waiting(rest: Int, isAnswered: Bool)
    /// They are the decoder's, for the rest of the connection.
    case decoding
    /// They come behind the last request, and are for nobody.
    case ended
  }

  /// What is to be done with the bytes that have come.
  enum Step: Sendable {
    /// Nothing, until something else happens.
    case wait
    /// To look what stands at their beginning, and tell it by ``framed(_:isGathered:)``.
    case frame
    /// To answer this request, and tell by ``answered()``, ``declined()`` or ``beginLookUp()`` what has become of it.
    case answer(PlainRequest, after: FastPath.LookUp?)
    /// To hand on so many of them.
    case handOn(Int)
    /// To forget so many of them.
    case drop(Int)
    /// To ask ``resume(at:isWritable:)`` when the event loop has done what it is about.
    case resumeSoon
  }

  /// What is to be done after something has happened.
  enum Sequel: Equatable, Sendable {
    case nothing
    /// To look at the bytes again, and at what was held.
    case goOn
    /// To ask ``resume(at:isWritable:)`` when the event loop has done what it is about: not from within a write.
    case resumeSoon
    case close
  }

  /// Why the connection takes no more.
  private enum Ending: Equatable, Sendable {
    case none
    /// There are too many connections.
    case givenUp
    /// The server ends, and waits until the output is taken.
    case closing
  }

  /// Bytes that may wait behind a request that was handed on, before no more is read.
  private static let waitingCountMax = 64 << 10

  private(set) var phase: Phase
  /// Bytes that have come and were neither answered nor handed on.
  private(set) var pendingCount = 0
  /// When the deadlines are to be looked at, at the latest.
  private(set) var checkAt = NIODeadline.distantFuture
  /// Whether the channel is to be asked for bytes as soon as that may be.
  private(set) var isReadHeld = false

  private var deadlines: ConnectionDeadlines
  /// When bytes came, or something else had them looked at.
  private var now: NIODeadline
  private var ending = Ending.none
  /// Whether bytes wait until the client takes its answers.
  private var isBlocked = false
  /// Whether the channel was asked for bytes and has not brought them yet.
  private var isReading = false
  /// Whether something was handed on since the decoder was told that this was all.
  private var hasHandedOn = false
  /// Whether the client has ended its input, or the server is to end, and the decoder's side was not told yet: that is
  /// not to overtake a request.
  private var isInputEndHeld = false
  private var isShutdownHeld = false
  private var lookUpNumber = 0
  /// Requests that have come in whole behind the decoder and are not answered.
  private var unansweredCount = 0
  /// Bytes that came and that were written, in all.
  private var readCount = 0
  private var writtenCount = 0

  /// A connection that was opened `at` that time. If nothing is answered here, all is handed on.
  init(_ timeouts: ConnectionTimeouts, answers: Bool, openedAt now: NIODeadline) {
    self.now = now
    deadlines = ConnectionDeadlines(timeouts, openedAt: now)
    phase = answers ? .plain(atLeast: 0) : .decoding
    ensureCheck(by: now + TimeAmount(timeouts.idle))
  }

  // MARK: Bytes

  /// Notes that bytes came.
  mutating func read(_ count: Int, at now: NIODeadline) {
    self.now = now
    readCount += count
    pendingCount += count
  }

  mutating func next(isWritable: Bool) -> Step {
    isBlocked = false
    switch phase {
    case .plain(let atLeast):
      guard pendingCount > 0, hasRoom(isWritable), pendingCount >= atLeast else { return .wait }
      return .frame
    case .framed(let request, let lookUp):
      guard hasRoom(isWritable), pendingCount >= request.byteCount else { return .wait }
      deadlines.input = .none
      return .answer(request, after: lookUp)
    case .lookingUp: return .wait
    case .waiting(let rest, let isAnswered):
      let count = min(rest, pendingCount)
      if count == 0 { return rest == 0 && isAnswered ? .resumeSoon : .wait }
      phase = .waiting(rest: rest - count, isAnswered: isAnswered)
      if rest == count { deadlines.input = .none }
      return handOn(count)
    case .decoding:
      guard pendingCount > 0 else { return .wait }
      beginHead()
      return handOn(pendingCount)
    case .ended:
      guard pendingCount > 0 else { return .wait }
      defer { pendingCount = 0 }
      return .drop(pendingCount)
    }
  }

  /// While the client takes no answers, it gets no further ones.
  private mutating func hasRoom(_ isWritable: Bool) -> Bool {
    isBlocked = !isWritable || ending == .closing
    return !isBlocked
  }

  private mutating func handOn(_ count: Int) -> Step {
    pendingCount -= count
    hasHandedOn = true
    return .handOn(count)
  }

  /// Notes what stands at the beginning of the bytes. `isGathered` tells whether the body of a request is to come here
  /// before anything is done with it.
  mutating func framed(_ framing: PlainRequest.Framing, isGathered: Bool) {
    switch framing {
    case .incomplete(let atLeast):
      phase = .plain(atLeast: atLeast)
      beginHead()
    case .notPlain: phase = .decoding
    case .body(let request):
      beginBody()
      phase = isGathered ? .framed(request, nil) : .waiting(rest: request.byteCount, isAnswered: false)
    case .complete(let request): phase = .framed(request, nil)
    }
  }

  /// Notes that the request was answered here. Returns its bytes.
  mutating func answered() -> Int {
    guard case .framed(let request, _) = phase else { return 0 }
    phase = .plain(atLeast: 0)
    pendingCount -= request.byteCount
    deadlines.activeAt = now
    return request.byteCount
  }

  /// Notes that the request is not for here.
  mutating func declined() {
    guard case .framed(let request, _) = phase else { return }
    phase = .waiting(rest: request.byteCount, isAnswered: false)
  }

  // MARK: Look-ups

  /// Notes that keys of the request are looked up. Returns the number of the look-up.
  mutating func beginLookUp() -> Int {
    guard case .framed(let request, _) = phase else { return lookUpNumber }
    lookUpNumber += 1
    phase = .lookingUp(request, number: lookUpNumber)
    deadlines.activeAt = now
    return lookUpNumber
  }

  /// Notes that a look-up has ended, or that it takes too long: whichever comes second has no effect. What was found
  /// goes with the request, also if that has to wait until the client takes other answers.
  mutating func endLookUp(_ number: Int, _ lookUp: FastPath.LookUp, at now: NIODeadline) -> Sequel {
    guard case .lookingUp(let request, number: number) = phase else { return .nothing }
    phase = .framed(request, lookUp)
    self.now = now
    deadlines.activeAt = now
    return .goOn
  }

  // MARK: The decoder's side

  /// Notes what is told of a request that was handed on.
  mutating func progressed(_ progress: RequestProgress, at now: NIODeadline) -> Sequel {
    switch progress {
    case .begun:
      if case .decoding = phase { beginBody() }
      return .nothing
    case .received:
      switch phase {
      case .waiting, .decoding: deadlines.input = .none
      case .plain, .framed, .lookingUp, .ended: break
      }
      unansweredCount += 1
      deadlines.activeAt = now
      return .nothing
    case .answered:
      unansweredCount -= 1
      deadlines.activeAt = now
      if case .waiting(let rest, _) = phase {
        phase = .waiting(rest: rest, isAnswered: true)
        if rest == 0 { return .resumeSoon }
      }
      return ending == .givenUp ? .resumeSoon : .nothing
    case .last:
      phase = .ended
      deadlines.input = .none
      return .nothing
    }
  }

  /// What there is to do now that the request is answered, or the client takes its answers again.
  mutating func resume(at now: NIODeadline, isWritable: Bool) -> Sequel {
    if ending == .givenUp { return closeIfGivenUp(isWritable) }
    switch phase {
    case .waiting(rest: 0, isAnswered: true):
      phase = .plain(atLeast: 0)
      hasHandedOn = true
    case .plain, .framed:
      guard isWritable, isBlocked || isReadHeld else { return .nothing }
    case .waiting, .lookingUp, .decoding, .ended: return .nothing
    }
    self.now = now
    return .goOn
  }

  /// Whether the decoder's side is to be told that what was handed on is all for now.
  mutating func takeCompletion() -> Bool {
    defer { hasHandedOn = false }
    if case .decoding = phase { return true }
    return hasHandedOn
  }

  // MARK: Reading

  /// Whether the channel is to be asked for bytes now. If not, it is to be asked later.
  mutating func requestRead(isWritable: Bool) -> Bool {
    let isFull =
      switch phase {
      case .plain, .framed: !isWritable
      case .lookingUp, .waiting: pendingCount > Self.waitingCountMax
      case .decoding, .ended: false
      }
    isReadHeld = isFull || ending != .none
    if !isReadHeld { isReading = true }
    return !isReadHeld
  }

  /// Notes that the channel has brought all that there was.
  mutating func completeRead() { isReading = false }

  // MARK: Ends

  /// Notes that the client has ended its input. Returns whether the decoder's side is told now.
  mutating func inputClosed() -> Bool {
    isInputEndHeld = pendingCount > 0
    return !isInputEndHeld
  }

  /// Whether the decoder's side is told now that the client has ended its input. What is left, half a request, is the
  /// decoder's to judge, and goes before.
  mutating func takeInputEnd() -> Bool {
    guard isInputEndHeld, !isBlocked else { return false }
    switch phase {
    case .lookingUp, .waiting: return false
    case .plain, .framed: if pendingCount > 0 { phase = .decoding }
    case .decoding, .ended: break
    }
    isInputEndHeld = false
    return true
  }

  /// Notes that the server is to end. Returns whether the decoder's side is told now: it closes connections of whose
  /// requests it does not know.
  mutating func shutDown(at now: NIODeadline) -> Bool {
    ensureCheck(by: deadlines.shutDown(at: now))
    isShutdownHeld = hasRequestPending
    return !isShutdownHeld
  }

  /// Whether the decoder's side is told now that the server is to end.
  mutating func takeShutdown() -> Bool {
    guard isShutdownHeld, !hasRequestPending else { return false }
    isShutdownHeld = false
    return true
  }

  /// Whether something has come in that is to be answered here, or may be.
  private var hasRequestPending: Bool {
    switch phase {
    case .plain, .framed, .lookingUp: pendingCount > 0
    case .waiting, .decoding, .ended: false
    }
  }

  /// Whether the server is to end.
  var isShuttingDown: Bool { deadlines.isShuttingDown }

  /// Whether the connection is closed when its output is taken.
  var isClosing: Bool { ending == .closing }

  /// Notes that the connection is to be closed when its output is taken.
  mutating func closeAfterOutput() { ending = .closing }

  /// Notes that there are too many connections, and this one is to be closed: after the answer, if a request is being
  /// answered.
  mutating func giveUp(isWritable: Bool) -> Sequel {
    if ending == .none { ending = .givenUp }
    return isAnswering(isWritable) ? .nothing : .close
  }

  /// Whether the connection was given up and has no answer to wait for any more.
  func closeIfGivenUp(_ isWritable: Bool) -> Sequel {
    ending == .givenUp && !isAnswering(isWritable) ? .close : .nothing
  }

  // MARK: The client

  /// What the connection does, and since when, for the limit of all connections.
  func activity(isWritable: Bool) -> ConnectionActivity {
    ConnectionActivity(since: deadlines.activeAt.uptimeNanoseconds, isAnswering: isAnswering(isWritable))
  }

  /// False if the client does not take its answer: else whoever reads nothing could never be closed.
  private func isAnswering(_ isWritable: Bool) -> Bool { hasUnanswered && isWritable }

  private var hasUnanswered: Bool {
    if case .lookingUp = phase { return true }
    return unansweredCount > 0
  }

  /// Notes that bytes were written.
  mutating func wrote(_ count: Int) { writtenCount += count }

  /// Notes that the client takes its answers again, or no longer. `bufferedCount` is what it is to take, in bytes.
  mutating func writabilityChanged(_ isWritable: Bool, bufferedCount: Int, at now: NIODeadline) -> Sequel {
    if !isWritable, let deadline = deadlines.noteOutput(standing(bufferedCount, at: now)) { ensureCheck(by: deadline) }
    if hasUnanswered { deadlines.activeAt = now }
    if isWritable, isBlocked || isReadHeld { return .resumeSoon }
    return hasUnanswered ? closeIfGivenUp(isWritable) : .nothing
  }

  // MARK: Deadlines

  /// Looks at the deadlines. Unless the connection is to be closed, ``checkAt`` says when to do so again.
  mutating func check(bufferedCount: Int, at now: NIODeadline) -> Sequel {
    checkAt = .distantFuture
    switch deadlines.check(standing(bufferedCount, at: now)) {
    case .close: return .close
    case .check(let deadline):
      ensureCheck(by: deadline)
      return .nothing
    }
  }

  private mutating func beginHead() {
    if let deadline = deadlines.beginHead(at: now) { ensureCheck(by: deadline) }
  }

  private mutating func beginBody() {
    if let deadline = deadlines.beginBody(at: now, readCount: readCount) { ensureCheck(by: deadline) }
  }

  /// There is one check at any time. Whoever needs an earlier one moves it, which is seldom: until it has come, it is
  /// early enough for all who follow.
  private mutating func ensureCheck(by deadline: NIODeadline) { checkAt = min(checkAt, deadline) }

  private func standing(_ bufferedCount: Int, at now: NIODeadline) -> ConnectionDeadlines.Standing {
    ConnectionDeadlines.Standing(
      now: now, readCount: readCount, isReading: isReading, isAnswering: hasUnanswered,
      sentCount: writtenCount - bufferedCount, bufferedCount: bufferedCount)
  }
}
