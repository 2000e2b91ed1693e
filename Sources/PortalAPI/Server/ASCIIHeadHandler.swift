import NIOCore
import NIOHTTP1
import PortalHTTP

/// Percent-encodes the bytes of a head that are not ASCII (RFC 3986 2.1), in the target and in the values of fields, so
/// that the handlers behind it see only ASCII.
///
/// Nothing that the server looks for in a head has other characters (RFC 9110 5.5 calls them opaque), and a `String`
/// that may have them is expensive to compare; see ``ByteText``. A head that becomes too large is refused like any
/// other.
///
/// An `Idempotency-Key` with other characters has to be refused, because it would be a different key once encoded, and
/// so would an `X-On-Behalf-Of`, which is recorded as it is. Their values are removed, and routes refuse empty ones.
final class ASCIIHeadHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias InboundOut = HTTPServerRequestPart

  /// Whether a head was refused: everything that follows belongs to it.
  private var hasRefused = false

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if hasRefused { return }
    guard case .head(var head) = unwrapInboundIn(data),
      !head.uri.isASCII || head.headers.contains(where: { !$0.value.isASCII })
    else { return context.fireChannelRead(data) }
    let byteCount = head.headers.reduce(head.uri.encodedByteCount) {
      $0 + $1.name.utf8.count + $1.value.encodedByteCount
    }
    guard byteCount <= MalformedRequestHandler.headerSizeMax else {
      hasRefused = true
      return context.fireErrorCaught(HTTPParserError.headerOverflow)
    }
    head.uri = head.uri.encodedToASCII
    head.headers = HTTPHeaders(
      head.headers.map { name, value in
        let isRefused = !value.isASCII && ["idempotency-key", "x-on-behalf-of"].contains(name.lowercased())
        return (name, isRefused ? "" : value.encodedToASCII)
      })
    context.fireChannelRead(wrapInboundOut(.head(head)))
  }
}

extension String {
  fileprivate var isASCII: Bool { utf8.allSatisfy { $0 < 0x80 } }

  fileprivate var encodedByteCount: Int { utf8.reduce(0) { $0 + ($1 < 0x80 ? 1 : 3) } }

  fileprivate var encodedToASCII: String {
    if isASCII { return self }
    let digits = Array("0123456789ABCDEF".utf8)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(encodedByteCount)
    for byte in utf8 {
      if byte < 0x80 {
        bytes.append(byte)
      } else {
        bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
