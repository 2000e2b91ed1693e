import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

/// Parts of requests.
private enum Line {
  static let host = "Host: localhost\r\n"
  static let close = "Connection: close\r\n"
  static let json = "Content-Type: application/json\r\n"
  static let health = "GET /healthz HTTP/1.1\r\n\(host)\r\n"
  static let lastHealth = "GET /healthz HTTP/1.1\r\n\(host)\(close)\r\n"
}

@Suite("Raw requests")
struct MalformedRequestTests {
  @Test("input that is not HTTP is answered with a problem document, and the connection is closed")
  func garbage() async throws {
    try await withPortal(.live) { portal in
      for request in [
        "GARBAGE\r\n\r\n", "GET\r\n\r\n", "GET /healthz\r\n\r\n", "GET /healthz HTTP/9.9\r\n\r\n",
        "GET /healthz HTTP/1.1 x\r\n\r\n", "GET /health z HTTP/1.1\r\n\r\n", "G\u{0}T / HTTP/1.1\r\n\r\n",
        "GET /\u{0} HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\(Line.host)no colon\r\n\r\n", "GET /healthz HTTP/1.1\r\n\(Line.host)a b: c\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\(Line.host)a: b\u{0}c\r\n\r\n",
        "POST /v1/login HTTP/1.1\r\n\(Line.host)Content-Length : 2\r\n\r\n{}",
      ] {
        let answers = try await answers(portal, request)
        #expect(answers.count == 1, "\(request)")
        expectProblem(answers.first, 400, "invalid_request", "\(request)")
        #expect(answers.first?.headers["connection"] == "close")
      }
    }
  }

  @Test("a head that is not ASCII is read as its percent-encoding, and refused if that is too large")
  func notASCII() async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      let head = "GET /v1/me HTTP/1.1\r\n\(Line.host)Authorization: Bearer \(customer.token)\r\n"
      for field in ["User-Agent: é\r\n", "X-Other: \(String(repeating: "é", count: 5_000))\r\n", "Cookie: a=é\r\n"] {
        let answers = try await answers(portal, head + field + "\r\n", Line.lastHealth)
        #expect(answers.map(\.status) == [200, 200], "\(field.prefix(20))")
      }
      let large = "X-Other: \(String(repeating: "é", count: 6_000))\r\n\r\n"
      let refused = try await answers(portal, head + large)
      #expect(refused.count == 1)
      expectProblem(refused.first, 431, "headers_too_large")
      // A target has no such bytes (RFC 3986 2); the decoder refuses them.
      let target = try await answers(portal, "GET /é HTTP/1.1\r\n\(Line.host)\(Line.close)\r\n")
      expectProblem(target.first, 400, "invalid_request")
    }
  }

  @Test("a body with an ambiguous length is refused: two servers could read different requests")
  func lengths() async throws {
    try await withPortal(.live) { portal in
      for headers in [
        "Content-Length: x\r\n", "Content-Length: -1\r\n", "Content-Length: 1 1\r\n", "Content-Length: 0x2\r\n",
        "Content-Length: 99999999999999999999999\r\n", "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 3\r\n", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "Transfer-Encoding: chunked, identity\r\n",
      ] {
        let answers = try await answers(
          portal, "POST /v1/login HTTP/1.1\r\n\(Line.host)\(Line.json)\(headers)\r\n{}\r\n\r\n", Line.lastHealth)
        #expect(answers.map(\.status) == [400], "\(headers)")
        expectProblem(answers.first, 400, "invalid_request", "\(headers)")
      }
    }
  }

  @Test("header fields that are too large, alone or together, or too many are headers_too_large")
  func largeHeaders() async throws {
    try await withPortal(.live) { portal in
      let fields = [
        "X: \(String(repeating: "a", count: 100_000))\r\n",
        (0..<40).map { "X-\($0): \(String(repeating: "a", count: 1_000))\r\n" }.joined(),
        (0..<200).map { "X-\($0): a\r\n" }.joined(), String(repeating: "a", count: 100_000) + ": a\r\n",
      ]
      for fields in fields {
        let answers = try await answers(portal, "GET /healthz HTTP/1.1\r\n\(Line.host)\(fields)\r\n")
        #expect(answers.count == 1)
        expectProblem(answers.first, 431, "headers_too_large", "\(fields.prefix(40))")
      }
      let large = "X: \(String(repeating: "a", count: 30_000))\r\n"
      let answers = try await answers(portal, "GET /healthz HTTP/1.1\r\n\(Line.host)\(Line.close)\(large)\r\n")
      #expect(answers.map(\.status) == [200])
    }
  }

  @Test("a chunked body is read; one with broken chunks is never taken for a request")
  func chunks() async throws {
    try await withPortal(.live) { portal in
      let head = "POST /v1/signup HTTP/1.1\r\n\(Line.host)\(Line.json)Transfer-Encoding: chunked\r\n\r\n"
      let body = #"{"email":"ada@example.com","password":"correct horse battery","accountName":"a"}"#
      let chunks = body.map { "1\r\n\($0)\r\n" }.joined() + "0\r\n\r\n"
      #expect(try await answers(portal, head, chunks, Line.lastHealth).map(\.status) == [201, 200])
      let rows = try await portal.rowCount()
      let other = body.replacing("ada@", with: "eve@")
      for broken in [
        "zz\r\n\(other)\r\n0\r\n\r\n", "-1\r\n\(other)", "5\r\n\(other)\r\n0\r\n\r\n", "fffffffffffffffff\r\n",
      ] {
        for head in [head, head.replacing(Line.host, with: Line.host + Line.close)] {
          let answers = try await answers(portal, head, broken, Line.lastHealth)
          #expect(answers.map(\.status) == [400], "\(broken)")
          expectProblem(answers.first, 400, "invalid_request", "\(broken)")
        }
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("requests sent together are answered one after the other, in order")
  func pipelined() async throws {
    try await withPortal(.live) { portal in
      let post = { (path: String, body: String) in
        "POST \(path) HTTP/1.1\r\n\(Line.host)\(Line.json)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
      }
      let round = [
        (Line.health, 200), ("GET /nowhere HTTP/1.1\r\n\(Line.host)\r\n", 404),
        (post("/v1/login", #"{"email":"ada@example.com","password":"x"}"#), 401), (post("/v1/login", "{"), 400),
        ("PUT /v1/keys HTTP/1.1\r\n\(Line.host)\r\n", 405),
        (post("/v1/login", String(repeating: " ", count: 20_000)), 413), (post("/v1/verify", "{}"), 401),
      ]
      let requests = (0..<5).flatMap { _ in round.map(\.0) }.joined()
      let statuses = (0..<5).flatMap { _ in round.map(\.1) }
      let answers = try await answers(portal, requests + Line.lastHealth)
      #expect(answers.map(\.status) == statuses + [200])
      #expect(Set(answers.map { $0.headers["x-request-id"] }).count == answers.count)
    }
  }

  @Test("input that is not HTTP, behind a valid request, is answered after that request")
  func garbageBehind() async throws {
    try await withPortal(.live) { portal in
      for garbage in ["GARBAGE\r\n\r\n", "\u{0}\u{0}\u{0}\u{0}\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
        let answers = try await answers(portal, Line.health + garbage + Line.lastHealth)
        #expect(answers.first?.status == 200)
        #expect(answers.dropFirst().allSatisfy { $0.status == 400 } && answers.count <= 2)
      }
    }
  }

  @Test("a request that arrives byte by byte is answered like any other")
  func bytes() async throws {
    try await withPortal(.live) { portal in
      let body = #"{"email":"ada@example.com","password":"x"}"#
      let request =
        "POST /v1/login HTTP/1.1\r\n\(Line.host)\(Line.json)\(Line.close)"
        + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
      let answers = try rawAnswers(in: try await exchange(portal, bytes: request.utf8.map { [$0] }))
      #expect(answers.count == 1)
      expectProblem(answers.first, 401, "invalid_credentials")
    }
  }

  @Test("the connection ends after the answer if the client asks for that")
  func close() async throws {
    try await withPortal(.live) { portal in
      for request in [
        Line.lastHealth, "GET /healthz HTTP/1.0\r\n\(Line.close)\r\n", "\r\n" + Line.lastHealth,
        "GET http://localhost/healthz HTTP/1.1\r\n\(Line.host)\(Line.close)\r\n",
      ] {
        let answers = try await answers(portal, request)
        #expect(answers.map(\.status) == [200], "\(request)")
        #expect(answers.first?.body["status"].string == "ok")
      }
    }
  }

  @Test("the client may write the close option in any case and among others")
  func closeInOtherWords() async throws {
    try await withPortal(.live) { portal in
      for word in ["Close", "CLOSE", "x, close", "close, x"] {
        let answers = try await answers(
          portal, "GET /healthz HTTP/1.1\r\n\(Line.host)Connection: \(word)\r\n\r\n")
        #expect(answers.map(\.status) == [200], "\(word)")
      }
    }
  }

  @Test("the answer to HEAD has no body, which a client would take for the beginning of the next answer")
  func head() async throws {
    try await withPortal(.live) { portal in
      let statuses = [
        ("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/v1/keys", 401), ("/v1/login", 405),
        ("/nowhere", 404),
      ]
      for (path, status) in statuses {
        let text = try await exchange(portal, "HEAD \(path) HTTP/1.1\r\n\(Line.host)\r\n", Line.lastHealth)
        let parts = text.components(separatedBy: "\r\n\r\n")
        #expect(parts.count == 3)
        #expect(parts[0].hasPrefix("HTTP/1.1 \(status) "), "\(path)")
        #expect(parts[1].hasPrefix("HTTP/1.1 200 "), "\(path)")
      }
    }
  }

  @Test("a body of ten megabytes is answered with body_too_large, and the connection stays usable")
  func largeBody() async throws {
    try await withPortal(.live) { portal in
      let body = String(repeating: "a", count: 10 << 20)
      let head = "POST /v1/login HTTP/1.1\r\n\(Line.host)\(Line.json)"
      for request in [
        head + "Content-Length: \(body.utf8.count)\r\n\r\n" + body,
        head + "Transfer-Encoding: chunked\r\n\r\n\(String(body.utf8.count, radix: 16))\r\n\(body)\r\n0\r\n\r\n",
      ] {
        let answers = try await answers(portal, request, Line.lastHealth)
        #expect(answers.map(\.status) == [413, 200])
        expectProblem(answers.first, 413, "body_too_large")
      }
    }
  }
}
