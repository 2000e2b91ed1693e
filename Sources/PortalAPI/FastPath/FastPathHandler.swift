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
  /// The request that came last, whole or not, is the last of the connection: nothing behind it is read as HTTP.
  case last
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
///
/// What is to be done when is decided by ``FastPathState``. Here are the bytes, and whatever does it.
final class FastPathHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  typealias OutboundIn = IOData
  typealias OutboundOut = ByteBuffer

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
  private var state: FastPathState
  private var pending = ByteBuffer()
  private var output = ByteBuffer()
  private var isUnflushed = false
  private var scratch = FastPath.Scratch()
  private var check: Scheduled<Void>?
  private var checkAt = NIODeadline.distantFuture

  /// For a connection that was opened at `now`.
  init(_ path: FastPath?, timeouts: ConnectionTimeouts, limit: ConnectionLimit, openedAt now: NIODeadline) {
    self.path = path
    self.limit = limit
    state = FastPathState(timeouts, answers: path != nil, openedAt: now)
  }

  // MARK: In

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    state.read(bytes.readableBytes, at: context.eventLoop.now)
    if pending.readableBytes == 0 { pending = bytes } else { pending.writeBuffer(&bytes) }
    drain(context)
    settle(context)
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    state.completeRead()
    complete(context)
  }

  private func drain(_ context: ChannelHandlerContext) {
    var isWritable = context.channel.isWritable
    loop: while true {
      switch state.next(isWritable: isWritable) {
      case .wait: break loop
      case .resumeSoon:
        resumeSoon(context)
        break loop
      case .frame: frame()
      case .answer(let request, let lookUp):
        answer(request, after: lookUp, context)
        if output.readableBytes >= Self.outputSizeMax {
          flushOutput(context)
          isWritable = context.channel.isWritable
        }
      case .handOn(let count):
        writeOutput(context)
        if let bytes = pending.readSlice(length: count) { context.fireChannelRead(wrapInboundOut(bytes)) }
      case .drop(let count): pending.moveReaderIndex(forwardBy: count)
      }
    }
    // What was read to its end is not kept.
    if pending.readableBytes == 0 { pending = ByteBuffer() }
  }

  private func frame() {
    let framing = PlainRequest.frame(pending.readableBytesUInt8Span)
    var isGathered = false
    if case .body(let request) = framing { isGathered = gathers(request) }
    state.framed(framing, isGathered: isGathered)
  }

  private func gathers(_ request: PlainRequest) -> Bool {
    guard let path else { return false }
    let bytes = pending
    return path.gathers(request, bytes.readableBytesUInt8Span, &scratch)
  }

  private func answer(_ request: PlainRequest, after lookUp: FastPath.LookUp?, _ context: ChannelHandlerContext) {
    guard let path else { return state.declined() }
    switch path.answer(request, pending.readableBytesUInt8Span, after: lookUp, &scratch, into: &output) {
    case .answered: pending.moveReaderIndex(forwardBy: state.answered())
    case .notHere: state.declined()
    case .missing(let lookUp): perform(lookUp, path, context)
    }
  }

  private func perform(_ lookUp: FastPath.LookUp, _ path: FastPath, _ context: ChannelHandlerContext) {
    let number = state.beginLookUp()
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
    guard context.channel.isActive, state.endLookUp(number, lookUp, at: context.eventLoop.now) == .goOn else { return }
    goOn(context)
    follow(state.closeIfGivenUp(context.channel.isWritable), context)
  }

  private func goOn(_ context: ChannelHandlerContext) {
    drain(context)
    complete(context)
    endInput(context)
    if state.isReadHeld { read(context: context) }
    settle(context)
  }

  /// Tells the decoder's side that what came is all for now. Where nothing was handed on, nothing is complete.
  private func complete(_ context: ChannelHandlerContext) {
    flushOutput(context)
    if state.takeCompletion() { context.fireChannelReadComplete() }
    tellOfShutdown(context)
  }

  private func endInput(_ context: ChannelHandlerContext) {
    guard state.takeInputEnd() else { return }
    if state.pendingCount > 0 {
      drain(context)
      context.fireChannelReadComplete()
    }
    context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    tellOfShutdown(context)
  }

  private func tellOfShutdown(_ context: ChannelHandlerContext) {
    if state.takeShutdown() { context.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let channelEvent = event as? ChannelEvent, channelEvent == .inputClosed {
      if state.inputClosed() { context.fireUserInboundEventTriggered(event) } else { endInput(context) }
    } else if event is ChannelShouldQuiesceEvent {
      if state.shutDown(at: context.eventLoop.now) { context.fireUserInboundEventTriggered(event) }
    } else {
      context.fireUserInboundEventTriggered(event)
    }
    settle(context)
  }

  // MARK: Out

  private func writeOutput(_ context: ChannelHandlerContext) {
    guard output.readableBytes > 0 else { return }
    isUnflushed = true
    state.wrote(output.readableBytes)
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
    state.wrote(unwrapOutboundIn(data).readableBytes)
    context.write(data, promise: promise)
  }

  func read(context: ChannelHandlerContext) {
    if state.requestRead(isWritable: context.channel.isWritable) { context.read() }
  }

  /// When the server is to end, what was answered is written before.
  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    guard state.isShuttingDown, mode == .all else { return context.close(mode: mode, promise: promise) }
    if state.isClosing { return context.channel.closeFuture.cascade(to: promise) }
    flushOutput(context)
    guard bufferedCount(context) > 0 else { return context.close(mode: mode, promise: promise) }
    state.closeAfterOutput()
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
    follow(state.progressed(progress, at: context.eventLoop.now), context)
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    context.fireChannelWritabilityChanged()
    let sequel = state.writabilityChanged(
      context.channel.isWritable, bufferedCount: bufferedCount(context), at: context.eventLoop.now)
    follow(sequel, context)
  }

  /// Bytes that were written and that the client has not taken. A channel that is closed has no options any more.
  private func bufferedCount(_ context: ChannelHandlerContext) -> Int {
    (try? context.channel.syncOptions?.getOption(ChannelOptions.bufferedWritableBytes)) ?? 0
  }

  // MARK: Sequels

  private func follow(_ sequel: FastPathState.Sequel, _ context: ChannelHandlerContext) {
    switch sequel {
    case .nothing: settle(context)
    case .goOn: goOn(context)
    case .resumeSoon:
      settle(context)
      resumeSoon(context)
    case .close: context.close(promise: nil)
    }
  }

  private func resumeSoon(_ context: ChannelHandlerContext) {
    let handler = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    context.eventLoop.execute { handler.value.0.resume(handler.value.1) }
  }

  private func resume(_ context: ChannelHandlerContext) {
    guard context.channel.isActive else { return }
    follow(state.resume(at: context.eventLoop.now, isWritable: context.channel.isWritable), context)
  }

  /// Lets the limit see what the connection does, and has its deadlines looked at in time.
  private func settle(_ context: ChannelHandlerContext) {
    activity.note(state.activity(isWritable: context.channel.isWritable))
    guard state.checkAt < checkAt else { return }
    check?.cancel()
    checkAt = state.checkAt
    let handler = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    check = context.eventLoop.scheduleTask(deadline: checkAt) { handler.value.0.closeIfSlow(handler.value.1) }
  }

  private func closeIfSlow(_ context: ChannelHandlerContext) {
    checkAt = .distantFuture
    follow(state.check(bufferedCount: bufferedCount(context), at: context.eventLoop.now), context)
  }

  // MARK: The connection

  func handlerAdded(context: ChannelHandlerContext) {
    settle(context)
    let eventLoop = context.eventLoop
    let handler = NIOLoopBound((self, context), eventLoop: eventLoop)
    place = limit.admit(activity, at: eventLoop.now.uptimeNanoseconds) {
      eventLoop.execute { handler.value.0.giveUp(handler.value.1) }
    }
  }

  private func giveUp(_ context: ChannelHandlerContext) {
    follow(state.giveUp(isWritable: context.channel.isWritable), context)
  }

  func handlerRemoved(context: ChannelHandlerContext) { leave() }

  func channelInactive(context: ChannelHandlerContext) {
    leave()
    context.fireChannelInactive()
  }

  private func leave() {
    check?.cancel()
    guard let place else { return }
    limit.leave(place)
    self.place = nil
  }
}
