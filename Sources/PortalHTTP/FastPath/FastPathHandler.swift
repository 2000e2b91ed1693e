import NIOCore
import Portal

/// Told by whoever stands behind the decoder to `FastPathHandler`, which stands before it.
enum RequestProgress: Sendable {
  /// A request has come in whole.
  case received
  /// Its answer has been written.
  case answered
}

/// Stands before the HTTP decoder of a connection: answers plain requests of the hot routes at once, in one write for all
/// that came together, and hands on everything else.
///
/// Answers keep the order of their requests: a plain request that cannot be answered here is handed on alone, and what
/// follows waits until it is answered. It waits, too, while keys of a request are looked up that is answered here then. What is not plain is handed on with all that follows, for the rest of the
/// connection, since only the decoder then knows where a request ends.
///
/// It also closes connections that have been silent for too long, because the framework's own handler for that sees
/// nothing of what is answered here; and it is the connection's place in the limit of all of them.
final class FastPathHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private enum Phase {
    case plain
    /// A request was handed on and is not answered yet.
    case waiting
    /// Keys of the request that comes next are looked up.
    case lookingUp
    case decoding
  }

  /// Bytes that may wait behind a request that was handed on, before no more is read.
  private static let waitingSizeMax = 64 << 10
  /// How long keys may be looked up before the ordinary route takes over, which knows what to do about that.
  private static let lookUpTimeMax: TimeAmount = .milliseconds(200)

  /// Nil if all is handed on.
  private let path: FastPath?
  private let idleTimeout: TimeAmount
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
  private var scratch = FastPath.Scratch()
  /// What was looked up for the request that comes next.
  private var lookUp: FastPath.LookUp?
  private var lookUpNumber = 0
  /// What came during a look-up, and is not to end the connection before its answer.
  private var heldEvents: [Any] = []
  private var hasHandedOn = false
  private var isReadHeld = false
  /// Whether the client has ended its input, and nobody was told yet.
  private var isInputClosed = false
  private var lastRead = NIODeadline.uptimeNanoseconds(0)
  private var unansweredCount = 0
  private var idleCheck: Scheduled<Void>?

  init(_ path: FastPath?, idleTimeout: TimeAmount, limit: ConnectionLimit) {
    self.path = path
    self.idleTimeout = idleTimeout
    self.limit = limit
    phase = path == nil ? .decoding : .plain
  }

  // MARK: In

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    lastRead = context.eventLoop.now
    guard phase != .decoding else { return context.fireChannelRead(data) }
    var bytes = unwrapInboundIn(data)
    if pending.readableBytes == 0 { pending = bytes } else { pending.writeBuffer(&bytes) }
    drain(context)
    // Whoever hands a request on has noted it already.
    if hasOutput { noteActivity(context) }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    flushOutput(context)
    // Where nothing was handed on, nothing is complete.
    if hasHandedOn || phase == .decoding { context.fireChannelReadComplete() }
    hasHandedOn = false
  }

  private func drain(_ context: ChannelHandlerContext) {
    while phase == .plain, pending.readableBytes > 0, pending.readableBytes >= wantedCount {
      wantedCount = 0
      switch PlainRequest.frame(pending.readableBytesUInt8Span) {
      case .incomplete(let atLeast):
        wantedCount = atLeast
      case .notPlain:
        phase = .decoding
        handOn(context, pending.readableBytes)
      case .complete(let request):
        switch answer(request) {
        case .answered:
          hasOutput = true
          pending.moveReaderIndex(forwardBy: request.byteCount)
        case .notHere:
          phase = .waiting
          handOn(context, request.byteCount)
        case .missing(let lookUp): begin(lookUp, context)
        }
      }
    }
    // What was read to its end is not kept.
    if pending.readableBytes == 0 { pending = ByteBuffer() }
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

  /// The end of the input is not to overtake what came before it; and of half a request it is the decoder's to judge.
  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed, pending.readableBytes > 0 {
      isInputClosed = true
      endInput(context)
    } else if phase == .lookingUp {
      heldEvents.append(event)
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }

  private func endInput(_ context: ChannelHandlerContext) {
    guard isInputClosed, phase != .waiting, phase != .lookingUp else { return }
    isInputClosed = false
    if pending.readableBytes > 0 {
      phase = .decoding
      handOn(context, pending.readableBytes)
      context.fireChannelReadComplete()
    }
    context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
  }

  // MARK: Look-ups

  private func begin(_ lookUp: FastPath.LookUp, _ context: ChannelHandlerContext) {
    guard let path else { return }
    phase = .lookingUp
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
    lastRead = context.eventLoop.now
    drain(context)
    noteActivity(context)
    channelReadComplete(context: context)
    let events = heldEvents
    heldEvents = []
    // To be held again if another look-up has begun.
    for event in events { userInboundEventTriggered(context: context, event: event) }
    endInput(context)
    readHeld(context)
    if isGivenUp { giveUp(context) }
  }

  // MARK: Out

  private func writeOutput(_ context: ChannelHandlerContext) {
    guard hasOutput else { return }
    hasOutput = false
    isUnflushed = true
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

  func read(context: ChannelHandlerContext) {
    let isFull = (phase == .waiting || phase == .lookingUp) && pending.readableBytes > Self.waitingSizeMax
    if isFull || isGivenUp {
      isReadHeld = true
    } else {
      context.read()
    }
  }

  func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
    guard let progress = event as? RequestProgress else {
      return context.triggerUserOutboundEvent(event, promise: promise)
    }
    promise?.succeed(())
    switch progress {
    case .received:
      unansweredCount += 1
      noteActivity(context)
    case .answered:
      unansweredCount -= 1
      lastRead = context.eventLoop.now
      noteActivity(context)
      guard phase == .waiting || isGivenUp else { return }
      // Not from within the write of that answer.
      let handler = NIOLoopBound((self, context), eventLoop: context.eventLoop)
      context.eventLoop.execute { handler.value.0.goOn(handler.value.1) }
    }
  }

  private func goOn(_ context: ChannelHandlerContext) {
    if isGivenUp { return giveUp(context) }
    guard phase == .waiting, context.channel.isActive else { return }
    phase = .plain
    drain(context)
    flushOutput(context)
    context.fireChannelReadComplete()
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
    place = limit.admit(activity, at: lastRead.uptimeNanoseconds) {
      eventLoop.execute { handler.value.0.giveUp(handler.value.1) }
    }
  }

  private func leaveLimit() {
    guard let place else { return }
    limit.leave(place)
    self.place = nil
  }

  /// What the connection does since `lastRead`, for the limit.
  private func noteActivity(_ context: ChannelHandlerContext) {
    activity.note(ConnectionActivity(since: lastRead.uptimeNanoseconds, isAnswering: isAnswering(context)))
  }

  /// False if the client does not take its answer: else whoever reads nothing could never be closed.
  private func isAnswering(_ context: ChannelHandlerContext) -> Bool {
    (unansweredCount > 0 || phase == .lookingUp) && context.channel.isWritable
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    context.fireChannelWritabilityChanged()
    guard unansweredCount > 0 || phase == .lookingUp else { return }
    lastRead = context.eventLoop.now
    noteActivity(context)
    if isGivenUp { giveUp(context) }
  }

  /// Closes the connection because there are too many: after the answer, if a request has come in since it was chosen.
  private func giveUp(_ context: ChannelHandlerContext) {
    isGivenUp = true
    if !isAnswering(context) { context.close(promise: nil) }
  }

  // MARK: Idle connections

  func handlerAdded(context: ChannelHandlerContext) {
    lastRead = context.eventLoop.now
    checkIdle(context, after: idleTimeout)
    enterLimit(context)
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    idleCheck?.cancel()
    leaveLimit()
  }

  func channelInactive(context: ChannelHandlerContext) {
    idleCheck?.cancel()
    leaveLimit()
    context.fireChannelInactive()
  }

  private func checkIdle(_ context: ChannelHandlerContext, after delay: TimeAmount) {
    let handler = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    idleCheck = context.eventLoop.scheduleTask(in: delay) { handler.value.0.closeIfIdle(handler.value.1) }
  }

  private func closeIfIdle(_ context: ChannelHandlerContext) {
    let end = lastRead + idleTimeout
    if unansweredCount > 0 || phase == .lookingUp {
      checkIdle(context, after: idleTimeout)
    } else if context.eventLoop.now < end {
      checkIdle(context, after: end - context.eventLoop.now)
    } else {
      context.close(promise: nil)
    }
  }
}
