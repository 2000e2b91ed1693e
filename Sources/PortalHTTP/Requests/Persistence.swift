import HTTPTypes
import NIOHTTP1

/// Whether a connection goes on after the answer to a request (RFC 9112 9.3), and how the answer ends.
package struct Persistence: Equatable, Sendable {
  /// Whether the request is HTTP/1.0: then no answer is chunked (RFC 9112 6.1), and the connection ends unless the
  /// client has asked that it goes on.
  package let isOld: Bool
  /// Whether the answer has no body, whatever its fields say.
  let isHead: Bool
  /// Whether the connection ends after the answer.
  private(set) var isLast: Bool

  package init(_ head: HTTPRequestHead) {
    isOld = Self.isOld(head.version)
    isHead = head.method == .HEAD
    isLast =
      Self.asksForAnotherProtocol(head) || Self.hasOption("close", head.headers)
      || isOld && !Self.hasOption("keep-alive", head.headers)
  }

  /// None is spoken here, and the decoder takes what comes behind such a request for that protocol.
  private static func asksForAnotherProtocol(_ head: HTTPRequestHead) -> Bool {
    head.method == .CONNECT || head.headers.contains(name: "upgrade")
  }

  /// Why a head is answered with 400, after which the connection ends; nil if it is not.
  package static func refusal(of head: HTTPRequestHead) -> Problem? {
    let hosts = head.headers["host"]
    if hosts.isEmpty, !isOld(head.version) {
      return Problem(.badRequest, .invalidRequest, "A request of HTTP/1.1 has a Host field.")
    }
    if hosts.count > 1 { return Problem(.badRequest, .invalidRequest, "A request has one Host field.") }
    if let host = hosts.first, !HostField.isValid(host) {
      return Problem(.badRequest, .invalidRequest, "The Host field is no host and port.")
    }
    if isOld(head.version), head.headers.contains(name: "transfer-encoding") {
      return Problem(.badRequest, .invalidRequest, "A request of HTTP/1.0 has no Transfer-Encoding.")
    }
    return nil
  }

  /// Gives the head of the answer its version and its `Connection`. The end of the connection is the end of a body to
  /// HTTP/1.0 whose size is not told.
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

  /// Whether `Connection` has an option, in lower case here, in any case there (RFC 9110 7.6.1), or `Proxy-Connection`,
  /// which the decoder takes for the same. By its bytes: the head is not ASCII yet.
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
