import Glibc
import NIOCore
import Portal
import PortalHTTP

/// The progress of a request behind the HTTP decoder, reported to `FastPathHandler` in front of the decoder.
enum RequestProgress: Sendable {
  /// The head of a request has arrived.
  case begun
  /// A whole request has arrived.
  case received
  /// Its answer has been written.
  case answered
  /// The latest request, whole or not, is the last of the connection: nothing after it is read as HTTP.
  case last
}

/// Answers plain requests for the hot routes in front of a connection's HTTP decoder, with one write for all that
/// arrived together, and passes everything else on.
///
/// Answers keep the order of their requests. A plain request that cannot be answered here is passed on alone, and what
/// follows waits until it is answered. Requests also wait while keys are looked up for one that is answered here. Bytes
/// that are not a plain request are passed on with everything after them, for the rest of the connection, because only
/// the decoder then knows where a request ends.
///
/// A body is buffered only for requests that may be answered here; other bodies are passed on as they arrive. While the
/// client takes no answers, nothing more is answered or read here.
///
/// The handler also closes the connections of slow clients (``ConnectionDeadlines``), because the framework's own
/// handler for that does not see what is answered here, and it holds the connection's slot in ``ConnectionLimit``.
///
/// ``FastPathState`` decides what to do and when. This class holds the bytes and does the I/O. On a connection without
/// TLS it writes its answers to the socket itself, and asks for the next bytes without asking the handlers behind it:
/// the channel's queue and pipeline would cost as much as the answer.
final class FastPathHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  typealias OutboundIn = IOData
  typealias OutboundOut = ByteBuffer

  /// Bytes of buffered answers at which they are written before the next request is answered.
  private static let outputSizeMax = 64 << 10
  /// How long a look-up of keys may take before the ordinary route takes over, which handles the delay.
  private static let lookUpTimeMax: TimeAmount = .milliseconds(200)

  /// Nil if everything is passed on.
  private let path: FastPath?
  private let isPlaintext: Bool
  private let limit: ConnectionLimit
  private let activity = NotedActivity()
  /// The number under which the connection leaves the limit; nil once it has left.
  private var place: UInt64?
  private var state: FastPathState
  private var pending = ByteBuffer()
  private var output = ByteBuffer()
  private var isUnflushed = false
  /// The connection's socket; nil with TLS, in tests, and once the connection has ended.
  private var socket: NIOBSDSocket.Handle?
  /// Whether the channel's queue may hold something.
  private var mayBeQueued = false
  private var scratch = FastPath.Scratch()
  private var check: Scheduled<Void>?
  private var checkAt = NIODeadline.distantFuture

  /// For a connection that was opened at `now`. `isPlaintext` says that the handler is the first of its pipeline.
  init(
    _ path: FastPath?, isPlaintext: Bool, timeouts: ConnectionTimeouts, limit: ConnectionLimit,
    openedAt now: NIODeadline
  ) {
    self.path = path
    self.isPlaintext = isPlaintext
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
    let isIdleBehind = state.isIdleBehind
    complete(context)
    // Otherwise the channel asks for it, through the whole pipeline.
    if isIdleBehind, isPlaintext { read(context: context) }
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
      case .answer:
        answer(context)
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
    // Does not keep a buffer that was read to its end.
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

  private func answer(_ context: ChannelHandlerContext) {
    guard let path else { return state.declined() }
    switch path.answer(state.request, pending.readableBytesUInt8Span, after: state.lookUp, &scratch, into: &output) {
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

  /// Flushes answers, and passes on the end of a read unless the decoder was passed nothing.
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
    mayBeQueued = true
    state.wrote(output.readableBytes)
    context.write(wrapOutboundOut(output), promise: nil)
    // Reuses the memory if nothing else holds it.
    output.clear()
  }

  /// Writes the answers to the socket, unless something is queued that has to go first. What the socket does not take,
  /// and every error, is left to the channel.
  private func sendOutput(_ context: ChannelHandlerContext) {
    guard let socket, output.readableBytes > 0, !isUnflushed, context.channel.isActive else { return }
    if mayBeQueued {
      mayBeQueued = bufferedCount(context) > 0
      if mayBeQueued { return }
    }
    let count = output.withUnsafeReadableBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    guard count > 0 else { return }
    state.wrote(count)
    if count == output.readableBytes { output.clear() } else { output.moveReaderIndex(forwardBy: count) }
  }

  /// Also flushes what was written before a request was passed on: its route waits until the channel is writable.
  private func flushOutput(_ context: ChannelHandlerContext) {
    sendOutput(context)
    writeOutput(context)
    guard isUnflushed else { return }
    isUnflushed = false
    context.flush()
  }

  /// Counts the bytes that the handlers behind the decoder write.
  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    state.wrote(unwrapOutboundIn(data).readableBytes)
    mayBeQueued = true
    context.write(data, promise: promise)
  }

  func read(context: ChannelHandlerContext) {
    if state.requestRead(isWritable: context.channel.isWritable) { context.read() }
  }

  /// During shutdown, writes the remaining answers before it closes the connection.
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

  /// Bytes that were written and that the client has not taken. A closed channel has no options.
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

  /// Publishes the connection's activity for the limit, and schedules the next check of its deadlines.
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
    if isPlaintext {
      // The channel's own, and used only while the channel is active.
      socket = try? context.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { $0 }
    }
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
    socket = nil
    check?.cancel()
    guard let place else { return }
    limit.leave(place)
    self.place = nil
  }
}
