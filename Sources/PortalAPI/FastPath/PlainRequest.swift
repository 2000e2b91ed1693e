import JSON
import PortalHTTP

/// A request so plain that every parser of HTTP/1.1 must read it the same way (RFC 9112), found in the bytes of a
/// connection before the decoder sees them.
///
/// A plain request has one of six methods, a target of visible ASCII, `HTTP/1.1`, only CRLF as line ending, names of
/// letters, digits, `-` and `_` without space before the colon, values of printable ASCII, at most one `Content-Length`
/// of digits, one valid `Host`, and none of `Transfer-Encoding`, `Expect`, `Upgrade`, `Proxy-Connection` or a
/// `Connection` other than `keep-alive`. Its end is therefore beyond doubt. A request that is not plain is not an
/// error: the decoder judges it.
struct PlainRequest: Equatable {
  /// The largest request line and header fields together, in bytes, and the most fields; the decoder has the same
  /// limits.
  static let headSizeMax = 32 << 10
  static let fieldCountMax = 100
  /// The largest body, in bytes; a request with a larger one is the decoder's.
  static let bodySizeMax = VerificationController.batchBodySizeMax

  enum Framing: Equatable {
    /// The rest of the head has yet to arrive: at least this many bytes are needed in all.
    case incomplete(atLeast: Int)
    case notPlain
    /// The head is whole, and at least part of the body has yet to arrive.
    case body(PlainRequest)
    case complete(PlainRequest)
  }

  /// The fields that the hot routes read: for each the range of its value in the bytes, without the space around it.
  struct Fields: Equatable {
    @Place var authorization: Range<Int>?
    @Place var contentType: Range<Int>?
    @Place var token: Range<Int>?
    @Place var apiKey: Range<Int>?
    @Place var requiredScope: Range<Int>?
    @Place var requiredPermission: Range<Int>?
    @Place var scopeMatch: Range<Int>?
    @Place var resource: Range<Int>?
    @Place var clientIP: Range<Int>?
    @Place var originalMethod: Range<Int>?
    @Place var originalURI: Range<Int>?
    @Place var creditCost: Range<Int>?
    @Place var requestID: Range<Int>?
    @Place var contentEncoding: Range<Int>?
    /// Whether one of them occurs twice.
    var hasRepetition = false

    fileprivate mutating func set(_ field: WritableKeyPath<Fields, Range<Int>?>, _ value: Range<Int>) {
      if self[keyPath: field] != nil { hasRepetition = true }
      self[keyPath: field] = value
    }
  }

  /// The range of a value, in eight bytes: a request is copied a few times while it is answered.
  @propertyWrapper
  struct Place: Equatable {
    // A request is smaller than 4 GiB.
    private var start: UInt32 = .max
    private var end: UInt32 = .max

    var wrappedValue: Range<Int>? {
      get { start == .max ? nil : Int(start)..<Int(end) }
      set {
        start = newValue.map { UInt32(truncatingIfNeeded: $0.lowerBound) } ?? .max
        end = newValue.map { UInt32(truncatingIfNeeded: $0.upperBound) } ?? .max
      }
    }
  }

  /// A request without content.
  static let none = PlainRequest(target: nil, fields: Fields(), byteCount: 0, bodyCount: 0)

  /// Nil for any other route.
  var target: HotRoute?
  var fields: Fields
  /// The size of the whole request, and of the body at its end, in bytes.
  var byteCount: Int
  var bodyCount: Int

  var body: Range<Int> { byteCount - bodyCount..<byteCount }

  /// The ranges of the values of any field in the bytes that the request was found in. `name` is in lower case.
  func values(of name: String, _ bytes: Span<UInt8>) -> [Range<Int>] {
    var values: [Range<Int>] = []
    let end = byteCount - bodyCount
    var start = 0
    // A plain head has CR only at the end of a line, followed by LF.
    while start < end {
      var lineEnd = start
      while lineEnd < end, bytes[lineEnd] != UInt8(ascii: "\r") { lineEnd += 1 }
      defer { start = lineEnd + 2 }
      let colon = start + name.utf8.count
      guard colon < lineEnd, bytes[colon] == UInt8(ascii: ":") else { continue }
      let isNamed = zip(start..<colon, name.utf8).allSatisfy { bytes.has(inAnyCase: $1, at: $0) }
      if isNamed { values.append(colon + 1..<lineEnd) }
    }
    return values
  }

  /// Finds the request at the beginning of the bytes.
  static func frame(_ bytes: Span<UInt8>) -> Framing {
    var reader = HeadReader()
    return reader.read(bytes)
  }
}

/// Reads a head byte by byte.
private struct HeadReader {
  private enum Line {
    case end
    case field
    case incomplete
    case notPlain
  }

  private var position = 0
  private var fields = PlainRequest.Fields()
  private var target: HotRoute?
  private var contentLength: Int?
  private var hasHost = false

  mutating func read(_ bytes: Span<UInt8>) -> PlainRequest.Framing {
    switch readRequestLine(bytes) {
    case .field: break
    case .incomplete: return incomplete(bytes)
    default: return .notPlain
    }
    var count = 0
    lines: while true {
      switch readLine(bytes) {
      case .field:
        count += 1
        if count > PlainRequest.fieldCountMax { return .notPlain }
      case .end: break lines
      case .incomplete: return incomplete(bytes)
      case .notPlain: return .notPlain
      }
    }
    let bodyCount = contentLength ?? 0
    guard hasHost, position <= PlainRequest.headSizeMax, bodyCount <= PlainRequest.bodySizeMax else { return .notPlain }
    let byteCount = position + bodyCount
    let request = PlainRequest(target: target, fields: fields, byteCount: byteCount, bodyCount: bodyCount)
    return byteCount <= bytes.count ? .complete(request) : .body(request)
  }

  private func incomplete(_ bytes: Span<UInt8>) -> PlainRequest.Framing {
    bytes.count < PlainRequest.headSizeMax ? .incomplete(atLeast: bytes.count + 1) : .notPlain
  }

  // MARK: The request line

  private mutating func readRequestLine(_ bytes: Span<UInt8>) -> Line {
    if skip(HotRoute.verify.requestLine, bytes) == .whole {
      target = .verify
    } else if skip(HotRoute.authorize.requestLine, bytes) == .whole {
      target = .authorize
    } else if skip(HotRoute.verifyBatch.requestLine, bytes) == .whole {
      target = .verifyBatch
    } else {
      return readOtherRequestLine(bytes)
    }
    return .field
  }

  private mutating func readOtherRequestLine(_ bytes: Span<UInt8>) -> Line {
    let methods: [StaticString] = ["GET ", "POST ", "PUT ", "PATCH ", "DELETE ", "HEAD "]
    var found = Match.none
    for method in methods where found == .none { found = skip(method, bytes) }
    guard found == .whole else { return found == .beginning ? .incomplete : .notPlain }
    guard position < bytes.count else { return .incomplete }
    guard bytes[position] == UInt8(ascii: "/") else { return .notPlain }
    while position < bytes.count, (0x21...0x7E).contains(bytes[position]) { position += 1 }
    return switch skip(" HTTP/1.1\r\n", bytes) {
    case .whole: .field
    case .beginning: .incomplete
    case .none: .notPlain
    }
  }

  /// How much of a text was found.
  private enum Match {
    case whole
    /// The bytes match as far as they go, and end before the text does.
    case beginning
    case none
  }

  /// Steps over a text if it comes next.
  private mutating func skip(_ text: StaticString, _ bytes: Span<UInt8>) -> Match {
    let count = min(text.utf8CodeUnitCount, bytes.count - position)
    guard bytes.begins(text, at: position) else { return .none }
    guard count == text.utf8CodeUnitCount else { return .beginning }
    position += count
    return .whole
  }

  // MARK: Fields

  private mutating func readLine(_ bytes: Span<UInt8>) -> Line {
    switch skip("\r\n", bytes) {
    case .whole: return .end
    case .beginning: return .incomplete
    case .none: break
    }
    let nameStart = position
    while position < bytes.count, Self.isInName(bytes[position]) { position += 1 }
    let name = nameStart..<position
    guard position < bytes.count else { return .incomplete }
    guard bytes[position] == UInt8(ascii: ":"), !name.isEmpty else { return .notPlain }
    position += 1
    while position < bytes.count, Self.isSpace(bytes[position]) { position += 1 }
    let valueStart = position
    while position < bytes.count, (0x20...0x7E).contains(bytes[position]) || bytes[position] == UInt8(ascii: "\t") {
      position += 1
    }
    var valueEnd = position
    while valueEnd > valueStart, Self.isSpace(bytes[valueEnd - 1]) { valueEnd -= 1 }
    switch skip("\r\n", bytes) {
    case .whole: break
    case .beginning: return .incomplete
    case .none: return .notPlain
    }
    return take(name, valueStart..<valueEnd, bytes) ? .field : .notPlain
  }

  private static func isInName(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) || (0x30...0x39).contains(byte)
      || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

  /// Returns false for a field that makes the request not plain.
  private mutating func take(_ name: Range<Int>, _ value: Range<Int>, _ bytes: Span<UInt8>) -> Bool {
    func isName(_ wanted: StaticString) -> Bool { bytes.begins(inAnyCase: wanted, at: name) }
    // Compares lengths first: most fields are none of these.
    switch name.count {
    case 4 where isName("host"):
      defer { hasHost = true }
      return !hasHost && HostField.isValid(bytes.extracting(value))
    case 6 where isName("expect"), 7 where isName("upgrade"), 17 where isName("transfer-encoding"): return false
    case 9 where isName("x-api-key"): fields.set(\.apiKey, value)
    case 10 where isName("connection"): return value.count == 10 && bytes.begins(inAnyCase: "keep-alive", at: value)
    case 10 where isName("x-resource"): fields.set(\.resource, value)
    case 11 where isName("x-client-ip"): fields.set(\.clientIP, value)
    case 12 where isName("content-type"): fields.set(\.contentType, value)
    case 12 where isName("x-request-id"): fields.set(\.requestID, value)
    case 13 where isName("x-credit-cost"): fields.set(\.creditCost, value)
    case 13 where isName("authorization"): fields.set(\.authorization, value)
    case 13 where isName("x-scope-match"): fields.set(\.scopeMatch, value)
    case 14 where isName("content-length"): return takeContentLength(value, bytes)
    case 14 where isName("x-original-uri"): fields.set(\.originalURI, value)
    case 16 where isName("proxy-connection"): return false
    case 16 where isName("content-encoding"): fields.set(\.contentEncoding, value)
    case 16 where isName("x-latchkey-token"): fields.set(\.token, value)
    case 16 where isName("x-required-scope"): fields.set(\.requiredScope, value)
    case 17 where isName("x-original-method"): fields.set(\.originalMethod, value)
    case 21 where isName("x-required-permission"): fields.set(\.requiredPermission, value)
    default: break
    }
    return true
  }

  private mutating func takeContentLength(_ value: Range<Int>, _ bytes: Span<UInt8>) -> Bool {
    guard contentLength == nil, (1...7).contains(value.count) else { return false }
    var length = 0
    for index in value {
      guard (0x30...0x39).contains(bytes[index]) else { return false }
      length = length * 10 + Int(bytes[index] - 0x30)
    }
    contentLength = length
    return true
  }
}
