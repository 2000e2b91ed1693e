import Hummingbird
import HummingbirdCore
import NIOHTTP1

extension HTTPServerBuilder {
  /// HTTP/1.1 as all ports have it; requests that `fastPath` can answer are answered before the decoder.
  static func portal(
    _ fastPath: FastPath?, timeouts: ConnectionTimeouts, limit: ConnectionLimit, drain: Drain
  ) -> HTTPServerBuilder {
    .http1(
      configuration: .init(
        additionalChannelHandlers: [
          MalformedRequestHandler(fastPath, timeouts: timeouts, limit: limit, drain: drain)
        ],
        httpDecoderConfiguration: .init(
          maxHeaderFieldSize: MalformedRequestHandler.headerSizeMax,
          maxHeaderListSize: MalformedRequestHandler.headerSizeMax, maxHeaderFieldCount: 100)))
  }
}
