import NIOCore
import NIOHTTP1
import PortalHTTP

/// Ends the connection after the last answer, as ``Persistence`` decides, and ignores everything that follows its
/// request. Refuses heads whose host or framing is ambiguous.
///
/// Its place is directly behind the decoder, because the handlers after that do not see the version.
final class PersistenceHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias InboundOut = HTTPServerRequestPart
  typealias OutboundIn = HTTPServerResponsePart
  typealias OutboundOut = HTTPServerResponsePart

  /// For each request that was passed on and is not answered, in order. The decoder passes on every request that it
  /// finds in one read.
  private var unanswered = CircularBuffer<Persistence>()
  /// Whether the latest request is the last of the connection.
  private var isLast = false
  /// Whether it has arrived in full, or was refused.
  private var isComplete = false

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if isLast && isComplete { return }
    switch unwrapInboundIn(data) {
    case .head(var head):
      let persistence = Persistence(head)
      isLast = persistence.isLast
      isComplete = false
      if let problem = Persistence.refusal(of: head) {
        (isLast, isComplete) = (true, true)
        context.fireErrorCaught(problem)
        return endInput(context)
      }
      unanswered.append(persistence)
      guard persistence.isOld, head.headers.contains(name: "expect") else { return context.fireChannelRead(data) }
      // HTTP/1.0 has no answer that asks for the body (RFC 9110 10.1.1).
      head.headers.remove(name: "expect")
      context.fireChannelRead(wrapInboundOut(.head(head)))
    case .body: context.fireChannelRead(data)
    case .end:
      isComplete = true
      context.fireChannelRead(data)
      if isLast { endInput(context) }
    }
  }

  /// Otherwise, the decoder would keep everything that follows a request for another protocol.
  private func endInput(_ context: ChannelHandlerContext) {
    context.triggerUserOutboundEvent(RequestProgress.last, promise: nil)
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    switch unwrapOutboundIn(data) {
    case .head(var head):
      // An informational response is not the answer, and input that is not HTTP has no request.
      guard !unanswered.isEmpty, !(100..<200).contains(head.status.code) else {
        return context.write(data, promise: promise)
      }
      unanswered[unanswered.startIndex].prepare(&head)
      context.write(wrapOutboundOut(.head(head)), promise: promise)
    case .body: context.write(data, promise: promise)
    case .end:
      let persistence = unanswered.popFirst()
      // The encoder would write a last chunk after a head without a size. An empty part of a body writes nothing.
      let end = persistence?.isHead == true ? wrapOutboundOut(.body(.byteBuffer(ByteBuffer()))) : data
      guard let persistence, persistence.isLast else { return context.write(end, promise: promise) }
      let written = promise ?? context.eventLoop.makePromise()
      let channel = context.channel
      written.futureResult.whenComplete { _ in channel.close(promise: nil) }
      context.write(end, promise: written)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // Ignores errors in what follows the last request.
    if isLast && isComplete { return }
    context.fireErrorCaught(error)
  }
}
