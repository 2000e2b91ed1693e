import NIOCore
import Portal

/// Told by whoever stands behind the decoder to `FastPathHandler`, which stands before it.
enum RequestProgress: Sendable {
  /// The head of a request has come in.
  case begun
  /// A request has come in whole.
  case received
  /// Its answer has been written.
  case answered
}

/// Stands before the HTTP decoder of a connection: answers plain requests of the hot routes at once, in one write for
/// all that came together, and hands on everything else.
///
/// Answers keep the order of their requests: a plain request that cannot be answered here is handed on alone, and what
/// follows waits until it is answered. It waits, too, while keys of a request are looked up that is answered here then.
/// What is not plain is handed on with all that follows, for the rest of the connection, since only the decoder then
/// knows where a request ends.
///
/// A body is gathered only for requests that may be answered here; of others it is handed on as it comes. While the
/// client takes no answers, nothing more is answered here or read.
///
/// It also closes the connections of slow clients (``ConnectionDeadlines``), because the framework's own handler for
/// that sees nothing of what is answered here; and it is the connection's place in the limit of all of them.
final class FastPathHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  typealias OutboundIn = IOData
  typealias OutboundOut = ByteBuffer

  private enum Phase {
    case plain
    /// A request was handed on, and is not answered yet or has not come in whole.
    case waiting
    /// Keys of the request that comes next are looked up.
    case lookingUp
    case decoding
  }

  /// Bytes that may wait behind a request that was handed on, before no more is read.
  private static let waitingSizeMax = 64 << 10
  /// Bytes of answers that are gathered before they are written, but for the last of them.
  private static let outputSizeMax = 64 << 10
  /// How long keys may be looked up before the ordinary route takes over, which knows what to do about that.
  private static let lookUpTimeMax: TimeAmount = .milliseconds(200)

  /// Nil if all is handed on.
  private let path: FastPath?
  private let limit: ConnectionLimit
  private let activity = NotedActivity()
  /// The number under which it leaves the limit; nil when it has left.
  private var place: UInt64?
  /// Whether the limit has chosen this connection to be closed.
  private var isGivenUp = false
  private var phase: Phase
  private var pending = ByteBuffer()
  /// Less than this is known not to be a whole request.
  private var wantedCount = 0
  private var output = ByteBuffer()
  private var hasOutput = false
  private var isUnflushed = false
  /// Whether requests wait until the client takes its answers.
  private var isBlocked = false
  private var scratch = FastPath.Scratch()
  /// What was looked up for the request that comes next.
  private var lookUp: FastPath.LookUp?
  private var lookUpNumber = 0
  /// What came during a look-up or with half a request, and is not to end the connection before its answer.
  private var heldEvents: [Any] = []
  private var hasHandedOn = false
  /// Of the request that was handed on: what is still to come of its body, and whether its answer has been written.
  private var bodyRest = 0
  private var isAnswered = false
  /// Whether the channel was asked for bytes and has not brought them yet.
  private var isReading = false
  private var isReadHeld = false
  /// Whether the client has ended its input, and nobody was told yet.
  private var isInputClosed = false
  /// Whether the connection is closed when its output is written.
  private var isClosing = false
  /// When bytes came, or something else had requests looked at.
  private var now = NIODeadline.uptimeNanoseconds(0)
  private var unansweredCount = 0
  /// Bytes that came and that were written, in all.
  private var readCount = 0
  private var writtenCount = 0
  private var deadlines: ConnectionDeadlines
  private var check: Scheduled<Void>?
  private var checkAt = NIODeadline.distantFuture

  init(_ path: FastPath?, timeouts: ConnectionTimeouts, limit: ConnectionLimit) {
    self.path = path
    self.limit = limit
    deadlines = ConnectionDeadlines(timeouts, openedAt: .uptimeNanoseconds(0))
    phase = path == nil ? .decoding : .plain
  }

  // MARK: In

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    now = context.eventLoop.now
    var bytes = unwrapInboundIn(data)
    readCount += bytes.readableBytes
    if phase == .decoding {
      beginHead(context)
      return context.fireChannelRead(data)
    }
    if bodyRest > 0 {
      handOnBody(context, &bytes)
      if bytes.readableBytes == 0 { return }
    }
    if pending.readableBytes == 0 { pending = bytes } else { pending.writeBuffer(&bytes) }
    // Whoever hands a request on has noted it already.
    if drain(context) { noteActivity(context) }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    isReading = false
    completeRead(context)
  }

  private func completeRead(_ context: ChannelHandlerContext) {
    flushOutput(context)
    // Where nothing was handed on, nothing is complete.
    if hasHandedOn || phase == .decoding { context.fireChannelReadComplete() }
    hasHandedOn = false
    releaseEvents(context)
  }

  /// Whether anything was answered.
  private func drain(_ context: ChannelHandlerContext) -> Bool {
    var hasAnswered = false
    var hasRoom = !isClosing && context.channel.isWritable
    while hasRoom, phase == .plain, pending.readableBytes > 0, pending.readableBytes >= wantedCount {
      wantedCount = 0
      switch PlainRequest.frame(pending.readableBytesUInt8Span) {
      case .incomplete(let atLeast):
        wantedCount = atLeast
        beginHead(context)
      case .body(let request):
        beginBody(context)
        if gathers(request) {
          wantedCount = request.byteCount
        } else {
          beginWaiting(bodyRest: request.byteCount - pending.readableBytes)
          handOn(context, pending.readableBytes)
        }
      case .notPlain:
        phase = .decoding
        beginHead(context)
        handOn(context, pending.readableBytes)
      case .complete(let request):
        deadlines.input = .none
        switch answer(request) {
        case .answered:
          hasOutput = true
          hasAnswered = true
          deadlines.activeAt = now
          pending.moveReaderIndex(forwardBy: request.byteCount)
          if output.readableBytes >= Self.outputSizeMax {
            flushOutput(context)
            hasRoom = context.channel.isWritable
          }
        case .notHere:
          beginWaiting(bodyRest: 0)
          handOn(context, request.byteCount)
        case .missing(let lookUp): begin(lookUp, context)
        }
      }
    }
    isBlocked = !hasRoom && pending.readableBytes > 0
    // What was read to its end is not kept.
    if pending.readableBytes == 0 { pending = ByteBuffer() }
    return hasAnswered
  }

  private func gathers(_ request: PlainRequest) -> Bool {
    guard let path else { return false }
    let bytes = pending
    return path.gathers(request, bytes.readableBytesUInt8Span, &scratch)
  }

  private func beginWaiting(bodyRest: Int) {
    phase = .waiting
    self.bodyRest = bodyRest
    isAnswered = false
  }

  private func answer(_ request: PlainRequest) -> FastPath.Outcome {
    guard let path else { return .notHere }
    let outcome = path.answer(
      request, pending.readableBytesUInt8Span, after: lookUp, &scratch, into: &output)
    lookUp = nil
    return outcome
  }

  private func handOn(_ context: ChannelHandlerContext, _ count: Int) {
    writeOutput(context)
    hasHandedOn = true
    if let bytes = pending.readSlice(length: count) { context.fireChannelRead(wrapInboundOut(bytes)) }
  }

  /// What came behind the body stays in `bytes`.
  private func handOnBody(_ context: ChannelHandlerContext, _ bytes: inout ByteBuffer) {
    guard let part = bytes.readSlice(length: min(bodyRest, bytes.readableBytes)) else { return }
    bodyRest -= part.readableBytes
    if bodyRest == 0 { deadlines.input = .none }
    hasHandedOn = true
    context.fireChannelRead(wrapInboundOut(part))
    goOnIfAnswered(context)
  }

  /// The end of the input is not to overtake what came before it; and of half a request it is the decoder's to judge.
  /// The server's end, which closes connections that the decoder knows no request of, is not to overtake a request
  /// either.
  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    let isShutdown = event is ChannelShouldQuiesceEvent
    if isShutdown { ensureCheck(context, by: deadlines.shutDown(at: context.eventLoop.now)) }
    if let event = event as? ChannelEvent, event == .inputClosed, pending.readableBytes > 0 {
      isInputClosed = true
      endInput(context)
    } else if phase == .lookingUp || (isShutdown && hasRequestPending) {
      heldEvents.append(event)
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }

  /// Whether something has come in that is to be answered here, or may be.
  private var hasRequestPending: Bool { phase == .plain && pending.readableBytes > 0 }

  private func releaseEvents(_ context: ChannelHandlerContext) {
    guard !heldEvents.isEmpty, phase != .lookingUp else { return }
    let events = heldEvents
    heldEvents = []
    // To be held again if there is another reason.
    for event in events { userInboundEventTriggered(context: context, event: event) }
  }

  private func endInput(_ context: ChannelHandlerContext) {
    guard isInputClosed, !isBlocked, phase != .waiting, phase != .lookingUp else { return }
    isInputClosed = false
    if pending.readableBytes > 0 {
      phase = .decoding
      handOn(context, pending.readableBytes)
      context.fireChannelReadComplete()
    }
    context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    releaseEvents(context)
  }

  // MARK: Look-ups

  private func begin(_ lookUp: FastPath.LookUp, _ context: ChannelHandlerContext) {
    guard let path else { return }
    phase = .lookingUp
    deadlines.activeAt = now
    noteActivity(context)
    lookUpNumber += 1
    let number = lookUpNumber
    let eventLoop = context.eventLoop
    let handler = NIOLoopBound((self, context), eventLoop: eventLoop)
    let end: @Sendable () -> Void = { handler.value.0.end(lookUp, number, handler.value.1) }
    let timeout = eventLoop.scheduleTask(in: Self.lookUpTimeMax, end)
    Task {
      await path.perform(lookUp)
      timeout.cancel()
      eventLoop.execute(end)
    }
  }

  private func end(_ lookUp: FastPath.LookUp, _ number: Int, _ context: ChannelHandlerContext) {
    guard phase == .lookingUp, number == lookUpNumber, context.channel.isActive else { return }
    phase = .plain
    self.lookUp = lookUp
    deadlines.activeAt = context.eventLoop.now
    goOn(context)
    // Also if its answer waits until the client takes others.
    noteActivity(context)
    if isGivenUp { giveUp(context) }
  }

  // MARK: Out

  private func writeOutput(_ context: ChannelHandlerContext) {
    guard hasOutput else { return }
    hasOutput = false
    isUnflushed = true
    writtenCount += output.readableBytes
    context.write(wrapOutboundOut(output), promise: nil)
    // In place if nobody holds it any more.
    output.clear()
  }

  /// Also what was written before a request was handed on: whoever answers that waits until the channel is writable.
  private func flushOutput(_ context: ChannelHandlerContext) {
    writeOutput(context)
    guard isUnflushed else { return }
    isUnflushed = false
    context.flush()
  }

  /// What the decoder's side writes: for the count alone.
  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    writtenCount += unwrapOutboundIn(data).readableBytes
    context.write(data, promise: promise)
  }

  func read(context: ChannelHandlerContext) {
    let isFull =
      switch phase {
      case .plain: !context.channel.isWritable
      case .waiting, .lookingUp: pending.readableBytes > Self.waitingSizeMax
      case .decoding: false
      }
    if isFull || isGivenUp || isClosing {
      isReadHeld = true
    } else {
      isReading = true
      context.read()
    }
  }

  /// When the server is to end, what was answered is written before.
  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    guard deadlines.isShuttingDown, mode == .all else { return context.close(mode: mode, promise: promise) }
    if isClosing { return context.channel.closeFuture.cascade(to: promise) }
    flushOutput(context)
    guard standing(context).bufferedCount > 0 else { return context.close(mode: mode, promise: promise) }
    isClosing = true
    let written = context.eventLoop.makePromise(of: Void.self)
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    written.futureResult.whenComplete { _ in bound.value.close(mode: .all, promise: promise) }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: written)
  }

  func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
    guard let progress = event as? RequestProgress else {
      return context.triggerUserOutboundEvent(event, promise: promise)
    }
    promise?.succeed(())
    switch progress {
    case .begun:
      if phase == .decoding { beginBody(context) }
    case .received:
      if phase == .waiting || phase == .decoding { deadlines.input = .none }
      unansweredCount += 1
      deadlines.activeAt = context.eventLoop.now
      noteActivity(context)
    case .answered:
      unansweredCount -= 1
      deadlines.activeAt = context.eventLoop.now
      noteActivity(context)
      if phase == .waiting { isAnswered = true }
      goOnIfAnswered(context)
    }
  }

  private func goOnIfAnswered(_ context: ChannelHandlerContext) {
    guard isOver || isGivenUp else { return }
    // Not from within the write of that answer.
    let handler = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    context.eventLoop.execute { handler.value.0.goOnAfterAnswer(handler.value.1) }
  }

  /// Whether the request that was handed on has come in whole and is answered.
  private var isOver: Bool { phase == .waiting && isAnswered && bodyRest == 0 }

  private func goOnAfterAnswer(_ context: ChannelHandlerContext) {
    if isGivenUp { return giveUp(context) }
    guard isOver, context.channel.isActive else { return }
    phase = .plain
    hasHandedOn = true
    goOn(context)
  }

  private func goOnWhenWritable(_ context: ChannelHandlerContext) {
    guard phase == .plain, isBlocked || isReadHeld, context.channel.isWritable, context.channel.isActive else { return }
    goOn(context)
  }

  private func goOn(_ context: ChannelHandlerContext) {
    now = context.eventLoop.now
    if drain(context) { noteActivity(context) }
    completeRead(context)
    endInput(context)
    readHeld(context)
  }

  private func readHeld(_ context: ChannelHandlerContext) {
    guard isReadHeld else { return }
    isReadHeld = false
    read(context: context)
  }

  // MARK: The limit of connections

  private func enterLimit(_ context: ChannelHandlerContext) {
    noteActivity(context)
    let eventLoop = context.eventLoop
    let handler = NIOLoopBound((self, context), eventLoop: eventLoop)
    place = limit.admit(activity, at: now.uptimeNanoseconds) {
      eventLoop.execute { handler.value.0.giveUp(handler.value.1) }
    }
  }

  private func leaveLimit() {
    guard let place else { return }
    limit.leave(place)
    self.place = nil
  }

  /// What the connection does, and since when, for the limit.
  private func noteActivity(_ context: ChannelHandlerContext) {
    activity.note(ConnectionActivity(since: deadlines.activeAt.uptimeNanoseconds, isAnswering: isAnswering(context)))
  }

  /// False if the client does not take its answer: else whoever reads nothing could never be closed.
  private func isAnswering(_ context: ChannelHandlerContext) -> Bool {
    hasUnanswered && context.channel.isWritable
  }

  private var hasUnanswered: Bool { unansweredCount > 0 || phase == .lookingUp }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    context.fireChannelWritabilityChanged()
    if context.channel.isWritable {
      if isBlocked || isReadHeld {
        // Not from within a write.
        let handler = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.execute { handler.value.0.goOnWhenWritable(handler.value.1) }
      }
    } else if let deadline = deadlines.noteOutput(standing(context)) {
      ensureCheck(context, by: deadline)
    }
    guard hasUnanswered else { return }
    deadlines.activeAt = context.eventLoop.now
    noteActivity(context)
    if isGivenUp { giveUp(context) }
  }

  /// Closes the connection because there are too many: after the answer, if a request has come in since it was chosen.
  private func giveUp(_ context: ChannelHandlerContext) {
    isGivenUp = true
    if !isAnswering(context) { context.close(promise: nil) }
  }

  // MARK: Deadlines

  func handlerAdded(context: ChannelHandlerContext) {
    now = context.eventLoop.now
    deadlines.activeAt = now
    ensureCheck(context, by: now + TimeAmount(deadlines.timeouts.idle))
    enterLimit(context)
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    check?.cancel()
    leaveLimit()
  }

  func channelInactive(context: ChannelHandlerContext) {
    check?.cancel()
    leaveLimit()
    context.fireChannelInactive()
  }

  private func beginHead(_ context: ChannelHandlerContext) {
    if let deadline = deadlines.beginHead(at: now) { ensureCheck(context, by: deadline) }
  }

  private func beginBody(_ context: ChannelHandlerContext) {
    if let deadline = deadlines.beginBody(at: now, readCount: readCount) { ensureCheck(context, by: deadline) }
  }

  /// One check is scheduled at any time. Whoever needs an earlier one moves it, which is seldom: until it has come, it
  /// is early enough for all who follow.
  private func ensureCheck(_ context: ChannelHandlerContext, by deadline: NIODeadline) {
    guard deadline < checkAt else { return }
    check?.cancel()
    checkAt = deadline
    let handler = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    check = context.eventLoop.scheduleTask(deadline: deadline) { handler.value.0.closeIfSlow(handler.value.1) }
  }

  private func closeIfSlow(_ context: ChannelHandlerContext) {
    checkAt = .distantFuture
    switch deadlines.check(standing(context)) {
    case .close: context.close(promise: nil)
    case .check(let deadline): ensureCheck(context, by: deadline)
    }
  }

  private func standing(_ context: ChannelHandlerContext) -> ConnectionDeadlines.Standing {
    // A channel that is closed has no options any more.
    let bufferedCount = (try? context.channel.syncOptions?.getOption(ChannelOptions.bufferedWritableBytes)) ?? 0
    return ConnectionDeadlines.Standing(
      now: context.eventLoop.now, readCount: readCount, isReading: isReading, isAnswering: hasUnanswered,
      sentCount: writtenCount - bufferedCount, bufferedCount: bufferedCount)
  }
}
