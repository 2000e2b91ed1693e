import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOSSL
import Portal
import PortalHTTP

/// Answers input that is not HTTP, and requests that are refused for their head, with a problem document, where the
/// framework would send an empty 400. It does so after the answers to earlier requests, and then closes the connection.
///
/// It also asks for the body when a client waits for that, and ends the connection after its next answer while the
/// server drains. If the connection ends before a body has arrived in full, the reader of the body gets an error
/// (``ClientGone``).
final class MalformedRequestHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias InboundOut = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart
  typealias OutboundOut = HTTPResponsePart

  /// The largest size of all header fields of a request together, in bytes.
  static let headerSizeMax = PlainRequest.headSizeMax
  /// The most bytes per read. Each connection keeps a buffer of the size of its largest read until it is closed.
  private static let readSizeMax = 16 << 10

  /// Requests that were passed on and whose answers are not written: an answer from here must not overtake those.
  private var unansweredCount = 0
  /// Whether the latest request has arrived in full.
  private var isComplete = true
  /// The last answer of the connection, written after those to all earlier requests.
  private var refusal: Problem?
  /// Whether the answer that is being written tells the client that the connection ends.
  private var isEnding = false

  private let path: FastPath?
  private let timeouts: ConnectionTimeouts
  private let limit: ConnectionLimit
  private let drain: Drain
  private let tls: ServerTLS?
  private let observer: Observer

  /// When it is added to a pipeline, this handler also adds those that the framework offers no other way to add: the
  /// TLS handler, if there is a certificate, and a ``FastPathHandler`` at the beginning, and a ``PersistenceHandler``
  /// and an ``ASCIIHeadHandler`` behind the decoder.
  init(
    _ path: FastPath?, timeouts: ConnectionTimeouts, limit: ConnectionLimit, drain: Drain, tls: ServerTLS?,
    observer: Observer
  ) {
    self.path = path
    self.timeouts = timeouts
    self.limit = limit
    self.drain = drain
    self.tls = tls
    self.observer = observer
  }

  func handlerAdded(context: ChannelHandlerContext) {
    do {
      try context.channel.syncOptions?.setOption(
        .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 64, initial: 2_048, maximum: Self.readSizeMax))
      // The connection would keep a buffer for each of several reads in a row.
      try context.channel.syncOptions?.setOption(.maxMessagesPerRead, value: 1)
      let pipeline = context.pipeline.syncOperations
      let path = path?.answering(context.channel.remoteAddress)
      let first = FastPathHandler(
        path, isPlaintext: tls == nil, timeouts: timeouts, limit: limit, openedAt: context.eventLoop.now)
      try pipeline.addHandler(first, position: .first)
      if let tls {
        try pipeline.addHandlers(
          [
            NIOSSLServerHandler(context: tls.context),
            TLSHandshakeHandler(timeout: timeouts.head, observer: observer),
          ], position: .first)
      }
      let codec = try pipeline.context(handlerType: HTTP1ToHTTPServerCodec.self).handler
      try pipeline.addHandler(PersistenceHandler(), position: .before(codec))
      try pipeline.addHandler(ASCIIHeadHandler(), position: .before(codec))
    } catch {
      // The connection has already been closed.
      context.fireErrorCaught(error)
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if refusal != nil || isEnding { return }
    switch unwrapInboundIn(data) {
    case .head(let head):
      unansweredCount += 1
      isComplete = false
      context.triggerUserOutboundEvent(RequestProgress.begun, promise: nil)
      // The client waits before it sends its body (RFC 9110 10.1.1). Behind another answer this would be out of order,
      // and the client continues by itself after a while.
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

  /// Whether a request that a route may be reading has not arrived in full.
  private var isReceiving: Bool { unansweredCount > 0 && !isComplete }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    switch unwrapOutboundIn(data) {
    case .head(let head): return context.write(wrapOutboundOut(.head(ending(head))), promise: promise)
    case .body: return context.write(data, promise: promise)
    case .end: context.write(data, promise: promise)
    }
    unansweredCount -= 1
    context.triggerUserOutboundEvent(RequestProgress.answered, promise: nil)
    if let refusal, unansweredCount == 0 { answer(refusal, context) }
  }

  /// Adds `Connection: close` if the server drains and nothing follows this answer.
  private func ending(_ head: HTTPResponse) -> HTTPResponse {
    guard drain.isBegun, isComplete, unansweredCount == 1, head.status.kind != .informational else { return head }
    isEnding = true
    var head = head
    head.headerFields[.connection] = "close"
    return head
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if refusal != nil || isEnding { return }
    // The decoder also reports half a body when a connection has ended. A client that has only ended its own side may
    // still read the reason.
    let isGone = error is IOError || error is ChannelError || !context.channel.isActive
    if isGone, isReceiving { return context.fireErrorCaught(ClientGone()) }
    guard let problem = Self.problem(for: error) else { return context.fireErrorCaught(error) }
    guard isComplete else {
      // The reader of a broken body gets the error. A request has one answer: if that was early, there is no second
      // one.
      if unansweredCount > 0 { context.fireErrorCaught(error) } else { context.close(promise: nil) }
      return
    }
    refusal = problem
    if unansweredCount == 0 { answer(problem, context) }
  }

  private static func problem(for error: any Error) -> Problem? {
    if let problem = error as? Problem { return problem }
    guard let error = error as? HTTPParserError else { return nil }
    return error == .headerOverflow
      ? Problem(
        .init(code: 431, reasonPhrase: "Request Header Fields Too Large"), .headersTooLarge,
        "The header fields are larger than \(headerSizeMax) bytes.")
      : Problem(.badRequest, .invalidRequest, "The request is not HTTP/1.1.")
  }

  private func answer(_ problem: Problem, _ context: ChannelHandlerContext) {
    let (head, body) = problem.rawResponse(requestID: RequestIDs().next())
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    context.write(wrapOutboundOut(.body(ByteBuffer(bytes: body))), promise: nil)
    let channel = context.channel
    context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
  }
}
