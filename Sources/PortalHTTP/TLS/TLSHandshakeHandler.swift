import NIOCore
import NIOTLS
import Portal

/// Sits behind the TLS handler until the handshake completes. Closes the connection of a client that takes too long,
/// because the handlers behind it see no byte before then, and counts handshakes that fail.
package final class TLSHandshakeHandler: ChannelInboundHandler, RemovableChannelHandler {
  package typealias InboundIn = ByteBuffer

  private let timeout: TimeAmount
  private let observer: Observer
  private var deadline: Scheduled<Void>?

  package init(timeout: Duration, observer: Observer) {
    self.timeout = TimeAmount(timeout)
    self.observer = observer
  }

  package func handlerAdded(context: ChannelHandlerContext) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    deadline = context.eventLoop.scheduleTask(in: timeout) {
      let (handler, context) = bound.value
      handler.fail()
      context.close(promise: nil)
    }
  }

  package func handlerRemoved(context: ChannelHandlerContext) {
    deadline?.cancel()
    deadline = nil
  }

  package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .handshakeCompleted = event as? TLSUserEvent {
      context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }
    context.fireUserInboundEventTriggered(event)
  }

  /// The TLS handler closes the connection itself; no other handler needs the reason.
  package func errorCaught(context: ChannelHandlerContext, error: any Error) { fail() }

  /// Counts at most one failure per connection.
  private func fail() {
    guard let deadline else { return }
    deadline.cancel()
    self.deadline = nil
    observer.observe(.handshakeFailed)
  }
}
