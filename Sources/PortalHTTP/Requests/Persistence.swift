import HTTPTypes
import NIOHTTP1

/// Whether a connection goes on after the answer to a request (RFC 9112 9.3), and how the answer ends.
struct Persistence: Equatable, Sendable {
  /// Whether the request is HTTP/1.0: then no answer is chunked (RFC 9112 6.1), and the connection ends unless the
  /// client has asked that it goes on.
  let isOld: Bool
  /// Whether the answer has no body, whatever its fields say.
  let isHead: Bool
  /// Whether the connection ends after the answer.
  private(set) var isLast: Bool

  init(_ head: HTTPRequestHead) {
    isOld = Self.isOld(head.version)
    isHead = head.method == .HEAD
    let options = head.headers[canonicalForm: "connection"].map { $0.lowercased() }
    isLast = options.contains("close") || isOld && !options.contains("keep-alive")
  }

  /// Why a head is answered with 400, after which the connection ends; nil if it is not.
  static func refusal(of head: HTTPRequestHead) -> Problem? {
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
  mutating func prepare(_ head: inout HTTPResponseHead) {
    if isOld {
      head.version = .http1_0
      head.headers.remove(name: "transfer-encoding")
      if !isFramed(head) { isLast = true }
    }
    if head.headers[canonicalForm: "connection"].contains(where: { $0.lowercased() == "close" }) { isLast = true }
    if isLast {
      head.headers.replaceOrAdd(name: "Connection", value: "close")
    } else if isOld {
      head.headers.replaceOrAdd(name: "Connection", value: "keep-alive")
    }
  }

  private static func isOld(_ version: HTTPVersion) -> Bool { (version.major, version.minor) < (1, 1) }

  private func isFramed(_ head: HTTPResponseHead) -> Bool {
    isHead || head.headers.contains(name: "content-length") || head.status == .noContent || head.status == .notModified
  }
}
