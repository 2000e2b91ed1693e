import Hummingbird
import HummingbirdCore
import NIOHTTP1
import Portal
import PortalHTTP

extension HTTPServerBuilder {
  /// HTTP/1.1 with the configuration of all ports, over TLS if there is a certificate. Requests that `fastPath` can
  /// answer are answered before the decoder.
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
