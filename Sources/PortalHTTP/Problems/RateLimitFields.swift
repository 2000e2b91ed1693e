import Foundation
import HTTPTypes
import JSON
import Portal

/// A destination of header fields. `beginning` is the end of the previous line, the name, a colon and a space, so that
/// a field takes few appends.
protocol FieldSink {
  mutating func add(_ beginning: StaticString, _ number: Int)
  mutating func add(_ beginning: StaticString, _ value: (inout [UInt8]) -> Void)
}

extension FieldSink {
  /// Adds the fields of draft-ietf-httpapi-ratelimit-headers and the older `X-RateLimit-*` fields. When limited, also
  /// adds `Retry-After`, or `X-Latchkey-Retry: never` if waiting would not help.
  package mutating func add(_ limits: RateLimitDecision) {
    add("\r\nRateLimit-Policy: ") { bytes in
      bytes.append(each: limits) { bytes, standing in
        bytes.append("q=", decimal: standing.limit.limit)
        bytes.append(";w=", decimal: standing.limit.windowSeconds)
      }
    }
    add("\r\nRateLimit: ") { bytes in
      bytes.append(each: limits) { bytes, standing in
        bytes.append("r=", decimal: standing.window.remaining)
        bytes.append(";t=", decimal: standing.window.resetSeconds)
      }
    }
    let binding = limits.binding
    add("\r\nX-RateLimit-Limit: ", binding.limit)
    add("\r\nX-RateLimit-Remaining: ", binding.remaining)
    add("\r\nX-RateLimit-Reset: ", binding.resetSeconds)
    guard !binding.isAdmitted else { return }
    if let seconds = binding.retryAfterSeconds {
      add("\r\nRetry-After: ", seconds)
    } else {
      add("\r\nX-Latchkey-Retry: ") { $0.append("never") }
    }
  }
}

/// The bytes of a head, without the end of the last line.
extension [UInt8]: FieldSink {
  package mutating func add(_ beginning: StaticString, _ number: Int) { append(beginning, decimal: number) }

  package mutating func add(_ beginning: StaticString, _ value: (inout [UInt8]) -> Void) {
    append(beginning)
    value(&self)
  }

  fileprivate mutating func append(
    each limits: RateLimitDecision, _ body: (inout [UInt8], RateLimitDecision.Standing) -> Void
  ) {
    append(limits.own, body)
    for standing in limits.others {
      append(", ")
      append(standing, body)
    }
  }

  private mutating func append(
    _ standing: RateLimitDecision.Standing, _ body: (inout [UInt8], RateLimitDecision.Standing) -> Void
  ) {
    append(UInt8(ascii: "\""))
    append(text: standing.limit.name)
    append("\";")
    body(&self, standing)
  }
}

extension HTTPFields: FieldSink {
  package init(_ limits: RateLimitDecision) {
    self.init()
    add(limits)
  }

  package mutating func add(_ beginning: StaticString, _ number: Int) { add(beginning) { $0.append(decimal: number) } }

  package mutating func add(_ beginning: StaticString, _ value: (inout [UInt8]) -> Void) {
    let name = HTTPField.Name(beginning.description.trimmingCharacters(in: ["\r", "\n", ":", " "]))
    guard let name else { return }
    var bytes: [UInt8] = []
    value(&bytes)
    self[name] = String(decoding: bytes, as: UTF8.self)
  }
}
