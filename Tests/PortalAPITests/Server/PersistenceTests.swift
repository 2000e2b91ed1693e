import Foundation
import NIOHTTP1
import PortalTesting
import PostgresTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("Persistence of connections")
struct PersistenceTests {
  private static let health = "GET /healthz HTTP/1.0\r\n"
  private static let last = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

  private func persistence(_ version: HTTPVersion, _ connection: String..., method: HTTPMethod = .GET) -> Persistence {
    Persistence(
      HTTPRequestHead(
        version: version, method: method, uri: "/", headers: HTTPHeaders(connection.map { ("Connection", $0) })))
  }

  /// The head of an answer with this status and these fields, as it is sent.
  private func answer(
    _ persistence: Persistence, _ status: HTTPResponseStatus = .ok, _ fields: (String, String)...
  ) -> (head: HTTPResponseHead, isLast: Bool) {
    var persistence = persistence
    var head = HTTPResponseHead(version: .http1_1, status: status, headers: HTTPHeaders(fields))
    persistence.prepare(&head)
    return (head, persistence.isLast)
  }

  // MARK: The rules

  @Test(
    "an HTTP/1.1 connection persists unless the client ends it; an HTTP/1.0 connection only if the client asks for it")
  func requests() {
    #expect(!persistence(.http1_1).isLast && !persistence(.http1_1, "keep-alive").isLast)
    for option in ["close", "Close", "x, close", "keep-alive, close"] {
      #expect(persistence(.http1_1, option).isLast && persistence(.http1_0, option).isLast, "\(option)")
    }
    #expect(persistence(.http1_1, "x", "close").isLast)
    #expect(persistence(.http1_0).isLast && persistence(.http1_0, "x").isLast)
    #expect(!persistence(.http1_0, "Keep-Alive").isLast && !persistence(.http1_0, "x, keep-alive").isLast)
    #expect(persistence(.http1_0, "keep-alive", "close").isLast)
  }

  @Test("a request for another protocol is the last one, and Proxy-Connection is read like Connection")
  func otherProtocols() {
    func isLast(_ fields: (String, String)..., method: HTTPMethod = .GET) -> Bool {
      Persistence(
        HTTPRequestHead(version: .http1_1, method: method, uri: "/", headers: HTTPHeaders(fields))
      ).isLast
    }
    #expect(isLast(("Upgrade", "websocket"), ("Connection", "Upgrade")) && isLast(("upgrade", "h2c")))
    #expect(isLast(method: .CONNECT))
    #expect(isLast(("Proxy-Connection", "close")) && isLast(("Connection", "x"), ("proxy-connection", "Close")))
    #expect(!isLast(("Proxy-Connection", "keep-alive")) && !isLast(("Connection", "upgrade")))
  }

  @Test("an answer says whether the connection persists, unless that is the default of HTTP/1.1")
  func announced() {
    let length = ("Content-Length", "2")
    let kept = answer(persistence(.http1_1), .ok, length)
    #expect(!kept.isLast && kept.head.version == .http1_1 && kept.head.headers["connection"] == [])
    let ended = answer(persistence(.http1_1, "close"), .ok, length)
    #expect(ended.isLast && ended.head.headers["connection"] == ["close"])
    let old = answer(persistence(.http1_0), .ok, length)
    #expect(old.isLast && old.head.version == .http1_0 && old.head.headers["connection"] == ["close"])
    let oldKept = answer(persistence(.http1_0, "keep-alive"), .ok, length)
    #expect(!oldKept.isLast && oldKept.head.headers["connection"] == ["keep-alive"])
    let refused = answer(persistence(.http1_1), .badRequest, length, ("Connection", "close"))
    #expect(refused.isLast && refused.head.headers["connection"] == ["close"])
  }

  @Test("for HTTP/1.0, a body without a length ends with the connection, whatever the client asked for")
  func streamed() {
    let streamed = answer(persistence(.http1_0, "keep-alive"), .ok, ("Transfer-Encoding", "chunked"))
    #expect(streamed.isLast && streamed.head.headers["connection"] == ["close"])
    #expect(!streamed.head.headers.contains(name: "transfer-encoding"))
    #expect(!answer(persistence(.http1_1)).isLast)
    for status in [HTTPResponseStatus.noContent, .notModified] {
      #expect(!answer(persistence(.http1_0, "keep-alive"), status).isLast)
    }
    #expect(!answer(persistence(.http1_0, "keep-alive", method: .HEAD)).isLast)
  }

  // MARK: Over a connection

  @Test("an HTTP/1.0 request is answered, and the connection ends")
  func old() async throws {
    try await withPortal(.live) { portal in
      for fields in ["", "Host: a\r\n", "Connection: close\r\n", "Expect: 100-continue\r\n"] {
        let text = try await exchange(portal, Self.health + fields + "\r\n")
        #expect(text.hasPrefix("HTTP/1.0 200 "), "\(fields)")
        let answers = try rawAnswers(in: text)
        #expect(answers.count == 1 && answers[0].headers["connection"] == "close", "\(fields)")
        #expect(answers[0].body["status"].string == "ok", "\(fields)")
        #expect(answers[0].headers["transfer-encoding"] == nil, "\(fields)")
      }
      // What follows it is ignored.
      #expect(try await answers(portal, Self.health + "\r\n" + Self.last).map(\.status) == [200])
    }
  }

  @Test("HTTP/1.0 keeps its connection on request, for answers of known size")
  func oldKept() async throws {
    try await withPortal(.live) { portal in
      let kept = Self.health + "Connection: Keep-Alive\r\n\r\n"
      let answers = try await answers(portal, kept + kept, Self.health + "\r\n")
      #expect(answers.map(\.status) == [200, 200, 200])
      #expect(answers.map { $0.headers["connection"] } == ["keep-alive", "keep-alive", "close"])
      #expect(answers.allSatisfy { $0.headers["content-length"] != nil })
    }
  }

  @Test("for HTTP/1.0, CSV is one unchunked body that ends with the connection, even if the client asked to keep it")
  func csv() async throws {
    try await withPortal(.live) { portal in
      let token = try await portal.analyst()
      for fields in ["", "Connection: keep-alive\r\n"] {
        let text = try await exchange(
          portal,
          "GET /v1/analytics/usage?from=2026-01-01&to=2026-01-02 HTTP/1.0\r\nAccept: text/csv\r\n"
            + "Authorization: Bearer \(token)\r\n\(fields)\r\n")
        let parts = text.components(separatedBy: "\r\n\r\n")
        let head = parts[0].lowercased()
        #expect(head.hasPrefix("http/1.0 200 ") && head.contains("text/csv"))
        #expect(head.contains("connection: close") && !head.contains("transfer-encoding"))
        #expect(!head.contains("content-length"))
        #expect(parts.count == 2 && parts[1].hasPrefix("date,successes,") && parts[1].hasSuffix("\r\n"))
      }
    }
  }

  @Test("an HTTP/1.1 connection persists without a Connection field, and its end is announced")
  func new() async throws {
    try await withPortal(.live) { portal in
      let health = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
      let answers = try await answers(portal, health + Self.last + health)
      #expect(answers.map(\.status) == [200, 200])
      #expect(answers.map { $0.headers["connection"] } == [nil, "close"])
    }
  }

  @Test("a request for another protocol is answered like any other, and what follows is ignored")
  func upgrades() async throws {
    try await withPortal(.live) { portal in
      for fields in [
        "Upgrade: websocket\r\nConnection: Upgrade\r\n", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n",
        "Upgrade: h2c\r\n", "Proxy-Connection: close\r\n",
      ] {
        for last in [Self.last, String(repeating: "a", count: 100_000)] {
          let answers = try await answers(portal, "GET /healthz HTTP/1.1\r\nHost: a\r\n\(fields)\r\n", last)
          #expect(answers.map(\.status) == [200], "\(fields)")
          #expect(answers.first?.headers["connection"] == "close", "\(fields)")
        }
      }
      let answers = try await answers(portal, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Self.last)
      #expect(answers.count == 1 && answers.first.map { (400..<500).contains($0.status) } == true)
    }
  }

  @Test("HTTP/1.1 without exactly one valid Host is refused, also for hot routes and behind other requests")
  func hosts() async throws {
    try await withPortal(.live) { portal in
      // One is passed on alone; with the other, the decoder gets the rest of the connection.
      let healths = ["", "X-Odd: é\r\n"].map { "GET /healthz HTTP/1.1\r\nHost: a\r\n\($0)\r\n" }
      for (line, fields) in [
        ("GET /healthz HTTP/1.1", ""), ("GET /healthz HTTP/1.1", "Host: a\r\nHost: a\r\n"),
        ("GET /healthz HTTP/1.1", "Host:\r\n"), ("GET /healthz HTTP/1.1", "Host: a b\r\n"),
        ("GET /healthz HTTP/1.1", "Host: a/b\r\n"), ("GET /healthz HTTP/1.1", "Host: u@a\r\n"),
        ("GET http://a/healthz HTTP/1.1", ""), ("GET /v1/authorize HTTP/1.1", ""),
        ("POST /v1/verify HTTP/1.1", "Content-Length: 2\r\n"), ("GET /healthz HTTP/1.0", "Host: a\r\nHost: b\r\n"),
        ("GET /healthz HTTP/1.0", "Host: a b\r\n"),
      ] {
        let request = "\(line)\r\n\(fields)\r\n\(fields.hasPrefix("Content-Length") ? "{}" : "")"
        let alone = try await answers(portal, request)
        #expect(alone.count == 1, "\(request)")
        expectProblem(alone.first, 400, "invalid_request", "\(request)")
        #expect(alone.first?.headers["connection"] == "close", "\(request)")
        for health in healths {
          let behind = try await answers(portal, health + request + Self.last)
          #expect(behind.map(\.status) == [200, 400], "\(request)")
          expectProblem(behind.last, 400, "invalid_request", "\(request)")
        }
      }
    }
  }

  @Test(
    "HTTP/1.0 with Transfer-Encoding is refused: it has no such field, and a proxy may have seen two requests")
  func transferEncoding() async throws {
    try await withPortal(.live) { portal in
      let answers = try await answers(
        portal,
        "POST /v1/login HTTP/1.0\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"
          + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + Self.last)
      #expect(answers.count == 1)
      expectProblem(answers.first, 400, "invalid_request")
      #expect(answers.first?.headers["connection"] == "close")
    }
  }
}
