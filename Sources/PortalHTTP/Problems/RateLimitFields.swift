package import HTTPTypes
import JSON
package import Portal

/// A field about rate limits.
private enum RateLimitField {
  case policy, state, limit, remaining, reset, retryAfter, retry

  /// The end of the previous line, the name, a colon and a space, so that a field takes few appends.
  var beginning: StaticString {
    switch self {
    case .policy: "\r\nRateLimit-Policy: "
    case .state: "\r\nRateLimit: "
    case .limit: "\r\nX-RateLimit-Limit: "
    case .remaining: "\r\nX-RateLimit-Remaining: "
    case .reset: "\r\nX-RateLimit-Reset: "
    case .retryAfter: "\r\nRetry-After: "
    case .retry: "\r\nX-Latchkey-Retry: "
    }
  }

  var name: HTTPField.Name {
    switch self {
    case .policy: .rateLimitPolicy
    case .state: .rateLimit
    case .limit: .xRateLimitLimit
    case .remaining: .xRateLimitRemaining
    case .reset: .xRateLimitReset
    case .retryAfter: .retryAfter
    case .retry: .xLatchkeyRetry
    }
  }
}

// Safe: they are valid names.
// swift-format-ignore: NeverForceUnwrap
extension HTTPField.Name {
  fileprivate static let rateLimitPolicy = HTTPField.Name("RateLimit-Policy")!
  fileprivate static let rateLimit = HTTPField.Name("RateLimit")!
  fileprivate static let xRateLimitLimit = HTTPField.Name("X-RateLimit-Limit")!
  fileprivate static let xRateLimitRemaining = HTTPField.Name("X-RateLimit-Remaining")!
  fileprivate static let xRateLimitReset = HTTPField.Name("X-RateLimit-Reset")!
  fileprivate static let xLatchkeyRetry = HTTPField.Name("X-Latchkey-Retry")!
}

/// A destination of the fields. Private, because a generic function is specialized only in its own module: the verify
/// path would call it through witness tables.
private protocol FieldSink {
  mutating func add(_ field: RateLimitField, _ value: (inout [UInt8]) -> Void)
}

extension FieldSink {
  /// Adds nothing if there is no limit. Otherwise adds the fields of draft-ietf-httpapi-ratelimit-headers and the older
  /// `X-RateLimit-*` fields. When limited, also adds `Retry-After`, or `X-Latchkey-Retry: never` if waiting would not
  /// help. The fields list at most ``RateLimitDecision/listedCountMax`` limits.
  fileprivate mutating func addAll(of decision: RateLimitDecision) {
    guard let binding = decision.binding else { return }
    let limits = decision.listed
    add(.policy) { bytes in
      bytes.append(each: limits) { bytes, standing in
        bytes.append("q=", decimal: standing.limit.limit)
        bytes.append(";w=", decimal: standing.limit.windowSeconds)
      }
    }
    add(.state) { bytes in
      bytes.append(each: limits) { bytes, standing in
        bytes.append("r=", decimal: standing.window.remaining)
        bytes.append(";t=", decimal: standing.window.resetSeconds)
      }
    }
    add(.limit) { $0.append(decimal: binding.limit) }
    add(.remaining) { $0.append(decimal: binding.remaining) }
    add(.reset) { $0.append(decimal: binding.resetSeconds) }
    guard !binding.isAdmitted else { return }
    if let seconds = binding.retryAfterSeconds {
      add(.retryAfter) { $0.append(decimal: seconds) }
    } else {
      add(.retry) { $0.append("never") }
    }
  }
}

/// The bytes of a head, without the end of the last line.
extension [UInt8]: FieldSink {
  /// Adds the fields about rate limits.
  package mutating func add(_ limits: RateLimitDecision) { addAll(of: limits) }

  fileprivate mutating func add(_ field: RateLimitField, _ value: (inout [UInt8]) -> Void) {
    append(field.beginning)
    value(&self)
  }

  fileprivate mutating func append(
    each limits: RateLimitDecision, _ body: (inout [UInt8], RateLimitDecision.Standing) -> Void
  ) {
    if let first = limits.first { append(first, body) }
    for standing in limits.others {
      append(", ")
      append(standing, body)
    }
  }

  private mutating func append(
    _ standing: RateLimitDecision.Standing, _ body: (inout [UInt8], RateLimitDecision.Standing) -> Void
  ) {
    append(UInt8(ascii: "\""))
    append(text: standing.shortName)
    append("\";")
    body(&self, standing)
  }
}

extension HTTPFields: FieldSink {
  /// The fields about rate limits.
  package init(_ limits: RateLimitDecision) {
    self.init()
    add(limits)
  }

  /// Adds the fields about rate limits.
  package mutating func add(_ limits: RateLimitDecision) { addAll(of: limits) }

  fileprivate mutating func add(_ field: RateLimitField, _ value: (inout [UInt8]) -> Void) {
    var bytes: [UInt8] = []
    value(&bytes)
    self[field.name] = String(decoding: bytes, as: UTF8.self)
  }
}
