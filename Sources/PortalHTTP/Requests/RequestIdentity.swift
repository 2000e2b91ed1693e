import HTTPTypes
import Hummingbird
import Logging

/// A trusted proxy's identification of a request: its id (`X-Request-Id`) and the trace that it belongs to
/// (`traceparent`, W3C Trace Context).
package enum RequestIdentity {
  /// The longest id, in bytes.
  package static let lengthMax = 128

  /// Whether an id is accepted: visible ASCII without quotes and backslashes, so that logs, JSON and headers can have
  /// it without escapes.
  package static func isID(_ bytes: Span<UInt8>) -> Bool {
    guard (1...lengthMax).contains(bytes.count) else { return false }
    for index in bytes.indices {
      switch bytes[index] {
      case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "`"), UInt8(ascii: "\\"): return false
      case 0x21...0x7E: break
      default: return false
      }
    }
    return true
  }

  /// The range of the trace id in a `traceparent` (3.2), 32 hexadecimal digits; nil if it is not valid. In later
  /// versions, only the part that they share with version 00 is read.
  static func traceID(in bytes: Span<UInt8>) -> Range<Int>? {
    let (version, trace, parent, flags) = (0..<2, 3..<35, 36..<52, 53..<55)
    let dash = UInt8(ascii: "-")
    guard bytes.count >= flags.upperBound, bytes[2] == dash, bytes[35] == dash, bytes[52] == dash,
      isHex(version, bytes), isHex(trace, bytes), isHex(parent, bytes), isHex(flags, bytes),
      !isAll("0", trace, bytes), !isAll("0", parent, bytes), !isAll("f", version, bytes)
    else { return nil }
    let isWhole = bytes.count == flags.upperBound
    guard isWhole || !isAll("0", version, bytes) && bytes[flags.upperBound] == dash else { return nil }
    return trace
  }

  private static func isHex(_ place: Range<Int>, _ bytes: Span<UInt8>) -> Bool {
    for index in place {
      switch bytes[index] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): break
      default: return false
      }
    }
    return true
  }

  private static func isAll(_ digit: Unicode.Scalar, _ place: Range<Int>, _ bytes: Span<UInt8>) -> Bool {
    for index in place where bytes[index] != UInt8(ascii: digit) { return false }
    return true
  }
}

/// The outermost middleware. Gives each request its id, and its log lines the id and the trace. Only a trusted proxy's
/// are accepted: from anybody else, they could be used to forge log lines.
package struct RequestIdentityMiddleware: RouterMiddleware {
  /// Where the framework looks for the id.
  private static let idKey = "hb.request.id"
  private static let traceKey = "trace.id"

  package let proxies: TrustedProxies
  private let ids = RequestIDs()

  package init(proxies: TrustedProxies) { self.proxies = proxies }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    var context = context
    // No other middleware has replaced the peer's address yet.
    let isTrusted = proxies.isTrusted(peer: context.clientAddress)
    let id = isTrusted ? request.proxyID : nil
    context.logger[metadataKey: Self.idKey] = .string(id ?? ids.next())
    if isTrusted, let trace = request.traceID { context.logger[metadataKey: Self.traceKey] = .string(trace) }
    return try await next(request, context)
  }
}

extension Request {
  fileprivate var proxyID: String? {
    let values = headers[values: .xRequestID]
    guard values.count == 1 else { return nil }
    let bytes = Array(values[0].utf8)
    return RequestIdentity.isID(bytes.span) ? values[0] : nil
  }

  fileprivate var traceID: String? {
    let values = headers[values: .traceparent]
    guard values.count == 1 else { return nil }
    let bytes = Array(values[0].utf8)
    guard let place = RequestIdentity.traceID(in: bytes.span) else { return nil }
    return String(decoding: bytes[place], as: UTF8.self)
  }
}

extension HTTPField.Name {
  // Safe: it is a valid name.
  // swift-format-ignore: NeverForceUnwrap
  fileprivate static let traceparent = HTTPField.Name("traceparent")!
}
