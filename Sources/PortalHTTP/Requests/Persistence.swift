import HTTPTypes
package import NIOHTTP1

/// Whether a connection persists after the answer to a request (RFC 9112 9.3), and how the answer ends.
package struct Persistence: Equatable, Sendable {
  /// Whether the request is HTTP/1.0: then no answer is chunked (RFC 9112 6.1), and the connection ends unless the
  /// client has asked to keep it.
  package let isOld: Bool
  /// Whether the answer has no body, whatever its fields say.
  package let isHead: Bool
  /// Whether the connection ends after the answer.
  package private(set) var isLast: Bool

  package init(_ head: HTTPRequestHead) {
    isOld = Self.isOld(head.version)
    isHead = head.method == .HEAD
    isLast =
      Self.asksForAnotherProtocol(head) || Self.hasOption("close", head.headers)
      || isOld && !Self.hasOption("keep-alive", head.headers)
  }

  /// No other protocol is spoken here, and the decoder takes what follows such a request for that protocol.
  private static func asksForAnotherProtocol(_ head: HTTPRequestHead) -> Bool {
    head.method == .CONNECT || head.headers.contains(name: "upgrade")
  }

  /// The problem with which a head is refused, after which the connection ends; nil if it is accepted.
  package static func refusal(of head: HTTPRequestHead) -> Problem? {
    let hosts = head.headers["host"]
    if hosts.isEmpty, !isOld(head.version) {
      return Problem(.badRequest, .invalidRequest, "An HTTP/1.1 request must have a Host field.")
    }
    if hosts.count > 1 { return Problem(.badRequest, .invalidRequest, "A request must have only one Host field.") }
    if let host = hosts.first, !HostField.isValid(host) {
      return Problem(.badRequest, .invalidRequest, "The Host field must be a host, with or without a port.")
    }
    if isOld(head.version), head.headers.contains(name: "transfer-encoding") {
      return Problem(.badRequest, .invalidRequest, "An HTTP/1.0 request must not have Transfer-Encoding.")
    }
    return nil
  }

  /// Sets the version and the `Connection` field of an answer's head. For HTTP/1.0, a body of unknown size ends with
  /// the connection.
  package mutating func prepare(_ head: inout HTTPResponseHead) {
    if isOld {
      head.version = .http1_0
      head.headers.remove(name: "transfer-encoding")
      if !isFramed(head) { isLast = true }
    }
    if Self.hasOption("close", head.headers) { isLast = true }
    if isLast {
      head.headers.replaceOrAdd(name: "Connection", value: "close")
    } else if isOld {
      head.headers.replaceOrAdd(name: "Connection", value: "keep-alive")
    }
  }

  /// Whether `Connection`, or `Proxy-Connection`, which the decoder treats the same, has an option (in lower case here,
  /// in any case in the field; RFC 9110 7.6.1). Compares bytes, because the head is not ASCII yet.
  private static func hasOption(_ option: String, _ headers: HTTPHeaders) -> Bool {
    (headers["connection"] + headers["proxy-connection"]).contains { value in
      value.utf8.split(separator: UInt8(ascii: ",")).contains { part in
        let name = part.drop(while: isSpace).reversed().drop(while: isSpace).reversed()
        return name.elementsEqual(option.utf8) { $0 | 0x20 == $1 }
      }
    }
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

  private static func isOld(_ version: HTTPVersion) -> Bool { (version.major, version.minor) < (1, 1) }

  private func isFramed(_ head: HTTPResponseHead) -> Bool {
    isHead || head.headers.contains(name: "content-length") || head.status == .noContent || head.status == .notModified
  }
}
