import Hummingbird
import HummingbirdCore
import NIOHTTP1
import Portal

extension HTTPServerBuilder {
  /// HTTP/1.1 as all ports have it, over TLS if there is a certificate; requests that `fastPath` can answer are
  /// answered before the decoder.
  package static func portal(
    _ fastPath: FastPath?, timeouts: ConnectionTimeouts, limit: ConnectionLimit, drain: Drain, tls: ServerTLS?,
    observer: Observer
  ) -> HTTPServerBuilder {
    .http1(
      configuration: .init(
        additionalChannelHandlers: [
          MalformedRequestHandler(
            fastPath, timeouts: timeouts, limit: limit, drain: drain, tls: tls, observer: observer)
        ],
        httpDecoderConfiguration: .init(
          maxHeaderFieldSize: MalformedRequestHandler.headerSizeMax,
          maxHeaderListSize: MalformedRequestHandler.headerSizeMax, maxHeaderFieldCount: 100)))
  }
}
