import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1

/// Answers what is no HTTP with a problem document, where the framework would send an empty 400, and closes. Closes,
/// too, after the answer to `Connection: close` in whatever spelling (RFC 9112 9.6), and takes nothing that comes
/// behind it. Asks for the body of a client that waits to be asked.
final class MalformedRequestHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias InboundOut = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart
  typealias OutboundOut = HTTPResponsePart

  /// Bytes of all header fields of a request together.
  static let headerSizeMax = 32 << 10

  /// Requests handed on whose answer has not been written: behind those an answer of ours would be out of order.
  private var unansweredCount = 0
  /// Whether the client has asked for the end of the connection with the request that came last.
  private var isClosing = false
  /// Whether that request has come in whole.
  private var isComplete = false

  private let path: FastPath?
  private let timeouts: ConnectionTimeouts
  private let limit: ConnectionLimit

  /// Also puts a ``FastPathHandler`` at the beginning of the pipeline and an ``ASCIIHeadHandler`` behind the decoder,
  /// where the framework lets nobody in.
  init(_ path: FastPath?, timeouts: ConnectionTimeouts, limit: ConnectionLimit) {
    self.path = path
    self.timeouts = timeouts
    self.limit = limit
  }

  func handlerAdded(context: ChannelHandlerContext) {
    do {
      let pipeline = context.pipeline.syncOperations
      let first = FastPathHandler(path, timeouts: timeouts, limit: limit, openedAt: context.eventLoop.now)
      try pipeline.addHandler(first, position: .first)
      let codec = try pipeline.context(handlerType: HTTP1ToHTTPServerCodec.self).handler
      try pipeline.addHandler(ASCIIHeadHandler(), position: .before(codec))
    } catch {
      // The connection is closed already.
      context.fireErrorCaught(error)
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      unansweredCount += 1
      isClosing = head.headerFields[.connection]?.hasToken("close") ?? false
      isComplete = false
      context.triggerUserOutboundEvent(RequestProgress.begun, promise: nil)
      // The client waits before it sends its body (RFC 9110 10.1.1). Behind another answer this would be out of order,
      // and the client goes on by itself after a while.
      if unansweredCount == 1, head.headerFields[.expect]?.lowercased() == "100-continue" {
        context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
      }
    case .body: break
    case .end:
      isComplete = true
      context.triggerUserOutboundEvent(RequestProgress.received, promise: nil)
    }
    context.fireChannelRead(data)
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    guard case .end = unwrapOutboundIn(data) else { return context.write(data, promise: promise) }
    unansweredCount -= 1
    defer { context.triggerUserOutboundEvent(RequestProgress.answered, promise: nil) }
    guard isClosing, unansweredCount == 0 else { return context.write(data, promise: promise) }
    let written = promise ?? context.eventLoop.makePromise()
    let channel = context.channel
    written.futureResult.whenComplete { _ in channel.close(promise: nil) }
    context.write(data, promise: written)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if isClosing && isComplete { return }
    guard let error = error as? HTTPParserError, unansweredCount == 0 else {
      context.fireErrorCaught(error)
      return
    }
    let problem =
      error == .headerOverflow
      ? Problem(
        .init(code: 431, reasonPhrase: "Request Header Fields Too Large"), .headersTooLarge,
        "The header fields are larger than \(Self.headerSizeMax) bytes.")
      : Problem(.badRequest, .invalidRequest, "The request is not HTTP/1.1.")
    let (head, body) = problem.rawResponse(requestID: UUID().uuidString.lowercased())
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    context.write(wrapOutboundOut(.body(ByteBuffer(bytes: body))), promise: nil)
    let channel = context.channel
    context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
  }
}

extension String {
  /// Whether this list of tokens (RFC 9110 5.6.1) has `token`, in whatever case.
  fileprivate func hasToken(_ token: String) -> Bool {
    split(separator: ",").contains { $0.trimmingCharacters(in: .whitespaces).lowercased() == token }
  }
}
