import NIOCore
import NIOTLS
import Portal

/// Stands behind the handler of TLS until the handshake is over: closes a connection whose client takes too long for
/// it, since what stands behind sees no byte before, and counts those that fail.
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

  /// The handler of TLS closes the connection itself; nobody else need know why.
  package func errorCaught(context: ChannelHandlerContext, error: any Error) { fail() }

  /// Once for a connection, whatever follows.
  private func fail() {
    guard let deadline else { return }
    deadline.cancel()
    self.deadline = nil
    observer.observe(.handshakeFailed)
  }
}
