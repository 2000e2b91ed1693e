import NIOCore
import NIOHTTP1

/// Ends the connection after the last answer, as ``Persistence`` says, and takes nothing that comes behind its request.
/// Has heads refused whose host or framing is not beyond doubt.
///
/// Stands right behind the decoder, since no version is known further on.
final class PersistenceHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias InboundOut = HTTPServerRequestPart
  typealias OutboundIn = HTTPServerResponsePart
  typealias OutboundOut = HTTPServerResponsePart

  /// Of the requests that were handed on and are not answered, in their order. As many come together as the decoder
  /// finds in what was read at once.
  private var unanswered = CircularBuffer<Persistence>()
  /// Whether the request that came last is the last of the connection.
  private var isLast = false
  /// Whether it has come in whole, or was refused.
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
      // HTTP/1.0 knows no answer that asks for the body (RFC 9110 10.1.1).
      head.headers.remove(name: "expect")
      context.fireChannelRead(wrapInboundOut(.head(head)))
    case .body: context.fireChannelRead(data)
    case .end:
      isComplete = true
      context.fireChannelRead(data)
      if isLast { endInput(context) }
    }
  }

  /// The decoder would keep whatever comes behind a request for another protocol.
  private func endInput(_ context: ChannelHandlerContext) {
    context.triggerUserOutboundEvent(RequestProgress.last, promise: nil)
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    switch unwrapOutboundIn(data) {
    case .head(var head):
      // What asks for a body is no answer; and what is no HTTP has no request.
      guard !unanswered.isEmpty, !(100..<200).contains(head.status.code) else {
        return context.write(data, promise: promise)
      }
      unanswered[unanswered.startIndex].prepare(&head)
      context.write(wrapOutboundOut(.head(head)), promise: promise)
    case .body: context.write(data, promise: promise)
    case .end:
      guard let persistence = unanswered.popFirst(), persistence.isLast else {
        return context.write(data, promise: promise)
      }
      let written = promise ?? context.eventLoop.makePromise()
      let channel = context.channel
      written.futureResult.whenComplete { _ in channel.close(promise: nil) }
      context.write(data, promise: written)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // What comes behind the last request.
    if isLast && isComplete { return }
    context.fireErrorCaught(error)
  }
}
