import NIOCore
import PortalHTTP

/// The state of a connection in front of the HTTP decoder, as a value: no bytes, no I/O and no clock.
///
/// `FastPathHandler` reports events to it and does what it returns. While ``next(isWritable:)`` returns something to do
/// with the bytes that have arrived, it is called again.
struct FastPathState: Sendable {
  /// What the next bytes are.
  enum Phase: Sendable {
    /// The beginning of a request, whose head is incomplete with fewer than `atLeast` bytes.
    case plain(atLeast: Int)
    /// A request that may be answered here once it is whole: ``request``.
    case framed
    /// ``request``, whose keys are being looked up.
    case lookingUp(number: Int)
    /// `rest` of the bytes belong to a request for the decoder; what follows waits until that is answered.
    case waiting(rest: Int, isAnswered: Bool)
    /// All bytes go to the decoder, for the rest of the connection.
    case decoding
    /// Bytes after the last request, which are dropped.
    case ended
  }

  /// What to do with the bytes that have arrived.
  enum Step: Sendable {
    /// Do nothing until something else happens.
    case wait
    /// Parse the request at their beginning, and report it with ``framed(_:isGathered:)``.
    case frame
    /// Answer ``request`` after ``lookUp``, and report the result with ``answered()``, ``declined()`` or
    /// ``beginLookUp()``.
    case answer
    /// Pass on this number of bytes.
    case handOn(Int)
    /// Drop this number of bytes.
    case drop(Int)
    /// Call ``resume(at:isWritable:)`` in a later turn of the event loop.
    case resumeSoon
  }

  /// What to do after an event.
  enum Sequel: Equatable, Sendable {
    case nothing
    /// Look again at the bytes and at what was held back.
    case goOn
    /// Call ``resume(at:isWritable:)`` in a later turn of the event loop, not from within a write.
    case resumeSoon
    case close
  }

  /// Why the connection takes no more requests.
  private enum Ending: Equatable, Sendable {
    case none
    /// There are too many connections.
    case givenUp
    /// The server is shutting down and waits until the client has taken the output.
    case closing
  }

  /// Bytes that may wait behind a request that was passed on before reading stops.
  private static let waitingCountMax = 64 << 10

  private(set) var phase: Phase
  /// The request at the beginning of the bytes, and what was looked up for it. Not in `phase`, which is copied often.
  private(set) var request = PlainRequest.none
  private(set) var lookUp: FastPath.LookUp?
  /// Bytes that have arrived and were neither answered nor passed on.
  private(set) var pendingCount = 0
  /// When the deadlines have to be checked, at the latest.
  private(set) var checkAt = NIODeadline.distantFuture
  /// Whether a read of the channel is held back until it is allowed.
  private(set) var isReadHeld = false

  private var deadlines: ConnectionDeadlines
  /// When bytes last arrived, or when another event last resumed their processing.
  private var now: NIODeadline
  private var ending = Ending.none
  /// Whether bytes wait until the client takes its answers.
  private var isBlocked = false
  /// Whether the channel was asked for bytes and has not delivered them yet.
  private var isReading = false
  /// Whether anything was passed on since the decoder last got the end of a read.
  private var hasHandedOn = false
  /// Whether the end of the client's input, or the server's shutdown, has yet to be passed on: it must not overtake a
  /// request.
  private var isInputEndHeld = false
  private var isShutdownHeld = false
  private var lookUpNumber = 0
  /// Whole requests that have arrived behind the decoder and are not answered.
  private var unansweredCount = 0
  /// Bytes read and written, in total.
  private var readCount = 0
  private var writtenCount = 0

  /// A connection opened at `now`. If `answers` is false, everything is passed on.
  init(_ timeouts: ConnectionTimeouts, answers: Bool, openedAt now: NIODeadline) {
    self.now = now
    deadlines = ConnectionDeadlines(timeouts, openedAt: now)
    phase = answers ? .plain(atLeast: 0) : .decoding
    ensureCheck(by: now + TimeAmount(timeouts.idle))
  }

  // MARK: Bytes

  /// Notes that bytes arrived.
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
    case .framed:
      guard hasRoom(isWritable), pendingCount >= request.byteCount else { return .wait }
      deadlines.input = .none
      return .answer
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

  /// A client that takes no answers gets no further ones.
  private mutating func hasRoom(_ isWritable: Bool) -> Bool {
    isBlocked = !isWritable || ending == .closing
    return !isBlocked
  }

  private mutating func handOn(_ count: Int) -> Step {
    pendingCount -= count
    hasHandedOn = true
    return .handOn(count)
  }

  /// Notes what is at the beginning of the bytes. `isGathered` says whether the body of a request is buffered here
  /// before anything is done with it.
  mutating func framed(_ framing: PlainRequest.Framing, isGathered: Bool) {
    switch framing {
    case .incomplete(let atLeast):
      phase = .plain(atLeast: atLeast)
      beginHead()
    case .notPlain: phase = .decoding
    case .body(let request):
      beginBody()
      if isGathered { hold(request) } else { phase = .waiting(rest: request.byteCount, isAnswered: false) }
    case .complete(let request): hold(request)
    }
  }

  private mutating func hold(_ request: PlainRequest) {
    self.request = request
    lookUp = nil
    phase = .framed
  }

  /// Notes that the request was answered here. Returns its size in bytes.
  mutating func answered() -> Int {
    guard case .framed = phase else { return 0 }
    phase = .plain(atLeast: 0)
    lookUp = nil
    pendingCount -= request.byteCount
    deadlines.activeAt = now
    return request.byteCount
  }

  /// Notes that the request is for the ordinary route.
  mutating func declined() {
    guard case .framed = phase else { return }
    phase = .waiting(rest: request.byteCount, isAnswered: false)
    lookUp = nil
  }

  // MARK: Look-ups

  /// Notes that keys of the request are being looked up. Returns the number of the look-up.
  mutating func beginLookUp() -> Int {
    guard case .framed = phase else { return lookUpNumber }
    lookUpNumber += 1
    phase = .lookingUp(number: lookUpNumber)
    deadlines.activeAt = now
    return lookUpNumber
  }

  /// Notes that a look-up has ended or takes too long; only the first of the two has an effect. The request keeps what
  /// was found, even if it has to wait until the client takes other answers.
  mutating func endLookUp(_ number: Int, _ lookUp: FastPath.LookUp, at now: NIODeadline) -> Sequel {
    guard case .lookingUp(number: number) = phase else { return .nothing }
    phase = .framed
    self.lookUp = lookUp
    self.now = now
    deadlines.activeAt = now
    return .goOn
  }

  // MARK: The decoder's side

  /// Notes the progress of a request that was passed on.
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

  /// Returns what to do now that a request was answered or the client takes its answers again.
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

  /// Whether to pass on the end of a read now.
  mutating func takeCompletion() -> Bool {
    defer { hasHandedOn = false }
    if case .decoding = phase { return true }
    return hasHandedOn
  }

  // MARK: Reading

  /// Whether to read from the channel now. If not, the read is held back.
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

  /// Whether nothing behind the decoder can have a reason to hold back a read: it has no request, and got no bytes.
  var isIdleBehind: Bool {
    guard unansweredCount == 0, !hasHandedOn else { return false }
    return switch phase {
    case .plain, .framed, .lookingUp: true
    case .waiting, .decoding, .ended: false
    }
  }

  /// Notes that the channel has delivered all that there was.
  mutating func completeRead() { isReading = false }

  // MARK: Ends

  /// Notes that the client has ended its input. Returns whether to pass that on now.
  mutating func inputClosed() -> Bool {
    isInputEndHeld = pendingCount > 0
    return !isInputEndHeld
  }

  /// Whether to pass on the end of the client's input now. An incomplete request is passed on first: the decoder judges
  /// it.
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

  /// Notes that the server is shutting down. Returns whether to pass that on now: the handlers behind the decoder close
  /// a connection if they know of no request on it.
  mutating func shutDown(at now: NIODeadline) -> Bool {
    ensureCheck(by: deadlines.shutDown(at: now))
    isShutdownHeld = hasRequestPending
    return !isShutdownHeld
  }

  /// Whether to pass on the server's shutdown now.
  mutating func takeShutdown() -> Bool {
    guard isShutdownHeld, !hasRequestPending else { return false }
    isShutdownHeld = false
    return true
  }

  /// Whether bytes have arrived that are, or may be, answered here.
  private var hasRequestPending: Bool {
    switch phase {
    case .plain, .framed, .lookingUp: pendingCount > 0
    case .waiting, .decoding, .ended: false
    }
  }

  /// Whether the server is shutting down.
  var isShuttingDown: Bool { deadlines.isShuttingDown }

  /// Whether the connection closes once its output is taken.
  var isClosing: Bool { ending == .closing }

  /// Notes that the connection is to be closed once its output is taken.
  mutating func closeAfterOutput() { ending = .closing }

  /// Notes that there are too many connections and that this one is to be closed: after the answer, if a request is
  /// being answered.
  mutating func giveUp(isWritable: Bool) -> Sequel {
    if ending == .none { ending = .givenUp }
    return isAnswering(isWritable) ? .nothing : .close
  }

  /// Returns `.close` if the connection was given up and has no answer to wait for.
  func closeIfGivenUp(_ isWritable: Bool) -> Sequel {
    ending == .givenUp && !isAnswering(isWritable) ? .close : .nothing
  }

  // MARK: The client

  /// The connection's present activity, for ``ConnectionLimit``.
  func activity(isWritable: Bool) -> ConnectionActivity {
    ConnectionActivity(since: deadlines.activeAt.uptimeNanoseconds, isAnswering: isAnswering(isWritable))
  }

  /// False if the client does not take its answer: otherwise a client that reads nothing could never be closed.
  private func isAnswering(_ isWritable: Bool) -> Bool { hasUnanswered && isWritable }

  private var hasUnanswered: Bool {
    if case .lookingUp = phase { return true }
    return unansweredCount > 0
  }

  /// Notes that bytes were written.
  mutating func wrote(_ count: Int) { writtenCount += count }

  /// Notes that the client takes its answers again, or no longer does. `bufferedCount` is the number of bytes left to
  /// take.
  mutating func writabilityChanged(_ isWritable: Bool, bufferedCount: Int, at now: NIODeadline) -> Sequel {
    if !isWritable, let deadline = deadlines.noteOutput(standing(bufferedCount, at: now)) { ensureCheck(by: deadline) }
    if hasUnanswered { deadlines.activeAt = now }
    if isWritable, isBlocked || isReadHeld { return .resumeSoon }
    return hasUnanswered ? closeIfGivenUp(isWritable) : .nothing
  }

  // MARK: Deadlines

  /// Checks the deadlines. Unless the connection is to be closed, ``checkAt`` says when to check again.
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

  /// There is one scheduled check at a time. An earlier deadline moves it, which is rare; a later one is seen when it
  /// runs.
  private mutating func ensureCheck(by deadline: NIODeadline) { checkAt = min(checkAt, deadline) }

  private func standing(_ bufferedCount: Int, at now: NIODeadline) -> ConnectionDeadlines.Standing {
    ConnectionDeadlines.Standing(
      now: now, readCount: readCount, isReading: isReading, isAnswering: hasUnanswered,
      sentCount: writtenCount - bufferedCount, bufferedCount: bufferedCount)
  }
}
